"""What a failed send means, and what a person can do about it."""

from __future__ import annotations

import re

from budgetd.model import Outcome

# What the receipt's detail shows -> what to do. The first pattern that is found counts.
_BY_DETAIL = {
    r"resolve|gaierror|name or service not known|getaddrinfo": (
        "The host's name cannot be resolved: look for a typing error in the channel's URL, and at this machine's DNS."
    ),
    r"certificate|sslcert|sslerror|\bssl\b": (
        "The encrypted connection failed: check the host's certificate, the port, and this machine's clock."
    ),
    r"no encrypted connection|starttls": (
        "The server offers no encryption, and no password goes out without it: use its TLS port, or another server."
    ),
    r"connection ?refused": (
        "Nothing listens there: check host and port in the channel's URL, and whether the service runs."
    ),
    r"connect in time|within the time allowed|no time was left|unreachable|no route|timed out": (
        "The host does not answer: check host and port, and whether a firewall lets this machine out."
    ),
    r"proxy": "The proxy that this machine's environment names did not let it through: check HTTPS_PROXY.",
    r"redirect": "The address has moved, and redirects are not followed: write the new address into the URL.",
    r"nothing is sent to": "Clouds hand out credentials there, so it is refused: name another host in the URL.",
    r"^login": "The mail server refused the login: check user and password in the channel's URL.",
    r"channel_not_found|not_in_channel": "Slack has no such channel, or the app is not in it: invite it there.",
    r"missing_scope": "The Slack app lacks a right: give it the scope chat:write, then install it anew.",
    r"is_archived": "The Slack channel is archived: name another one in the channel's URL.",
    r"does not understand this channel": "The channel's URL is wrong: budgetd check says where.",
    r"sending the mail: 5": (
        "The mail server refused the mail: check the addresses, and whether this sender may send to them."
    ),
}
_BY_OUTCOME = {
    Outcome.UNAUTHORISED: "The token or password is wrong or revoked: get a new one and put it where the old one is.",
    Outcome.GONE: "The destination does not exist any more: make a new webhook or channel and use its URL.",
    Outcome.RATE_LIMITED: "The service takes no more for now; try again when it says so.",
    Outcome.REJECTED: "The service does not take this message; its answer says why.",
    Outcome.UNKNOWN: "It left, but nobody confirmed it: look whether it arrived.",
    Outcome.RETRY: "The service could not take it now. That may pass by itself; if it stays, look at its status page.",
}
_PATTERNS = [(re.compile(pattern, re.IGNORECASE), words) for pattern, words in _BY_DETAIL.items()]


def advice(outcome: Outcome, detail: str) -> str:
    """One or two sentences for whoever must mend it; empty for what was delivered."""
    if outcome is Outcome.DELIVERED:
        return ""
    if outcome in (Outcome.UNKNOWN, Outcome.RATE_LIMITED):
        return _BY_OUTCOME[outcome]
    return next((words for pattern, words in _PATTERNS if pattern.search(detail)), _BY_OUTCOME[outcome])
