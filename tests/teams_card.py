"""What Teams takes of an Adaptive Card, as its documentation has it: elements, their properties, links, mentions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_TEXT = {"size", "weight", "color", "isSubtle", "fontType"}
# Of each element what it may have (https://adaptivecards.io/explorer, version 1.4) and what it must have.
_ELEMENTS: dict[str, tuple[set[str], set[str]]] = {
    "AdaptiveCard": ({"$schema", "version", "msteams", "fallbackText", "body", "actions"}, {"version", "body"}),
    "Container": ({"style", "bleed", "items"}, {"items"}),
    "ColumnSet": ({"spacing", "columns"}, {"columns"}),
    "Column": ({"width", "items"}, {"items"}),
    "RichTextBlock": ({"inlines", "spacing", "horizontalAlignment"}, {"inlines"}),
    "TextRun": ({"text", *_TEXT}, {"text"}),
    "Action.OpenUrl": ({"title", "url"}, {"title", "url"}),
}
_VALUES = {
    "style": {"default", "emphasis", "good", "attention", "warning", "accent"},
    "size": {"Small", "Default", "Medium", "Large", "ExtraLarge"},
    "weight": {"Lighter", "Default", "Bolder"},
    "color": {"Default", "Dark", "Light", "Accent", "Good", "Warning", "Attention"},
    "fontType": {"Default", "Monospace"},
    "spacing": {"None", "Small", "Default", "Medium", "Large"},
    "horizontalAlignment": {"Left", "Center", "Right"},
}
LINKS = {"https://platform.claude.com/usage/cost", "https://status.example.com/budget"}


def problems(posted: Mapping[str, Any]) -> list[str]:
    """What of a posted message would not be shown as it is meant; none when all is well."""
    if posted.get("type") != "message" or len(posted.get("attachments", ())) != 1:
        return ["no message with one card"]
    (attachment,) = posted["attachments"]
    if attachment.get("contentType") != "application/vnd.microsoft.card.adaptive":
        return ["no Adaptive Card"]
    card = attachment["content"]
    found = [] if card.get("version") in ("1.2", "1.3", "1.4", "1.5") else ["a version that Teams does not show"]
    if set(card.get("msteams", {})) - {"width"}:
        found.append("mentions")
    return [*found, *_wrong(card)]


def _wrong(element: Mapping[str, Any]) -> Iterator[str]:
    kind = element.get("type", "")
    allowed, needed = _ELEMENTS.get(kind, (set(), set()))
    if not allowed or set(element) - allowed - {"type"} or needed - set(element):
        yield f"{kind}: {sorted(set(element) - allowed)} {sorted(needed - set(element))}"
    for key, values in _VALUES.items():
        if key in element and element[key] not in values:
            yield f"{kind}: {key} {element[key]}"
    if kind == "TextRun" and not element["text"]:
        yield "TextRun: no text"
    if kind == "Action.OpenUrl" and element["url"] not in LINKS:
        yield f"a link to {element['url']}"
    for key in ("body", "items", "columns", "inlines", "actions"):
        for inner in element.get(key, ()):
            yield from _wrong(inner)
