"""The one way to post, against real servers on loopback that answer as they please."""

from __future__ import annotations

import gzip
import socket
import ssl
import struct
from pathlib import Path

import httpcore
import pytest

from budgetd import posting, wire
from budgetd.channels.urls import Secrets
from budgetd.clock import monotonic
from budgetd.model import Outcome, Receipt
from budgetd.posting import Answer, post
from tests.certificates import certified, trusted
from tests.faulty_server import (
    Connection,
    FaultyServer,
    Request,
    Script,
    answer,
    closed_port,
    head,
    raw,
    unanswered_port,
)
from tests.tls_proxy import http_answer, tls_proxy

network = pytest.mark.network
CANARY = "CANARYpath0123"


def sent(url: str, seconds: float = 5.0, body: bytes = b"{}", **environment: str) -> Answer | Receipt:
    return post(url, body, {"X-Kind": "test"}, seconds, Secrets(url).scrub, environment)


def judged(script: Script, seconds: float = 5.0) -> Receipt:
    """What becomes of a POST that this server answers."""
    with FaultyServer([script]) as server:
        url = f"{server.url}/{CANARY}"
        found = sent(url, seconds)
        return found if isinstance(found, Receipt) else posting.receipt(found, Secrets(url).scrub)


# --- what goes out -----------------------------------------------------------------------------


@network
def test_a_post_is_one_request_as_it_was_written() -> None:
    with FaultyServer([answer({"ok": True})]) as server:
        host = f"localhost:{server.port}"
        found = sent(f"http://{host}/a%20b/ü?x=1&y=%2F", body=b'{"a": 1}')
    assert found == Answer(200, '{"ok": true}', "application/json")
    (request,) = server.requests
    assert request.target == "/a%20b/%C3%BC?x=1&y=%2F"
    assert request.body == b'{"a": 1}'
    wanted = {"x-kind": "test", "accept-encoding": "identity", "connection": "close", "content-length": "8"}
    assert wanted.items() <= request.headers.items()
    assert request.headers["host"] == host
    assert request.headers["user-agent"].startswith("budgetd/")


@pytest.mark.parametrize(
    "url", ["ftp://example.com/x", "https:///x", "https://[::1/x", "https://h:99999/x", f"https://{CANARY}:x@h℀/"]
)
def test_an_address_that_is_none_is_a_broken_channel(url: str) -> None:
    found = sent(url)
    assert isinstance(found, Receipt)
    assert found.outcome is Outcome.GONE
    assert CANARY not in found.detail


# --- statuses ----------------------------------------------------------------------------------


@network
@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.DELIVERED),
        (202, Outcome.DELIVERED),
        (204, Outcome.DELIVERED),
        (301, Outcome.GONE),
        (302, Outcome.GONE),
        (304, Outcome.GONE),
        (308, Outcome.GONE),
        (400, Outcome.REJECTED),
        (401, Outcome.UNAUTHORISED),
        (403, Outcome.UNAUTHORISED),
        (404, Outcome.GONE),
        (405, Outcome.REJECTED),
        (408, Outcome.RETRY),
        (409, Outcome.RETRY),
        (410, Outcome.GONE),
        (413, Outcome.REJECTED),
        (422, Outcome.REJECTED),
        (425, Outcome.RETRY),
        (429, Outcome.RATE_LIMITED),
        (500, Outcome.RETRY),
        (503, Outcome.RETRY),
        (599, Outcome.RETRY),
        (999, Outcome.RETRY),
    ],
)
def test_fault_110_every_status_has_its_outcome(status: int, outcome: Outcome) -> None:
    receipt = judged(raw(head(status) + b"the\r\nreason"))
    assert receipt.outcome is outcome
    assert receipt.detail.startswith(f"HTTP {status}")


@network
@pytest.mark.parametrize(
    ("text", "date", "seconds"),
    [
        ("30", "", 30),
        ("0", "", 1),
        ("-7", "", 1),
        ("9999999", "", 3600),
        ("soon", "", None),
        ("1e9", "", None),
        ("", "", None),
        ("Wed, 18 Nov 1998 12:02:00 GMT", "Wed, 18 Nov 1998 12:00:00 GMT", 120),
        ("Wed, 18 Nov 1998 12:02:00 GMT", "", 1),
        ("Wed, 99 Nov 1998 12:02:00 GMT", "Wed, 18 Nov 1998 12:00:00 GMT", None),
    ],
)
def test_fault_103_retry_after_is_kept(text: str, date: str, seconds: float | None) -> None:
    receipt = judged(raw(head(429, retry_after=text, **({"date": date} if date else {}))))
    assert (receipt.outcome, receipt.after) == (Outcome.RATE_LIMITED, seconds)


