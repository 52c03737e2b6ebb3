"""The chart: it shows what the figures say, in words too; the picture is small, plain, and the same each time."""

from __future__ import annotations

import builtins
import io
import struct
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from budgetd import picture
from budgetd.chart import MOST_DAYS, Chart, Look, chart
from budgetd.model import Face, Facts, Forecast, History, Kind
from budgetd.period import Calendar, Period
from tests.chart_stories import BEFORE, CALM, CAP, DAY, GAPS, JUMP, OVER, RUNAWAY, STORIES, THROUGH, WILD, YEAR, story
from tests.test_message import NOW, TODAY, notice, read


def drawn(facts: Facts) -> Chart:
    found = chart(notice(facts))
    assert found is not None
    return found


# --- what it shows ---------------------------------------------------------------------------------


def test_the_line_is_the_sum_of_the_days_and_ends_at_the_amount() -> None:
    shown = drawn(CAP)
    assert shown.line[0].amount == 0
    assert shown.line[0].at == datetime(2026, 11, 1, tzinfo=UTC)
    steps = [later.amount - earlier.amount for earlier, later in zip(shown.line, shown.line[1:], strict=False)]
    assert steps == [*(bar.amount for bar in shown.bars), Decimal("140.20")]
    assert shown.line[-1] == shown.told
    assert (shown.told.at, shown.told.amount) == (THROUGH, BEFORE + Decimal("140.20"))
    assert shown.vague == ()
    assert not shown.over


@pytest.mark.parametrize("facts", [YEAR, GAPS])
def test_a_period_of_which_not_all_days_are_known_is_a_vague_line_to_what_is_known(facts: Facts) -> None:
    shown = drawn(facts)
    assert shown.line == (shown.told,)
    assert [point.amount for point in shown.vague] == [0, facts.amount]
    assert len(shown.bars) in (15, 31)


def test_a_closed_period_ends_at_its_last_day() -> None:
    facts = replace(CAP, data_through=CAP.period.end if CAP.period else None, history=CAP.history)
    closed = replace(facts, period=Period(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 18, tzinfo=UTC)))
    shown = drawn(replace(closed, amount=BEFORE, forecast=None))
    assert shown.told.at == shown.end
    assert shown.line[0].amount == 0


def test_the_forecast_is_a_cone_from_the_amount_to_the_end() -> None:
    ahead = drawn(CAP).ahead
    assert ahead is not None
    assert CAP.period is not None
    assert (ahead.expected.at, ahead.expected.amount, ahead.low, ahead.high) == (CAP.period.end, 5420, 5010, 6020)
    assert drawn(CAP).ahead_words == "about $5,420"


def test_what_is_unsure_does_not_press_the_rest_to_the_ground() -> None:
    assert drawn(WILD).top == Decimal(8000)
    assert drawn(CAP).top == Decimal(6020)


def test_a_day_stands_beside_the_days_before_it() -> None:
    shown = drawn(DAY)
    assert len(shown.bars) == MOST_DAYS
    assert (shown.bars[-1].look, shown.bars[-1].amount) == (Look.TOLD, Decimal("405.10"))
    assert {bar.look for bar in shown.bars[:-1]} == {Look.PAST}
    assert [(level.words, level.firm) for level in shown.levels] == [("limit $400", True)]
    assert shown.over


def test_a_closed_day_is_shown_once() -> None:
    closed = Period(datetime(2026, 11, 17, tzinfo=UTC), datetime(2026, 11, 18, tzinfo=UTC))
    bars = drawn(replace(DAY, period=closed, amount=Decimal(500))).bars
    assert [bar.look for bar in bars[-2:]] == [Look.PAST, Look.TOLD]
    assert [bar.day.day for bar in bars[-2:]] == [16, 17]


def test_a_jump_is_shown_with_what_it_is_compared_with() -> None:
    levels = [(level.amount, level.words, level.firm) for level in drawn(JUMP).levels]
    assert levels == [(120, "compared with $120", False), (240, "told from $240", True)]


def test_a_rate_is_shown_as_what_it_makes_of_the_day() -> None:
    shown = drawn(RUNAWAY)
    assert (shown.bars[-1].look, shown.bars[-1].amount) == (Look.FORESEEN, Decimal("3950.10"))
    assert shown.levels == ()
    assert shown.told_words == "by midnight $3,950"


@pytest.mark.parametrize(
    "facts",
    [
        replace(CAP, history=None),
        replace(CAP, amount=None),
        replace(CAP, period=None),
        replace(CAP, history=History(THROUGH.date() - timedelta(days=2), (Decimal(5), Decimal(6)))),
        replace(CAP, data_through=datetime(2026, 11, 2, tzinfo=UTC)),
        replace(DAY, history=History(THROUGH.date(), (None,) * 5)),
    ],
)
def test_where_there_is_nothing_to_see_there_is_no_chart(facts: Facts) -> None:
    assert chart(notice(facts)) is None


def test_what_is_over_has_no_chart() -> None:
    assert chart(notice(CAP, kind=Kind.RESOLVE)) is None


def test_it_is_told_in_words_too() -> None:
    assert drawn(CAP).words == (
        "Chart of the spend in November 2026, day by day. $3,567.46 of $4,000 spent by 18 Nov 2026 14:00 UTC. "
        "On course for about $5,420 by 30 Nov ($5,010 to $6,020), $1,420 over; the limit is reached about Mon 23 Nov. "
        "Days: highest $262 on 27 Oct, last $262."
    )
    assert drawn(RUNAWAY).words.startswith("Chart of the spend of 28 days. $3,950 on 18 Nov if it goes on.")


