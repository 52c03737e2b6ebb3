"""A letter in its envelope: the octets of a mail, with the headers by which machines and readers know what it is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from email.header import Header
from email.message import EmailMessage
from email.policy import EmailPolicy
from typing import Any

from budgetd.channels.mail_url import Account, Named
from budgetd.escaping import for_text, shorten
from budgetd.faces.mail import Letter
from budgetd.model import identity

_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,100}", re.ASCII)
_HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,70}", re.ASCII)
_PLAIN_NAME = re.compile(r"[A-Za-z0-9]+(?: [A-Za-z0-9]+){0,9}", re.ASCII)
_LONGEST_VALUE = 400
_LONGEST_NAME = 60


class _Policy(EmailPolicy):
    """The standard's, but these headers are sent as they are given: the library's own folding breaks odd names."""

    READY = frozenset(["Subject", "From", "To", "Cc", "Reply-To"])

    def header_store_parse(self, name: str, value: Any) -> tuple[str, Any]:
        """Parsing would decode what only looks encoded."""
        return (name, value) if name in self.READY else super().header_store_parse(name, value)

    def fold_binary(self, name: str, value: Any) -> bytes:
        """The header as it is sent."""
        return f"{name}: {value}\r\n".encode("ascii") if name in self.READY else super().fold_binary(name, value)


# Seven bits and short lines pass every server there is.
_POLICY = _Policy(cte_type="7bit", linesep="\r\n")


def envelope(letter: Letter, account: Account, sent_at: datetime) -> bytes:
    """The whole mail, lines ending in CRLF, all of it ASCII. The same letter has the same Message-ID each time."""
    mail = EmailMessage(policy=_POLICY)
    for header, text in _headers(letter, account, sent_at):
        mail[header] = text
    for header, people in (
        ("From", [account.sender]),
        ("To", account.to),
        ("Cc", account.cc),
        ("Reply-To", account.reply_to),
    ):
        if people:
            mail[header] = _addresses(people)
    mail.set_content(letter.plain)
    if letter.html:
        mail.add_alternative(letter.html, subtype="html")
    if letter.picture:
        _add_picture(mail, letter)
    given = {name.lower() for name in mail.keys()}  # noqa: SIM118 (a mail is no dict)
    for header, text in account.headers:
        if _HEADER_NAME.fullmatch(header) and header.lower() not in {*given, "bcc", "mime-version"}:
            mail[header] = _value(text)
    return mail.as_bytes()


def _add_picture(mail: EmailMessage, letter: Letter) -> None:
    """Beside the HTML, which shows it."""
    html = mail.get_body(("html",))
    if html is not None:
        html.add_related(
            letter.picture,
            "image",
            "png",
            cid=f"<{letter.picture_id}>",
            disposition="inline",
            filename="chart.png",
        )


def _headers(letter: Letter, account: Account, sent_at: datetime) -> Iterable[tuple[str, str | datetime]]:
    domain = account.domain
    yield "Subject", _encoded(letter.subject, "Subject")
    yield "Date", sent_at
    yield "Message-ID", f"<{_id(letter.id)}@{domain}>"
    if letter.story:
        # No mail has this id: all those of an incident answer it, so that readers show them as one conversation.
        root = f"<story.{_id(letter.story)}@{domain}>"
        yield "In-Reply-To", root
        yield "References", root
        yield "X-Budgetd-Incident", _id(letter.story)
    yield "X-Budgetd-Id", _id(letter.id)
    yield "Auto-Submitted", "auto-generated"
    yield "X-Auto-Response-Suppress", "All"
    yield "List-Id", f"budgetd alerts <alerts.budgetd.{domain}>"
    yield "Importance", letter.importance
    yield "X-Priority", letter.priority


def _id(text: str) -> str:
    """The id, or one made of it where it could not stand in a Message-ID."""
    return text if _PLAIN_ID.fullmatch(text) else identity("msg", text)


def _value(text: str) -> str:
    # `=?` would begin an encoded word, and that could hold anything.
    return shorten(for_text(text).replace("=?", "= ?"), _LONGEST_VALUE)


def _addresses(people: Iterable[Named]) -> str:
    """A line for each."""
    return ",\r\n ".join(_address(name, address) for name, address in people)


def _address(name: str, address: str) -> str:
    if not name:
        return address
    shown = shorten(for_text(name), _LONGEST_NAME)
    return f"{shown if _PLAIN_NAME.fullmatch(shown) else _encoded(shown, 'Reply-To', 'utf-8')} <{address}>"


def _encoded(text: str, header: str, charset: str = "") -> str:
    """The text as encoded words, or folded at spaces where plain ASCII is enough; lines of at most 76 octets."""
    plain = text.isascii() and "=?" not in text
    words = Header(text, charset or ("us-ascii" if plain else "utf-8"), header_name=header)
    return words.encode(splitchars=" ", linesep="\r\n")
