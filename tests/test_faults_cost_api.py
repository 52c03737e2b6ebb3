"""Every way in which the cost API can fail to answer, over real sockets; numbered as the faults are.

Each one ends in bounded time, in an error of the right kind that does not hold the key, or in the right figures.
There is no third way: nothing partial, nothing read as $0.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from budgetd.model import CostDay, Failure
from budgetd.sources.cost_report import CostReport
from tests.certificates import certified, trusted
from tests.cost_client import ECHOES, GOOD, JSON_HEAD, KEY, Client, played, read, totals
from tests.cost_pages import FIRST, TODAY, bucket, days, month, page
from tests.faulty_server import (
    Connection,
    FaultyServer,
    Request,
    Script,
    answer,
    closed_port,
    error,
    head,
    raw,
    unanswered_port,
)

pytestmark = pytest.mark.network


# --- no answer, half an answer -----------------------------------------------------------------


def test_fault_01_a_refused_connection_is_unreachable() -> None:
    with closed_port() as port, Client(f"http://127.0.0.1:{port}") as client:
        client.fails(Failure.UNREACHABLE, "refused")
        assert len(client.naps) == 1


def test_fault_02_a_dropped_syn_ends_with_the_time_allowed() -> None:
    with unanswered_port() as port, Client(f"http://127.0.0.1:{port}") as client:
        client.fails(Failure.UNREACHABLE, "no connection within the time allowed")


def test_fault_03_a_stall_within_the_body_ends_with_the_time_allowed() -> None:
    def stall(connection: Connection, request: Request) -> None:
        connection.send(head(content_type="application/json", content_length="1000") + b'{"data": [')
        connection.stall()

    played([stall], Failure.UNREACHABLE, "no whole answer within the time allowed")


@pytest.mark.parametrize("part", ["headers", "body"])
def test_fault_04_a_slow_drip_ends_with_the_time_allowed(part: str) -> None:
    def drip(connection: Connection, request: Request) -> None:
        if part == "body":
            connection.send(JSON_HEAD)
        connection.drip(JSON_HEAD + b" " * 1000, 0.05)

    played([drip], Failure.UNREACHABLE, "no whole answer within the time allowed")


def test_fault_04_a_whole_fetch_has_a_deadline_too() -> None:
    def slow(connection: Connection, request: Request) -> None:
        number = sum(name == "page" for name, _ in request.query) and int(dict(request.query)["page"])
        connection.stopping.wait(0.2)
        answer(page([bucket(days(FIRST, TODAY)[number])], str(number + 1)))(connection, request)

    with FaultyServer([slow]) as server, Client(server.url, seconds=2) as client:
        client.source = CostReport(client.api, fetch_seconds=0.7)
        client.fails(Failure.UNREACHABLE, within=2.5)


def test_fault_05_truncated_json_with_the_wrong_length_is_tried_again() -> None:
    body = json.dumps(page(month())).encode()
    cut = raw(head(content_type="application/json", content_length=str(len(body))) + body[:-20])
    played([cut], Failure.UNREACHABLE)
    assert len(read(cut, GOOD).days) == 17


@pytest.mark.parametrize("headers", [{}, {"content_length": "999"}])
def test_fault_05_truncated_json_that_looks_whole_is_not_used(headers: dict[str, Any]) -> None:
    body = json.dumps(page(month())).encode()[:999]
    cut = raw(head(content_type="application/json", **headers) + body)
    assert len(played([cut], Failure.UNREADABLE, "not JSON at character")) == 2
    assert len(read(cut, GOOD).days) == 17


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_fault_06_a_body_in_another_encoding_is_refused(encoding: str) -> None:
    played([answer(json.dumps(page(month())).encode(encoding))], Failure.UNREADABLE)


def test_fault_06_invalid_utf_8_is_refused() -> None:
    body = json.dumps(page(month())).encode().replace(b"Opus", b"Op\xffs")
    played([answer(body)], Failure.UNREADABLE, "not UTF-8 at byte")


def test_fault_07_a_web_page_is_not_a_report() -> None:
    web = b"<html>\x1b[31m<title>Sign in</title>" + b"x" * 5000
    played([answer(web, content_type="text/html")], Failure.UNREADABLE, "text/html", "<html>\\u001b[31m<title>Sign in")
    played([answer(web)], Failure.UNREADABLE, "not JSON", "<html>\\u001b[31m<title>Sign in")
    played([answer(web, 502, content_type="text/html")], Failure.UNAVAILABLE, "HTTP 502", "<title>Sign in")


def test_fault_07_json_under_another_name_is_refused() -> None:
    played([answer(page(month()), content_type="text/plain")], Failure.UNREADABLE, "text/plain")


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"{}", b"0", b'""', b'{"data": null, "has_more": false}', b'{"data": []}']
)
def test_fault_08_an_empty_answer_is_not_zero_dollars(body: bytes) -> None:
    played([answer(body)], Failure.UNREADABLE)


def test_fault_08_an_error_in_a_200_is_not_zero_dollars() -> None:
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    played([answer(body)], Failure.UNREADABLE, "an error instead of data", "overloaded_error")


def test_fault_09_no_data_for_a_range_that_must_have_some_is_refused() -> None:
    played([answer(page([]))], Failure.UNREADABLE, "no day at all")
    played([answer(page(month()[:5], "p2")), answer(page([], "p3")), answer(page([], "p3"))], Failure.UNREADABLE)


def test_fault_09_data_that_was_there_and_is_gone_is_refused() -> None:
    scripts = [GOOD, answer(page(month()[:10])), answer(page(month()[:10])), GOOD]
    with FaultyServer(scripts) as server, Client(server.url) as client:
        client.read()
        client.fails(Failure.UNREADABLE, "once went on to 2026-11-18")
        assert client.read().through == datetime(2026, 11, 18, tzinfo=UTC)


# --- refusals ----------------------------------------------------------------------------------


def test_fault_10_a_400_is_shown_and_not_tried_again() -> None:
    script = error(400, "invalid_request_error", "Invalid date range: ending date must be after starting date")
    requests = played([script], Failure.REJECTED, "invalid_request_error: Invalid date range", "(request req_123)")
    assert len(requests) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_fault_11_a_rejected_key_makes_no_storm_and_a_changed_one_is_taken_up(status: int) -> None:
    with (
        FaultyServer([error(status, "authentication_error", "invalid x-api-key"), GOOD]) as server,
        Client(server.url) as client,
    ):
        client.fails(Failure.REFUSED, f"HTTP {status}", "authentication_error: invalid x-api-key")
        assert len(server.requests) == 1
        assert len(client.read().days) == 17


def test_fault_12_a_404_is_a_refusal_and_not_an_empty_report() -> None:
    assert len(played([error(404, "not_found_error", "Not found")], Failure.REJECTED, "not_found_error")) == 1


def test_fault_13_retry_after_is_waited_for() -> None:
    with FaultyServer([error(429, "rate_limit_error", retry_after="2"), GOOD]) as server, Client(server.url) as client:
        client.source = CostReport(client.api, fetch_seconds=60)
        assert len(client.read().days) == 17
        (nap,) = client.naps
        assert 2 <= nap < 3


def test_fault_13_a_wait_beyond_the_deadline_is_handed_on() -> None:
    with FaultyServer([error(429, "rate_limit_error", retry_after="1800")]) as server, Client(server.url) as client:
        assert client.fails(Failure.UNAVAILABLE).retry_after == 1800
        assert client.naps == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 1),
        ("-30", 1),
        ("86400", 3600),
        ("Wed, 18 Nov 2026 12:00:30 GMT", 30),
        ("Wed, 18 Nov 2020 12:00:00 GMT", 1),
        ("Wed, 18 Nov 9999 12:00:00 GMT", 3600),
        ("soon", None),
        ("9" * 300, None),
    ],
)
def test_fault_14_a_strange_retry_after_neither_sleeps_for_ever_nor_loops(text: str, seconds: float | None) -> None:
    with FaultyServer([error(429, retry_after=text)]) as server, Client(server.url) as client:
        assert client.fails(Failure.UNAVAILABLE).retry_after == seconds
        assert all(nap >= 1 for nap in client.naps)
        assert len(server.requests) <= 2


def test_fault_15_a_spend_limit_is_told_in_its_own_words_and_not_hammered() -> None:
    script = error(429, "enforced_spend_limit_reached", "You have reached your spend limit until 2026-12-01")
    requests = played([script], Failure.UNAVAILABLE, "enforced_spend_limit_reached", "until 2026-12-01")
    assert len(requests) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529])
def test_fault_16_a_server_in_trouble_is_tried_again(status: int) -> None:
    assert len(played([error(status)], Failure.UNAVAILABLE, f"HTTP {status}")) == 2
    assert len(read(error(status), GOOD).days) == 17


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_fault_17_a_redirect_is_refused_and_its_host_is_named(status: int) -> None:
    requests = played(
        [answer(b"", status, location=f"https://evil.example.com/{KEY}")],
        Failure.REJECTED,
        "redirect to host evil.example.com refused",
    )
    assert len(requests) == 1


@pytest.mark.parametrize("location", ["", "/other", "http://[", "http://x:99999999/", "gopher://x", "//"])
def test_fault_17_a_redirect_to_anywhere_is_refused(location: str) -> None:
    assert len(played([answer(b"", 302, location=location)], Failure.REJECTED, "redirect", "refused")) == 1


def test_fault_18_a_redirect_to_another_host_never_brings_it_the_key() -> None:
    with FaultyServer([GOOD]) as canary:
        played([answer(b"", 307, location=f"{canary.url}/v1")], Failure.REJECTED)
    assert (canary.connections, canary.requests) == (0, [])


# --- TLS, names, the environment ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ({"expired": True}, "certificate has expired"),
        ({"name": "other.example.com"}, "Hostname mismatch"),
        ({"oldest": True}, "TLS:"),
    ],
)
def test_fault_47_a_host_that_cannot_prove_itself_gets_no_key(
    made: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    context, authority = certified(**made)
    with (
        FaultyServer([GOOD], tls=context) as server,
        Client(server.url, ca_file=trusted(authority, tmp_path)) as client,
    ):
        client.fails(Failure.UNREACHABLE, reason)
    assert server.requests == []


def test_fault_47_an_unknown_authority_is_refused() -> None:
    with FaultyServer([GOOD], tls=certified()[0]) as server, Client(server.url) as client:
        client.fails(Failure.UNREACHABLE, "TLS: certificate refused: unable to get local issuer certificate")
    assert server.requests == []


@pytest.mark.parametrize("ending", ["closes", "stalls", "speaks http"])
def test_fault_47_a_broken_handshake_is_unreachable(ending: str, tmp_path: Path) -> None:
    def handshake(connection: Connection) -> None:
        connection.socket.recv(1)
        if ending == "stalls":
            connection.stall()
        connection.send(b"HTTP/1.1 200 OK\r\n\r\n" if ending == "speaks http" else b"\x16\x03\x03")

    with FaultyServer([GOOD], on_connect=handshake) as server, Client(server.url.replace("http:", "https:")) as client:
        client.fails(Failure.UNREACHABLE)


def test_fault_48_a_name_that_does_not_exist_is_unreachable() -> None:
    with Client("https://api.budgetd.invalid") as client:
        client.fails(Failure.UNREACHABLE, "the name cannot be resolved", within=10)


@pytest.fixture
def hostile_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Path]:
    """Everything in the environment that a client might listen to; a proxy's address is to be given."""

    def set_up(proxy: str) -> Path:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)
            monkeypatch.setenv(name.lower(), proxy)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keylog"))
        (tmp_path / ".netrc").write_text("machine localhost login me password pw\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        return tmp_path

    return set_up


def test_fault_49_no_proxy_netrc_or_key_log_of_the_environment_is_used(
    hostile_environment: Callable[[str], Path],
) -> None:
    context, authority = certified()
    with FaultyServer([GOOD]) as proxy, FaultyServer([GOOD], tls=context) as server, FaultyServer([GOOD]) as plain:
        folder = hostile_environment(proxy.url)
        with Client(server.url, seconds=2, ca_file=trusted(authority, folder)) as client:
            client.read()
        with Client(plain.url) as client:
            client.read()
    assert proxy.connections == 0
    assert not (folder / "keylog").exists()
    assert "authorization" not in {**server.requests[0].headers, **plain.requests[0].headers}


def test_fault_49_no_authority_of_the_environment_is_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    context, authority = certified()
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted(authority, tmp_path)))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with FaultyServer([GOOD], tls=context) as server, Client(server.url) as client:
        client.fails(Failure.UNREACHABLE, "certificate refused")


@pytest.mark.parametrize(
    "url", ["http://api.anthropic.com", "http://192.0.2.1", "http://0.0.0.0", "http://[2001:db8::1]"]
)
def test_fault_50_a_key_never_goes_over_plain_http_to_another_machine(url: str) -> None:
    with pytest.raises(ValueError, match="a key goes over https, or to loopback"):
        Client(url)


def test_fault_51_a_clock_that_is_far_off_is_seen() -> None:
    with (
        FaultyServer([answer(page(month()), date="Wed, 18 Nov 2026 12:05:00 GMT")]) as server,
        Client(server.url) as client,
    ):
        client.read()
        assert client.api.last_skew == 300


# --- the key -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("script", "failure"), ECHOES)
def test_an_answer_that_repeats_the_key_leaks_it_nowhere(script: Script, failure: Failure) -> None:
    played([script], failure)


def test_a_report_is_all_or_nothing_and_of_exact_days() -> None:
    report = read(GOOD)
    assert all(isinstance(day, CostDay) and day.complete for day in report.days)
    assert sum(totals(report).values()) == Decimal("153.085")