# --- the picture -----------------------------------------------------------------------------------


def png(facts: Facts) -> bytes:
    made = picture.png(drawn(facts))
    assert made is not None
    return made


def test_it_is_a_small_png_that_is_the_same_each_time() -> None:
    made = png(CAP)
    assert made == png(CAP)
    assert len(made) < 20_000
    image = Image.open(io.BytesIO(made))
    assert (image.format, image.size) == ("PNG", (1200, 480))
    assert set(_chunks(made)) <= {b"IHDR", b"PLTE", b"IDAT", b"IEND"}  # no time, no name of a program


def _chunks(made: bytes) -> list[bytes]:
    found, at = [], 8
    while at < len(made):
        (size,) = struct.unpack(">I", made[at : at + 4])
        found.append(made[at + 4 : at + 8])
        assert zlib.crc32(made[at + 4 : at + 8 + size]) == struct.unpack(">I", made[at + 8 + size : at + 12 + size])[0]
        at += size + 12
    return found


def colours(facts: Facts) -> set[tuple[int, ...]]:
    found = Image.open(io.BytesIO(png(facts))).convert("RGB").getcolors(1_000_000)
    assert found is not None
    return {colour for count, colour in found if count > 20 and isinstance(colour, tuple)}


def _is_red(colour: tuple[int, ...]) -> bool:
    return colour[0] > 200 and colour[1] < 80


def test_over_the_limit_is_red_and_below_it_is_not() -> None:
    assert any(map(_is_red, colours(OVER)))
    assert not any(map(_is_red, colours(CALM)))


def test_its_ground_is_light_with_an_edge_also_in_a_dark_page() -> None:
    image = Image.open(io.BytesIO(png(CAP))).convert("RGB")
    assert [image.getpixel(at) for at in ((20, 20), (1180, 20), (20, 460))] == [(255, 255, 255)] * 3
    assert {image.getpixel((0, y)) for y in range(480)} == {image.getpixel((0, 0))}
    assert sum(image.getpixel((0, 0))) < 700  # type: ignore[arg-type]


def test_without_pillow_there_is_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("PIL"):
            raise ImportError(name)
        return usual(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert picture.of(read(story("cap"))) is None


def test_a_message_has_a_picture_when_it_is_about_one_alert_in_its_richest_face() -> None:
    found = picture.of(read(story("cap")))
    assert found is not None
    assert (found.png, found.words, found.shows_days) == (png(CAP), drawn(CAP).words, False)
    assert picture.of(read(story("cap"), face=Face.PLAIN)) is None
    assert picture.of(read(story("cap"), notice(OVER, id="ntc_2"))) is None
    shown = picture.of(read(story("day")))
    assert shown is not None
    assert shown.shows_days


NEAR = replace(
    CAP,
    amount=BEFORE + Decimal("9.80"),
    limit=Decimal(4150),
    data_through=datetime(2026, 11, 27, tzinfo=UTC),
    history=History(datetime(2026, 11, 1, tzinfo=UTC).date(), (Decimal("132.12"),) * 26),
    forecast=Forecast(Decimal(3960), Decimal(3950), Decimal(3970)),
)


def labels(found: Chart, monkeypatch: pytest.MonkeyPatch) -> list[picture.Box]:
    """Where its words stand."""
    boxes: list[picture.Box] = []
    write = picture._Canvas.words

    def words(self: picture._Canvas, *rest: Any) -> None:
        write(self, *rest)
        boxes.append(self.taken[-1])

    with monkeypatch.context() as patched:
        patched.setattr(picture._Canvas, "words", words)
        assert picture.png(found) is not None
    return boxes


@pytest.mark.parametrize("facts", [*STORIES.values(), NEAR], ids=[*STORIES, "near"])
def test_its_words_are_within_it_and_beside_each_other(facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = labels(drawn(facts), monkeypatch)
    assert all(left >= 0 and right <= 1200 and top >= 0 and bottom <= 480 for left, top, right, bottom in boxes)
    assert not [pair for pair in combinations(boxes, 2) if picture._meet(*pair)]


# --- whatever the figures --------------------------------------------------------------------------

money = st.decimals(min_value=-(10**6), max_value=10**15, places=8, allow_nan=False)
periods = st.sampled_from(
    [
        TODAY,
        *(Calendar(kind).holding(NOW.date()) for kind in ("week", "month", "quarter", "year")),  # type: ignore[arg-type]
        Period(NOW - timedelta(minutes=15), NOW),
        Period(NOW, NOW),
    ]
)


@settings(max_examples=25, deadline=None)
@given(
    base=st.sampled_from(list(STORIES.values())),
    period=periods,
    amount=money,
    limit=st.none() | money,
    days=st.lists(st.none() | money, max_size=40),
    late=st.integers(-3, 400),
    forecast=st.none() | st.tuples(money, money, money),
)
def test_no_figures_break_it(
    base: Facts,
    period: Period,
    amount: Decimal,
    limit: Decimal | None,
    days: list[Decimal | None],
    late: int,
    forecast: tuple[Decimal, Decimal, Decimal] | None,
) -> None:
    facts = replace(
        base,
        period=period,
        amount=amount,
        limit=limit,
        history=History((NOW - timedelta(days=late)).date(), tuple(days)) if days else None,
        forecast=Forecast(*forecast) if forecast else None,
    )
    found = chart(notice(facts))
    if found is not None:
        made = picture.png(found)
        assert made is not None
        assert len(made) < 40_000
        assert len(found.words) <= 500
