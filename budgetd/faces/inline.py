"""A picture that comes with a mail, as its HTML shows it."""

from __future__ import annotations

from budgetd.chart import Picture
from budgetd.escaping import for_html
from budgetd.model import identity

_STYLE = "display:block;width:100%;max-width:544px;height:auto;border:0;color:#566070;font-size:13px;line-height:1.5"


def content_id(id: str) -> str:
    """The Content-ID of the picture in the mail with that id, without brackets."""
    return f"{identity('chart', id)}@budgetd.invalid"


def image(picture: Picture, id: str) -> str:
    """The picture in the mail with that id. Where pictures are blocked its words are read in its place."""
    words = for_html(picture.words)
    return f'<img class="soft" src="cid:{content_id(id)}" width="544" alt="{words}" style="{_STYLE}">'
