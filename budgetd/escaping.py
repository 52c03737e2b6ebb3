"""Makes text of unknown origin safe for where it is shown: plain text, Slack, HTML."""

from __future__ import annotations

import html
import re
import unicodedata

# Shown as nothing, or as something else than what is there, although Unicode calls some of them letters or marks.
_INVISIBLE = frozenset([0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0])
_UNSEEN_CATEGORIES = frozenset(["Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"])

# Slack has no way to escape its own marks; these look the same and mean nothing to it.
_SLACK_LOOKALIKES = str.maketrans({"*": "∗", "~": "∼", "`": "ˋ"})
# An underscore within a word (`team_alpha`) is text to Slack; at its edge it starts or ends italics.
_SLACK_EDGE_UNDERSCORE = re.compile(r"(?<![^\W_])_+|_+(?![^\W_])")

# A handle after a space or a bracket: @everyone, <@123>, <@&role>; not the @ of an address.
_MENTION = re.compile(r"(?<![\w.])@(?=[\w!&])")


def for_text(text: str) -> str:
    """The text on one line: control, bidirectional, zero-width and other unseen characters as `\\u202e`.

    Lone surrogates, which no channel could encode, are shown the same way.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    code = ord(character)
    unseen = unicodedata.category(character) in _UNSEEN_CATEGORIES or code in _INVISIBLE
    if not unseen and not 0x180B <= code <= 0x180F and not 0xFE00 <= code <= 0xFE0F and code < 0xE0000:
        return character
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def for_slack(text: str) -> str:
    """`for_text` with nothing in it that Slack takes for a mention, a link or formatting."""
    return html.escape(without_slack_marks(for_text(text)), quote=False)


def without_slack_marks(text: str) -> str:
    """The text with look-alikes for the characters that format in Slack; `&`, `<`, `>` stay as they are."""
    return _SLACK_EDGE_UNDERSCORE.sub(lambda run: "＿" * len(run.group()), text.translate(_SLACK_LOOKALIKES))


def without_mentions(text: str) -> str:
    """The text with a space after each `@` that a chat service would take for a mention."""
    return _MENTION.sub("@ ", text)


def for_html(text: str) -> str:
    """`for_text` with nothing in it that HTML takes for markup, in text and in attributes."""
    return html.escape(for_text(text), quote=True)


def for_ascii(text: str) -> str:
    """`for_text` in printable ASCII: what cannot be written in it becomes `?`."""
    plain = unicodedata.normalize("NFKD", for_text(text))
    letters = "".join(character for character in plain if not unicodedata.combining(character))
    return letters.encode("ascii", "replace").decode("ascii")


def shorten(text: str, limit: int, length: int | None = None) -> str:
    """The text if it has at most `limit` characters, else its start and how long it is (`length`) in characters."""
    if len(text) <= limit and length is None:
        return text
    note = f"… ({length or len(text):,} characters)"
    kept = limit - len(note)
    return text[:kept] + note if kept > 0 else text[:limit]


def name(text: str, limit: int = 60) -> str:
    """A name from outside as it may stand in a sentence: visible, on one line, at most `limit` characters."""
    if len(text) > limit:  # cut first: a name of a million characters costs nothing
        return shorten(for_text(text[:limit]), limit, len(text))
    return shorten(for_text(text.strip()), limit) or "(no name)"