@network
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_fault_123_a_redirect_is_named_and_never_followed(status: int) -> None:
    with FaultyServer([answer({})]) as inner:
        host = f"localhost:{inner.port}"
        receipt = judged(raw(head(status, location=f"http://me:{CANARY}@{host}/{CANARY}")))
    assert (receipt.outcome, inner.connections) == (Outcome.GONE, 0)
    assert receipt.detail == f"HTTP {status}: redirect to host {host} refused"


@network
@pytest.mark.parametrize("location", ["/elsewhere", "http://[::1", "\x1b[31m", ""])
def test_an_odd_redirect_is_refused_too(location: str) -> None:
    assert judged(raw(head(307, location=location))).outcome is Outcome.GONE


# --- bodies ------------------------------------------------------------------------------------


@network
def test_fault_125_a_gigabyte_of_answer_is_not_read() -> None:
    taken = 0

    def pour(connection: Connection, request: Request) -> None:
        nonlocal taken
        connection.send(head(200, content_length=str(10**9)))
        while taken < 10**9:
            connection.send(b"x" * 65536)
            taken += 65536

    with FaultyServer([pour]) as server:
        found = sent(server.url)
    assert isinstance(found, Answer)
    assert (len(found.text), found.whole) == (64 * 1024, False)
    assert taken < 20 * 2**20  # what sockets buffer


@network
def test_a_compressed_answer_is_not_unfolded() -> None:
    bomb = gzip.compress(bytes(10**7))
    with FaultyServer([answer(bomb, content_encoding="gzip")]) as server:
        found = sent(server.url)
    assert isinstance(found, Answer)
    assert (found.status, found.text) == (200, "")


@network
def test_a_page_for_people_says_what_it_is() -> None:
    with FaultyServer([answer(b"<!doctype html><title>Log in", content_type="Text/HTML; charset=utf-8")]) as server:
        found = sent(server.url)
    assert isinstance(found, Answer)
    assert (found.status, found.content_type) == (200, "text/html")


@network
def test_what_is_shown_of_an_answer_is_one_short_line_without_secrets() -> None:
    receipt = judged(raw(head(400) + f"no\r\nsuch \x1b[31m {CANARY} ".encode() + b"\xff" * 9000))
    assert receipt.detail.startswith("HTTP 400: no such \\u001b[31m *** ")
    assert len(receipt.detail) < 300


# --- no answer ---------------------------------------------------------------------------------


def _hang(connection: Connection, request: Request) -> None:
    connection.stall()


def _drip_head(connection: Connection, request: Request) -> None:
    connection.drip(head(200, x="y" * 500), 0.05)


def _drip_body(connection: Connection, request: Request) -> None:
    connection.send(head(200, content_length="500"))
    connection.drip(b"x" * 500, 0.05)


def _reset(connection: Connection, request: Request) -> None:
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.socket.close()


@network
@pytest.mark.parametrize(
    ("script", "outcome", "words"),
    [
        (_hang, Outcome.UNKNOWN, "no answer in time after the request was sent"),
        (_drip_head, Outcome.UNKNOWN, "no answer in time after the request was sent"),
        (_drip_body, Outcome.DELIVERED, "HTTP 200: x"),
        (_reset, Outcome.UNKNOWN, "the connection broke after the request was sent"),
        (raw(b""), Outcome.UNKNOWN, "the connection broke after the request was sent"),
        (raw(b"SSH-2.0-x\r\n\r\n"), Outcome.UNKNOWN, "the connection broke after the request was sent"),
        (raw(head(200, content_length="50") + b"half"), Outcome.DELIVERED, "HTTP 200: half"),
    ],
    ids=["hang", "drip head", "drip body", "reset", "closed", "no HTTP", "half a body"],
)
def test_fault_111_what_was_sent_and_not_answered_may_have_arrived(
    script: Script, outcome: Outcome, words: str
) -> None:
    began = monotonic()
    receipt = judged(script, 0.4)
    assert monotonic() - began < 2
    assert receipt.outcome is outcome
    assert receipt.detail.startswith(words)


