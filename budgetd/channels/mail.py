"""A mailto:// or mailtos:// channel: a mail of our own making, handed to its server by our own hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from budgetd import clock
from budgetd.channels import Kind, Sender, apprise
from budgetd.channels.mail_url import INSECURE, SCHEMES, Account, UnusableUrlError, account, is_native, public
from budgetd.channels.urls import Secrets, is_near, scheme
from budgetd.message import Message
from budgetd.model import Outcome, Receipt

DETAIL_LIMIT = 500
EXCERPT = 200
REMEMBERED = 256
_UNVERIFIED = " (verify=no is not heeded: name the authority's file in SSL_CERT_FILE)"

# Of several recipients the one that is worth another try decides.
_URGENCY = (Outcome.UNKNOWN, Outcome.RETRY, Outcome.UNAUTHORISED, Outcome.REJECTED, Outcome.GONE)


@dataclass(frozen=True, slots=True)
class _Progress:
    """Of one message: who has it, and who was refused for good at an earlier attempt."""

    accepted: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)


class MailSender:
    """A channel behind a mail URL. The URL is a secret; its addresses are not."""

    def __init__(self, url: str, now: Callable[[], datetime] = clock.now) -> None:
        self._url = url
        self._now = now
        self._secrets = Secrets(url, (), public(url))
        self._under_way: dict[str, _Progress] = {}  # by message id

    def send(self, message: Message, deadline: float) -> Receipt:
        """Send within `deadline` seconds to whoever does not have it yet; the receipt holds no secret of the URL."""
        # The MIME library and the face cost a start 20 ms, and are not needed before the first mail.
        from budgetd import picture
        from budgetd.channels import smtp
        from budgetd.channels.mime import envelope
        from budgetd.faces.mail import letter

        until = smtp.Deadline(deadline)
        try:
            address = account(self._url)
        except UnusableUrlError as error:
            return self._receipt(Outcome.GONE, f"the channel's URL cannot be used: {error}")
        now = self._now()
        mail = envelope(letter(message, now, picture.of(message)), address, now)
        progress = self._progress(message.id)
        waiting = [recipient for recipient in address.recipients if recipient not in progress.accepted]
        answers = smtp.hand_in(address, waiting, mail, until)
        progress.accepted.update(who for who, receipt in answers.items() if receipt.outcome is Outcome.DELIVERED)
        receipt = self._judge(progress, address, answers)
        if receipt.outcome is Outcome.DELIVERED:
            self._under_way.pop(message.id, None)
        return receipt

    def _progress(self, id: str) -> _Progress:
        if id not in self._under_way and len(self._under_way) >= REMEMBERED:
            self._under_way.pop(next(iter(self._under_way)), None)
        return self._under_way.setdefault(id, _Progress())

    def _judge(self, progress: _Progress, address: Account, answers: Mapping[str, Receipt]) -> Receipt:
        """One receipt for all recipients.

        One that is refused for good while others have the mail is reported once; when a second attempt finds the same,
        the mail counts as delivered, as a restart within the days until it is given up would send it to all again.
        """
        failures = {who: receipt for who, receipt in answers.items() if receipt.outcome is not Outcome.DELIVERED}
        words = self._words(failures, address)
        gone = {who for who, receipt in failures.items() if receipt.outcome is Outcome.GONE}
        settled = gone == set(failures) and gone <= progress.refused and progress.accepted
        if not failures or settled:
            return self._receipt(Outcome.DELIVERED, words)
        progress.refused.update(gone)
        return self._receipt(min((receipt.outcome for receipt in failures.values()), key=_URGENCY.index), words)

    def _words(self, failures: Mapping[str, Receipt], address: Account) -> str:
        # Scrubbed before it is cut: half a secret would not be known as one.
        said = {who: self._secrets.scrub(receipt.detail)[:EXCERPT] for who, receipt in failures.items()}
        if not said:
            return ""
        first = next(iter(said.values()))
        hint = _UNVERIFIED if address.unverified and "certificate refused" in first else ""
        if len(said) == len(address.recipients) and set(said.values()) == {first}:
            return first + hint
        each = "; ".join(f"{who}: {words}" for who, words in said.items())
        return f"{len(failures)} of {len(address.recipients)} recipients do not have it: {each}{hint}"

    def _receipt(self, outcome: Outcome, detail: str) -> Receipt:
        return Receipt(outcome, self._secrets.scrub(detail)[:DETAIL_LIMIT])


def _sender(url: str, _secrets: Sequence[str]) -> Sender:
    return MailSender(url) if is_native(url) else apprise.AppriseSender(url)


def _explain(url: str) -> str | None:
    """Whoever asks this at a start need not wait at the first alert: the account is remembered."""
    if not is_native(url):
        return apprise.explain_url(url)
    try:
        account(url)
    except UnusableUrlError as error:
        return f"Apprise cannot use this {scheme(url)}:// URL: {str(error).rstrip('.')}"
    return None


def _remark(url: str, _secrets: Sequence[str]) -> str | None:
    if not is_native(url):
        return None
    found = account(url)
    if found.mode != INSECURE or is_near(found.host):
        return None
    what = "the password goes out" if found.user and found.password else "mail goes out"
    return f"with mode=insecure {what} in the clear, for everybody on the way to read; mailtos:// is encrypted"


KIND = Kind(schemes=SCHEMES, sender=_sender, explain=_explain, remark=_remark, public=public, keyed=True)
