"""What a failed send means, and what a person can do about it."""

from __future__ import annotations

import re

from budgetd.model import Outcome

# What the receipt's detail shows -> what to do. The first pattern that is found counts: what is said by one service
# stands before what many say, and what says more before what says less.
_BY_DETAIL = {
    # Slack's own words
    r"\b(invalid_auth|invalid_token|not_authed|token_(expired|revoked)|account_inactive)\b": (
        "Slack does not know this token any more: make a new one among the app's settings, and put it where the old "
        "one is."
    ),
    r"\bchannel_not_found\b": (
        "Slack has no such channel, or it is private and the app is not in it: check its name in the channel's URL, "
        "and write /invite and the app's name there."
    ),
    r"\bnot_in_channel\b": "The Slack app is not in that channel: write /invite and the app's name there.",
    r"\bmissing_scope\b": "The Slack app lacks a right: give it the scope chat:write, then install it anew.",
    r"\b(channel_)?is_archived\b": "The Slack channel is archived: name another one in the channel's URL.",
    r"\b(restricted_action|posting_to_general_channel_denied|no_permission|access_denied|ekm_access_denied)\b": (
        "The Slack workspace's settings do not let the app post there: ask an administrator, or name another channel."
    ),
    r"\b(no_service|no_active_hooks|no_team|team_disabled)\b": (
        "This Slack webhook was removed: make a new one (Incoming Webhooks) and use its URL."
    ),
    # PagerDuty's
    r"routing.?key|integration.?key": (
        "PagerDuty does not know this integration key: take that of an Events API v2 integration of the service."
    ),
    # what lies between: proxies, portals, certificates, names
    r"\b407\b|proxy authentication": "The proxy wants a login: put user and password into HTTPS_PROXY.",
    r"proxy": "The proxy that this machine's environment names did not let it through: check HTTPS_PROXY.",
    r"^HTTP 2\d\d: ?<(!doctype|html|head|body)": (
        "Something answers in the service's place, such as a login page of a network: open its address from this "
        "machine and look."
    ),
    r"redirect": "The address has moved, and redirects are not followed: write the new address into the URL.",
    r"nothing is sent to": "Clouds hand out credentials there, so it is refused: name another host in the URL.",
    r"resolve|gaierror|name or service not known|getaddrinfo": (
        "The host's name cannot be resolved: look for a typing error in the channel's URL, and at this machine's DNS."
    ),
    r"no starttls|starttls extension not supported": (
        "The server offers no encryption on this port, and no password goes out without it: try its TLS port "
        "(mailtos://, mode=ssl), or another server."
    ),
    r"certificate (has )?expired": (
        "The host's certificate has expired: have it renewed. If it has not, this machine's clock is wrong."
    ),
    r"hostname mismatch|doesn't match|not valid for|ip address mismatch": (
        "The certificate is for another name: write the name that it is for into the channel's URL."
    ),
    r"self.signed|local issuer|unable to get issuer|unknown ca": (
        "This machine does not know the authority that signed the host's certificate: name that authority's file in "
        "budgetd's environment, as REQUESTS_CA_BUNDLE, for mail as SSL_CERT_FILE."
    ),
    r"wrong.version.number|unknown.protocol|http.request|record.layer": (
        "The other side speaks no TLS on this port: check the port, or whether the URL should be one without the s."
    ),
    r"certificate|sslcert|sslerror|\bssl\b|\btls\b|no encrypted connection": (
        "The encrypted connection failed: check the host's certificate, the port, and this machine's clock."
    ),
    r"connection ?refused": (
        "Nothing listens there: check host and port in the channel's URL, and whether the service runs."
    ),
    r"connect in time|within the time allowed|no time was left|unreachable|no route|timed out|no answer in time": (
        "The host does not answer: check host and port, and whether a firewall lets this machine out."
    ),
    # mail servers', by what they say and by their codes (RFC 5321, RFC 3463)
    r"grey-?list|\b45[012] .*(try|later|again|defer)": (
        "The mail server does not know this machine yet and takes it later (greylisting): the daemon tries again by "
        "itself, a test does not. If it stays so, ask for this machine to be let in at once."
    ),
    r"offers no login": (
        "The mail server takes no login that way: try its encrypted port (mailtos://, or mode=ssl), or leave user and "
        "password out of the channel's URL."
    ),
    r"ways to log in": (
        "The mail server wants a login of a kind that is not known here: have it take PLAIN over TLS, or name another "
        "server with smtp= in the channel's URL."
    ),
    r"temporary authentication": (
        "The mail server could not look up the login for now. That may pass by itself; if it stays, tell whoever runs "
        "the server."
    ),
    r"relay|\b55\d 5\.7\.\d .*access denied": (
        "The mail server does not pass mail on for this machine: put user and password into the channel's URL, or have "
        "this machine's address allowed there."
    ),
    r"^login|authentication (is )?(required|failed|unsuccessful)|\b53[0458]\b": (
        "The mail server refused the login, or wants one: check user and password in the channel's URL."
    ),
    r"sender is refused": (
        "The account may not send as that address: set from= in the channel's URL to an address that is its own."
    ),
    r"\b55\d .*spam|spf|dkim|dmarc": (
        "The mail server takes it for spam: check that the domain of from= lets this machine send (SPF, DKIM)."
    ),
    r"reached: 55\d|blocked|blacklist|blocklist|spamhaus|reputation": (
        "The mail server blocks this machine's address: send through your provider's server, or have it unblocked."
    ),
    r"5\.1\.[0-6]|no such (user|mailbox|recipient)|user unknown|unknown (user|recipient)|mailbox unavailable": (
        "The mail server knows no such address: check to= in the channel's URL."
    ),
    r"\b552\b|too (big|large)|\b413\b|msg_too_long": (
        "The message is too large for the service; the daemon sends it again, shorter."
    ),
    r"sending the mail: 5|^5\d\d ": (
        "The mail server refused the mail: check the addresses, and whether this sender may send to them."
    ),
    # HTTP's, and Apprise's
    r"\b405\b": "That address takes no POST, so it is not the service's for messages: check the path in the URL.",
    r"does not understand this channel": "The channel's URL is wrong: budgetd check says where.",
    r"plug-in failed: ImportError|No module named": "Apprise needs a package for this service that is not installed.",
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