@network
def test_a_request_that_was_not_written_to_its_end_cannot_have_arrived() -> None:
    def early(connection: Connection) -> None:
        connection.stall()

    with FaultyServer([], on_connect=early) as server:
        found = sent(server.url, 0.4, body=bytes(64 * 2**20))
    assert isinstance(found, Receipt)
    assert found.outcome is Outcome.RETRY


@network
def test_a_refused_connection_is_tried_again() -> None:
    with closed_port() as port:
        found = sent(f"http://127.0.0.1:{port}/{CANARY}")
    assert isinstance(found, Receipt)
    assert found.outcome is Outcome.RETRY
    assert found.detail.startswith("could not connect: ")


@network
def test_a_host_that_drops_everything_is_left_in_time() -> None:
    began = monotonic()
    with unanswered_port() as port:
        found = sent(f"http://127.0.0.1:{port}", 0.4)
    assert isinstance(found, Receipt)
    assert (found.outcome, found.detail) == (
        Outcome.RETRY,
        "could not connect: no connection within the time allowed",
    )
    assert monotonic() - began < 2


@network
def test_a_name_that_does_not_exist_is_tried_again() -> None:
    found = sent("http://nowhere.invalid/x")
    assert isinstance(found, Receipt)
    assert found.outcome is Outcome.RETRY
    assert "the name cannot be resolved" in found.detail


# --- where nothing is sent ---------------------------------------------------------------------


@network
@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.0.1",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
    ],
)
def test_fault_122_nothing_is_sent_to_link_local_addresses(host: str) -> None:
    for environment in ({}, {"HTTPS_PROXY": "http://127.0.0.1:9"}):
        found = sent(f"https://{host}/latest/meta-data", 1, **environment)
        assert isinstance(found, Receipt)
        assert (found.outcome, "nothing is sent to" in found.detail) == (Outcome.GONE, True)


@network
def test_fault_122_the_address_that_is_checked_is_the_one_that_is_connected_to() -> None:
    deadline = wire.Deadline(monotonic)
    deadline.until = monotonic() + 5
    with FaultyServer([answer({})]) as server, wire.pool(deadline, None, None, lambda _: True) as pool:
        with pytest.raises(wire.ForbiddenAddressError):
            pool.request("POST", httpcore.URL(server.url))
        assert server.connections == 0


@network
@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "10.0.0.1", "192.168.1.1", "fc00::1", "2001:db8::1", "x.com"]
)
def test_loopback_and_private_addresses_are_allowed(host: str) -> None:
    assert not wire.is_link_local(host)


# --- TLS and proxies ---------------------------------------------------------------------------


@network
@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_private_authority_is_trusted_when_the_environment_names_it(variable: str, tmp_path: Path) -> None:
    context, authority = certified()
    with FaultyServer([answer({})], tls=context) as server:
        refused = sent(server.url)
        found = sent(server.url, **{variable: str(trusted(authority, tmp_path))})
    assert isinstance(found, Answer)
    assert isinstance(refused, Receipt)
    assert refused.outcome is Outcome.RETRY
    assert refused.detail.startswith("could not connect: TLS: certificate refused: ")


@network
def test_an_authority_that_was_renewed_is_read_anew(tmp_path: Path) -> None:
    for _ in range(2):
        context, authority = certified()
        with FaultyServer([answer({})], tls=context) as server:
            assert isinstance(sent(server.url, SSL_CERT_FILE=str(trusted(authority, tmp_path))), Answer)


@network
@pytest.mark.parametrize(("name", "expired"), [("elsewhere.example.com", False), ("localhost", True)])
def test_a_wrong_certificate_is_refused_before_anything_is_sent(name: str, expired: bool, tmp_path: Path) -> None:
    context, authority = certified(name=name, expired=expired)
    with FaultyServer([answer({})], tls=context) as server:
        found = sent(server.url, SSL_CERT_FILE=str(trusted(authority, tmp_path)))
    assert isinstance(found, Receipt)
    assert (found.outcome, server.requests) == (Outcome.RETRY, [])


