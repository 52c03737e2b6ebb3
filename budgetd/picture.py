"""A chart as a PNG, for a mail or a chat on a phone: 1,200 x 480 pixels, meant to be shown half as large or smaller.

It needs Pillow (`pip install "budgetd[chart]"`); without it there are no pictures. The same chart gives the same bytes
with the same Pillow.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING

from budgetd import money, trend
from budgetd.chart import Bar, Chart, Level, Look, Picture, Point, chart
from budgetd.message import BROKEN, Message
from budgetd.model import Face
from budgetd.period import DAY, day_before, midnight

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

WIDTH, HEIGHT = 1200, 480
# Drawn larger and made smaller, so that slanting lines are smooth.
_FINE = 2
_LEFT, _RIGHT, _CEILING, _GROUND = 40, 1160, 66, 404
_SMALL, _LARGE = 36, 46  # letters of 11 and 14 pixels on a phone
_COLOURS = 64

_PAPER, _EDGE, _INK, _SOFT = "#ffffff", "#cbd2dc", "#111827", "#566070"
_BAR, _CALM, _ALARM, _LIMIT = "#bcd0f7", "#1d4ed8", "#dc2626", "#b91c1c"
_CONE, _CONE_ALARM, _VAGUE = "#e3ebfc", "#fde4e4", "#94a3b8"

Box = tuple[int, int, int, int]


def of(message: Message) -> Picture | None:
    """The picture that goes with the message; None where there is none: several alerts, a simpler face, no Pillow."""
    if message.face is not Face.RICH or len(message.notices) != 1:
        return None
    try:
        planned = chart(message.notices[0])
        drawn = png(planned) if planned is not None else None
    except BROKEN:
        return None  # an alert goes out, if not as nicely
    return Picture(drawn, planned.words, not planned.line) if planned is not None and drawn is not None else None


def can_draw() -> bool:
    """Whether Pillow is installed."""
    return find_spec("PIL") is not None


def png(chart: Chart) -> bytes | None:
    """The chart as a PNG; None where Pillow is not installed, or without letters. 0.15 s of CPU, 25 MB meanwhile."""
    try:
        from PIL import Image, ImageDraw, ImageFont

        fonts = {size: ImageFont.load_default(size * _FINE) for size in (_SMALL, _LARGE)}
    except ImportError:
        return None
    image = Image.new("RGB", (WIDTH * _FINE, HEIGHT * _FINE), _PAPER)
    _draw(_Canvas(ImageDraw.Draw(image), fonts), chart)
    small = image.resize((WIDTH, HEIGHT), Image.Resampling.BOX).quantize(_COLOURS, dither=Image.Dither.NONE)
    written = io.BytesIO()
    small.save(written, "PNG", optimize=True)
    return written.getvalue()


@dataclass(slots=True)
class _Canvas:
    """Takes pixels of the finished picture."""

    pen: ImageDraw.ImageDraw
    fonts: dict[int, ImageFont.FreeTypeFont | ImageFont.ImageFont]
    taken: list[Box] = field(default_factory=list)

    def box(self, box: Box, fill: str) -> None:
        left, top, right, bottom = (edge * _FINE for edge in box)
        self.pen.rectangle((left, top, right - 1, bottom - 1), fill=fill)

    def line(self, points: list[tuple[int, int]], colour: str, width: int) -> None:
        scaled = [(x * _FINE, y * _FINE) for x, y in points]
        self.pen.line(scaled, fill=colour, width=width * _FINE, joint="curve")

    def area(self, points: list[tuple[int, int]], fill: str) -> None:
        self.pen.polygon([(x * _FINE, y * _FINE) for x, y in points], fill=fill)

    def dot(self, x: int, y: int, radius: int, colour: str) -> None:
        for size, fill in ((radius + 4, _PAPER), (radius, colour)):
            box = ((x - size) * _FINE, (y - size) * _FINE, (x + size) * _FINE, (y + size) * _FINE)
            self.pen.ellipse(box, fill=fill)

    def dashes(self, start: tuple[int, int], end: tuple[int, int], colour: str, width: int) -> None:
        """A straight line of dashes, 14 pixels on and 10 off."""
        (x, y), (right, below) = start, end
        far = max(abs(right - x), abs(below - y), 1)
        for begin in range(0, far, 24):
            stop = min(begin + 14, far)
            ends = [(x + (right - x) * at // far, y + (below - y) * at // far) for at in (begin, stop)]
            self.line(ends, colour, width)

    def words(self, text: str, size: int, colour: str, places: Iterator[tuple[int, int, str]]) -> None:
        """The text at the first of the places that is free, else at the last; a place: x, y, and which end x is."""
        font = self.fonts[size]
        width = int(self.pen.textlength(text, font=font)) // _FINE + 1
        box = (0, 0, 0, 0)
        for x, y, side in places:
            left = {"left": x, "right": x - width, "middle": x - width // 2}[side]
            left = max(min(left, _RIGHT + 16 - width), _LEFT - 16)
            y = min(max(y, 8), HEIGHT - 8 - size)
            box = (left, y, left + width, y + size)
            if not any(_meet(box, other) for other in self.taken):
                break
        self.taken.append(box)
        at = (box[0] * _FINE, (box[1] + box[3]) * _FINE // 2)
        self.pen.text(at, text, fill=colour, font=font, anchor="lm", stroke_width=5 * _FINE, stroke_fill=_PAPER)


def _meet(one: Box, other: Box) -> bool:
    apart = one[2] + 8 < other[0] or other[2] + 8 < one[0] or one[3] < other[1] or other[3] < one[1]
    return not apart


@dataclass(frozen=True, slots=True)
class _Scale:
    chart: Chart

    def x(self, at: datetime) -> int:
        return _LEFT + (at - self.chart.start) * (_RIGHT - _LEFT) // (self.chart.end - self.chart.start)

    def y(self, amount: Decimal) -> int:
        """Within the picture also for what is above its top, or below nothing."""
        inside = min(max(amount, money.ZERO), self.chart.top)
        high = money.whole_times(money.times(inside, Decimal(_GROUND - _CEILING)), self.chart.top)
        return _GROUND - int(high)

    def point(self, point: Point) -> tuple[int, int]:
        return self.x(point.at), self.y(point.amount)


def _draw(canvas: _Canvas, chart: Chart) -> None:
    scale = _Scale(chart)
    tone = _ALARM if chart.over else _CALM
    _cone(canvas, scale)
    for bar in chart.bars:
        _bar(canvas, scale, bar, tone)
    canvas.box((_LEFT, _GROUND, _RIGHT, _GROUND + 3), _SOFT)
    if chart.vague:
        canvas.dashes(scale.point(chart.vague[0]), scale.point(chart.vague[1]), _VAGUE, 4)
    for level in chart.levels:
        _level(canvas, scale, level)
    if chart.line:
        canvas.line([scale.point(point) for point in chart.line], tone, 7)
        canvas.dot(*scale.point(chart.told), 11, tone)
    _dates(canvas, scale)
    _labels(canvas, scale, tone)
    _frame(canvas)


def _cone(canvas: _Canvas, scale: _Scale) -> None:
    ahead = scale.chart.ahead
    if ahead is None:
        return
    start, right = scale.point(scale.chart.told), scale.x(ahead.expected.at)
    alarm = any(level.firm and ahead.expected.amount >= level.amount for level in scale.chart.levels)
    edges = [(right, scale.y(ahead.high)), (right, scale.y(ahead.low))]
    canvas.area([start, *edges], _CONE_ALARM if alarm else _CONE)
    canvas.dashes(start, scale.point(ahead.expected), _ALARM if alarm else _CALM, 5)


def _bar(canvas: _Canvas, scale: _Scale, bar: Bar, tone: str) -> None:
    left, right = scale.x(midnight(bar.day)), scale.x(midnight(bar.day) + DAY)
    gap = max(1, (right - left) // 6)
    box = (left + gap, min(scale.y(bar.amount), _GROUND - 2), max(right - gap, left + gap + 1), _GROUND)
    if bar.look is not Look.FORESEEN:
        canvas.box(box, _BAR if bar.look is Look.PAST else tone)
        return
    canvas.box(box, _CONE_ALARM)
    corners = [(box[0], box[3]), (box[0], box[1]), (box[2], box[1]), (box[2], box[3])]
    for start, end in pairwise(corners):
        canvas.dashes(start, end, tone, 4)


def _level(canvas: _Canvas, scale: _Scale, level: Level) -> None:
    y = scale.y(level.amount)
    if level.firm:
        canvas.box((_LEFT, y - 2, _RIGHT, y + 2), _LIMIT)
    else:
        canvas.dashes((_LEFT, y), (_RIGHT, y), _SOFT, 4)


def _labels(canvas: _Canvas, scale: _Scale, tone: str) -> None:
    chart = scale.chart
    x, y = scale.point(chart.told)
    beside = [(x - 20, y - _LARGE - 4, "right"), (x + 4, y + 22, "left"), (x - 20, y - 2 * _LARGE, "right")]
    above = [(x, y - _LARGE - 8, "middle")]
    canvas.taken += [_around(*scale.point(point)) for point in chart.line]
    if chart.line:
        canvas.taken += [(_LEFT, at - 4, _RIGHT, at + 4) for at in (scale.y(level.amount) for level in chart.levels)]
    canvas.words(chart.told_words, _LARGE, tone, iter(beside if chart.line else above))
    if chart.ahead is not None:
        end = scale.y(chart.ahead.expected.amount)
        heights = (end - _SMALL - 14, end + 14, end + 22 + _LARGE, end - 2 * _SMALL - 30)
        places = [(_RIGHT + 10, y, "right") for y in heights]
        canvas.words(chart.ahead_words, _SMALL, _INK, iter(places))
    for level in chart.levels:
        at = scale.y(level.amount)
        colour = _LIMIT if level.firm else _SOFT
        canvas.words(level.words, _SMALL, colour, iter(_beside(at)))


def _beside(y: int) -> list[tuple[int, int, str]]:
    above, below = y - _SMALL - 8, y + 10
    return [(_LEFT, above, "left"), (_LEFT, below, "left"), (_RIGHT, above, "right"), (_LEFT, above, "left")]


def _around(x: int, y: int) -> Box:
    return x - 4, y - 4, x + 4, y + 4


def _dates(canvas: _Canvas, scale: _Scale) -> None:
    """The first and the last day, and between them how far the data reaches, where there is room."""
    chart = scale.chart
    y = _GROUND + 16
    first, last = chart.start.date(), day_before(chart.end)
    told = day_before(chart.told.at)
    canvas.words(trend.short(first), _SMALL, _SOFT, iter([(_LEFT, y, "left")]))
    canvas.words(trend.short(last), _SMALL, _SOFT, iter([(_RIGHT, y, "right")]))
    x = scale.x(chart.told.at)
    if told not in (first, last) and _LEFT + 190 < x < _RIGHT - 190:
        canvas.words(trend.short(told), _SMALL, _INK, iter([(x, y, "middle")]))


def _frame(canvas: _Canvas) -> None:
    """It brings its own light ground, also into a dark page."""
    for edge in ((0, 0, WIDTH, 3), (0, HEIGHT - 3, WIDTH, HEIGHT), (0, 0, 3, HEIGHT), (WIDTH - 3, 0, WIDTH, HEIGHT)):
        canvas.box(edge, _EDGE)