@pytest.mark.parametrize("text", ["", "no certificate"])
def test_a_ca_file_that_is_none_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(text)
    for file in ("ca.pem", "missing.pem"):
        found = sent("https://localhost", SSL_CERT_FILE=str(tmp_path / file))
        assert isinstance(found, Receipt)
        assert (found.outcome, file in found.detail) == (Outcome.GONE, True)


@network
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_the_environments_proxy_is_used(variable: str, tmp_path: Path) -> None:
    with tls_proxy(tmp_path) as proxy:
        proxy.answer = lambda _: http_answer(202, b"fine")
        given = {variable: proxy.url, "SSL_CERT_FILE": str(proxy.ca_file)}
        found = sent("https://api.example.com/x", **given)
    assert isinstance(found, Answer)
    assert (found.status, proxy.requests[0].host, proxy.requests[0].line) == (
        202,
        "api.example.com",
        "POST /x HTTP/1.1",
    )


@network
def test_what_a_proxy_says_no_to_was_never_sent() -> None:
    def refusing(connection: Connection, request: Request) -> None:
        connection.send(head(407, content_length="0"))

    with FaultyServer([refusing]) as server:
        found = sent("https://api.example.com/x", HTTPS_PROXY=f"me:{CANARY}@127.0.0.1:{server.port}")
    assert isinstance(found, Receipt)
    assert (found.outcome, found.detail) == (Outcome.RETRY, "could not connect through the proxy: 407 Whatever")
    assert server.requests[0].headers["proxy-authorization"].startswith("Basic ")


@network
def test_a_proxy_that_hangs_up_or_hangs_was_never_told_anything() -> None:
    for script in (raw(b""), _hang):
        with FaultyServer([script]) as server:
            found = sent("https://api.example.com/x", 0.4, HTTPS_PROXY=server.url)
        assert isinstance(found, Receipt)
        assert found.outcome is Outcome.RETRY


@network
def test_what_was_sent_through_a_proxy_and_not_answered_may_have_arrived(tmp_path: Path) -> None:
    with tls_proxy(tmp_path) as proxy:
        proxy.answer = lambda _: b""
        found = sent("https://api.example.com/x", HTTPS_PROXY=proxy.url, SSL_CERT_FILE=str(proxy.ca_file))
    assert isinstance(found, Receipt)
    assert found.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1080", "http://"])
def test_a_proxy_of_another_kind_is_named(proxy: str) -> None:
    found = sent("https://api.example.com/x", HTTPS_PROXY=proxy)
    assert isinstance(found, Receipt)
    assert (found.outcome, "the proxy must be" in found.detail) == (Outcome.GONE, True)


@network
@pytest.mark.parametrize(
    "no_proxy", ["*", "localhost", "a.example, LOCALHOST ", ".localhost", "localhost:{port}", "x,localhost,"]
)
def test_no_proxy_is_honoured(no_proxy: str, tmp_path: Path) -> None:
    context, authority = certified()
    with FaultyServer([answer({})], tls=context) as server:
        given = {"NO_PROXY": no_proxy.format(port=server.port), "SSL_CERT_FILE": str(trusted(authority, tmp_path))}
        assert isinstance(sent(server.url, HTTPS_PROXY="http://127.0.0.1:9", **given), Answer)


@network
@pytest.mark.parametrize("no_proxy", ["", "other", "localhost:1", "host", "127.0.0.0/8"])
def test_a_host_that_no_proxy_does_not_name_goes_through_it(no_proxy: str) -> None:
    with closed_port() as port:
        found = sent("https://localhost:2/x", HTTPS_PROXY=f"http://127.0.0.1:{port}", NO_PROXY=no_proxy)
    assert isinstance(found, Receipt)
    assert found.outcome is Outcome.RETRY


@network
def test_networks_in_no_proxy_are_understood() -> None:
    with FaultyServer([answer({})], tls=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)) as server:
        sent(f"https://127.0.0.1:{server.port}", HTTPS_PROXY="http://127.0.0.1:9", NO_PROXY="127.0.0.0/8")
    assert server.connections == 1


@network
def test_what_is_plain_http_goes_through_no_proxy() -> None:
    with FaultyServer([answer({})]) as server:
        assert isinstance(sent(server.url, HTTP_PROXY="http://127.0.0.1:9", ALL_PROXY="http://127.0.0.1:9"), Answer)
