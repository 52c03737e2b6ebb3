"""The way to the API: where a key may go, what is tried again and when, and that nothing outlasts its deadline."""

from __future__ import annotations

import base64
import logging
import random
import ssl
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from budgetd import clock
from budgetd.http import Api, BodyTooLargeError, Bounds
from budgetd.model import Failure, SourceError
from budgetd.retry_after import retry_hint
from tests.faulty_server import Connection, FaultyServer, Request, answer, closed_port, error, head, raw

network = pytest.mark.network
KEY = "sk-ant-admin01-CANARY-0123456789abcdef"
NOW = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)
DATE = "Wed, 18 Nov 2026 12:00:00 GMT"


def api(url: str, key: Callable[[], str] = lambda: KEY, **settings: Any) -> Api:
    settings.setdefault("bounds", Bounds(request_seconds=2))
    settings.setdefault("sleep", lambda seconds: None)
    return Api(url, key, now=lambda: NOW, **settings)


def failure(api: Api, **arguments: Any) -> SourceError:
    with pytest.raises(SourceError) as caught:
        api.get("/v1/x", **arguments)
    return caught.value


# --- where a key may go ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://api.example.com", "plain http"),
        ("http://127.0.0.1.example.com", "plain http"),
        ("http://10.0.0.1", "plain http"),
        ("ftp://api.example.com", "https://"),
        ("api.example.com", "https://"),
        ("https://", "https://"),
        ("https://user:secret@api.example.com", "no user"),
        ("https://api.example.com/?key=secret", "no user"),
        ("https://api.example.com:notaport", "not a URL"),
    ],
)
def test_an_address_that_a_key_must_not_go_to_is_refused(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        api(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["https://api.example.com", "http://127.0.0.1:8080", "http://127.8.8.8", "http://[::1]:8080", "http://localhost"],
)
def test_https_anywhere_and_plain_http_to_loopback_are_taken(url: str) -> None:
    api(url).close()


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1080", "not a url", "ftp://x"])
def test_a_proxy_of_another_kind_is_refused(proxy: str) -> None:
    with pytest.raises(ValueError, match="proxy must be"):
        api("https://api.example.com", proxy=proxy)


def test_a_proxy_never_carries_a_key_in_the_clear() -> None:
    with pytest.raises(ValueError, match="must be https"):
        api("http://127.0.0.1", proxy="http://127.0.0.1:3128")


def test_a_missing_ca_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing\.pem"):
        api("https://api.example.com", ca_file=tmp_path / "missing.pem")


# --- what is sent ------------------------------------------------------------------------------


@network
def test_a_request_says_who_asks_for_what() -> None:
    with FaultyServer([answer({})]) as server:
        client = api(server.url, betas=["one-2026-01-01", "two-2026-02-02"])
        assert client.get("/v1/x", [("group_by[]", "a"), ("group_by[]", "b")]) == b"{}"
        client.close()
    (request,) = server.requests
    assert request.query == [("group_by[]", "a"), ("group_by[]", "b")]
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert request.headers["anthropic-beta"] == "one-2026-01-01,two-2026-02-02"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["user-agent"].startswith("budgetd/")
    assert "(+https://" in request.headers["user-agent"]


@network
@pytest.mark.parametrize(
    ("key", "header", "value"),
    [
        (KEY, "x-api-key", KEY),
        (f" {KEY}\n", "x-api-key", KEY),
        ("sk-ant-oat01-abcdefgh", "authorization", "Bearer sk-ant-oat01-abcdefgh"),
        ("eyJ.token", "authorization", "Bearer eyJ.token"),
        ("Bearer eyJ.token", "authorization", "Bearer eyJ.token"),
    ],
)
def test_a_key_goes_as_x_api_key_and_a_token_as_bearer(key: str, header: str, value: str) -> None:
    with FaultyServer([answer({})]) as server:
        client = api(server.url, lambda: key)
        client.get("/v1/x")
        client.close()
    headers = server.requests[0].headers
    assert headers[header] == value
    assert len({"x-api-key", "authorization"} & headers.keys()) == 1


def test_the_mark_of_a_key_is_the_same_on_every_line_and_not_the_key() -> None:
    keys = iter(["sk-ant-one-00000000", "sk-ant-one-00000000", "sk-ant-two-00000000", "", "sk-ant-two-00000000"])
    client, other = (
        api("http://127.0.0.1:1", lambda: next(keys)),
        api("http://127.0.0.1:1", lambda: "sk-ant-two-00000000"),
    )
    first, again, *later = [client.key_mark() for _ in range(5)]
    assert first == again
    assert set(later) == {other.key_mark()} != {first}
    assert "two" not in later[0]
    client.close()
    other.close()


@network
def test_a_changed_credential_counts_at_the_next_request() -> None:
    keys = iter(["sk-ant-old-00000000", "sk-ant-new-00000000"])
    with FaultyServer([error(401, "authentication_error"), answer({})]) as server:
        client = api(server.url, lambda: next(keys))
        assert failure(client).failure is Failure.REFUSED
        assert client.get("/v1/x") == b"{}"
        client.close()
    assert [request.headers["x-api-key"][7:10] for request in server.requests] == ["old", "new"]


@network
def test_every_request_is_counted_where_it_is_sent() -> None:
    scripts = [error(503, "overloaded"), error(429, "rate_limit_error", retry_after="1"), answer({}), answer({})]
    with FaultyServer([*scripts, error(400, "invalid_request_error"), answer({})]) as server:
        client = api(server.url)
        assert client.requests == 0
        client.get("/v1/x")
        assert client.requests == 3, "the repetitions are requests, too"
        client.get("/v1/x", [("page", "2")])
        assert failure(client).status == 400
        assert client.requests == len(server.requests) == 5
        client.close()


@network
def test_one_that_nobody_answers_is_counted_and_one_without_a_key_is_not_sent() -> None:
    with closed_port() as port:
        client = api(f"http://127.0.0.1:{port}", bounds=Bounds(request_seconds=2, attempts=2))
        assert failure(client).failure is Failure.UNREACHABLE
        assert client.requests == 2
        client.close()
    client = api("http://127.0.0.1:9", lambda: "")
    assert failure(client).failure is Failure.REFUSED
    assert client.requests == 0
    client.close()


def _no_file() -> str:
    raise FileNotFoundError(2, "No such file or directory")


def _no_text() -> str:
    return b"\xff\xfesecret".decode()


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (lambda: "", "empty"),
        (lambda: "Bearer ", "empty"),
        (lambda: "secret\nx-evil: 1", "characters"),
        (lambda: "secrét", "characters"),
        (_no_file, "No such file"),
        (_no_text, "not text"),
    ],
)
def test_a_key_that_is_none_is_refused_before_anything_is_sent(key: Callable[[], str], words: str) -> None:
    client = api("http://127.0.0.1:9", key)
    refused = failure(client)
    client.close()
    assert refused.failure is Failure.REFUSED
    assert words in refused.message
    assert "secr" not in refused.message


@network
def test_one_connection_serves_every_request() -> None:
    with FaultyServer([answer({})]) as server:
        client = api(server.url)
        for _ in range(3):
            client.get("/v1/x")
        client.close()
    assert (server.connections, len(server.requests)) == (1, 3)


@network
def test_an_explicit_proxy_gets_a_tunnel_and_never_the_key(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    with FaultyServer([raw(head(407, proxy_authenticate="Basic"))]) as proxy:
        client = api(
            "https://api.example.com", proxy=f"http://me:pw@127.0.0.1:{proxy.port}", ca_file=tmp_path / "ca.pem"
        )
        refused = failure(client)
        client.close()
    assert refused.failure is Failure.UNREACHABLE
    assert "407" in refused.message
    assert proxy.requests[0].raw.startswith(b"CONNECT api.example.com:443 ")
    assert base64.b64encode(b"me:pw") in proxy.requests[0].raw
    assert KEY.encode() not in b"".join(request.raw for request in proxy.requests)


@network
def test_https_works_with_the_given_authority_only(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    with FaultyServer([answer({"a": 1})], tls=context) as server:
        client = api(server.url, ca_file=tmp_path / "ca.pem")
        assert client.get("/v1/x") == b'{"a": 1}'
        client.close()


# --- what comes back ---------------------------------------------------------------------------


@network
@pytest.mark.parametrize(
    ("status", "expected", "requests"),
    [
        (400, Failure.REJECTED, 1),
        (401, Failure.REFUSED, 1),
        (403, Failure.REFUSED, 1),
        (404, Failure.REJECTED, 1),
        (408, Failure.UNAVAILABLE, 3),
        (409, Failure.UNAVAILABLE, 3),
        (413, Failure.REJECTED, 1),
        (429, Failure.UNAVAILABLE, 1),
        (500, Failure.UNAVAILABLE, 3),
        (503, Failure.UNAVAILABLE, 3),
        (529, Failure.UNAVAILABLE, 3),
        (204, Failure.UNREADABLE, 1),
        (206, Failure.UNREADABLE, 1),
    ],
)
def test_each_status_is_a_failure_of_its_own_kind(status: int, expected: Failure, requests: int) -> None:
    script = raw(head(204), close=False) if status == 204 else error(status)
    with FaultyServer([script]) as server:
        client = api(server.url, bounds=Bounds(request_seconds=2, attempts=3))
        refused = failure(client)
        client.close()
    assert (refused.failure, refused.status) == (expected, status)
    assert len(server.requests) == requests


@network
@pytest.mark.parametrize(("status", "word", "requests"), [(500, "false", 1), (400, "true", 3), (429, "true", 3)])
def test_x_should_retry_overrides_the_status(status: int, word: str, requests: int) -> None:
    with FaultyServer([error(status, x_should_retry=word)]) as server:
        client = api(server.url, bounds=Bounds(request_seconds=2, attempts=3))
        failure(client)
        client.close()
    assert len(server.requests) == requests


@network
def test_an_error_keeps_its_type_message_and_request_id_on_one_line() -> None:
    long = "line one\nline two \x1b[31m\u202e" + "x" * 5000
    with FaultyServer([error(400, "invalid_request_error", long)]) as server:
        client = api(server.url)
        refused = failure(client)
        client.close()
    assert refused.message.startswith("HTTP 400: invalid_request_error: line one\\u000aline two \\u001b[31m\\u202e")
    assert refused.message.endswith("(request req_123)")
    assert refused.message.isprintable()
    assert len(refused.message) < 600
    assert refused.request_id == "req_123"


@network
def test_the_pauses_grow_with_jitter_between_attempts() -> None:
    naps: list[float] = []
    with FaultyServer([error(503)]) as server:
        client = api(
            server.url, sleep=naps.append, uniform=random.Random(7).random, bounds=Bounds(request_seconds=2, attempts=9)
        )
        failure(client)
        client.close()
    ceilings = [1, 2, 4, 8, 16, 30, 30, 30]
    assert len(naps) == len(ceilings)
    assert all(ceiling / 4 <= nap <= ceiling for nap, ceiling in zip(naps, ceilings, strict=True))
    assert len(set(naps)) == len(naps)


@network
def test_retry_after_is_waited_for_and_the_answer_is_used() -> None:
    naps: list[float] = []
    with FaultyServer([error(429, retry_after="7"), answer({})]) as server:
        client = api(server.url, sleep=naps.append)
        assert client.get("/v1/x") == b"{}"
        client.close()
    assert 7 <= naps[0] <= 9


@network
def test_a_wait_past_the_deadline_is_reported_at_once_instead_of_slept() -> None:
    naps: list[float] = []
    with FaultyServer([error(503, retry_after="600")]) as server:
        client = api(server.url, sleep=naps.append)
        refused = failure(client, deadline=clock.monotonic() + 60)
        client.close()
    assert (refused.retry_after, naps, len(server.requests)) == (600, [], 1)


@network
def test_the_deadline_of_the_fetch_cuts_the_time_of_a_request() -> None:
    def stall(connection: Connection, request: Request) -> None:
        connection.stall()

    with FaultyServer([stall]) as server:
        client = api(server.url, bounds=Bounds(request_seconds=30))
        started = clock.monotonic()
        refused = failure(client, deadline=started + 0.3)
        client.close()
    assert clock.monotonic() - started < 5
    assert refused.failure is Failure.UNREACHABLE


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "30"}, 30),
        ({"retry-after": "0"}, 1),
        ({"retry-after": "-5"}, 1),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "99999999999"}, 3600),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "Wed, 18 Nov 2026 12:02:00 GMT"}, 120),
        ({"retry-after": "Wed, 18 Nov 2026 12:02:00 -0000"}, 120),
        ({"retry-after": "Wed, 18 Nov 1998 12:02:00 GMT"}, 1),
        ({"retry-after": "Wed, 18 Nov 2099 12:02:00 GMT"}, 3600),
        ({"retry-after": "Wed, 99 Nov 2026 99:02:00 GMT"}, None),
        ({"retry-after-ms": "2500"}, 2.5),
        ({"retry-after-ms": "10", "retry-after": "30"}, 1),
        ({"retry-after-ms": "soon", "retry-after": "30"}, 30),
    ],
)
def test_retry_after_is_understood_and_clamped(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_hint(headers, NOW) == seconds


@network
@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_cap_is_refused_without_reading_on(declared: bool) -> None:
    def flood(connection: Connection, request: Request) -> None:
        length: dict[str, Any] = {"content_length": str(10**9)} if declared else {}
        connection.send(head(content_type="application/json", **length))
        for _ in range(10_000):
            connection.send(b" " * 65536)

    with FaultyServer([flood]) as server:
        client = api(server.url, bounds=Bounds(request_seconds=5, body_bytes=1_000_000))
        with pytest.raises(BodyTooLargeError, match="1,000,000 bytes"):
            client.get("/v1/x")
        client.close()


@network
@pytest.mark.parametrize(("offset", "skew"), [(0, 0), (180, 180), (-86400, -86400)])
def test_the_services_clock_is_compared_with_ours(offset: int, skew: float) -> None:
    date = (NOW + timedelta(seconds=offset)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    with FaultyServer([answer({}, date=date), answer({}, date="yesterday")]) as server:
        client = api(server.url)
        assert client.last_skew is None
        client.get("/v1/x")
        assert client.last_skew == skew
        client.get("/v1/x")
        assert client.last_skew is None
        client.close()


# --- what is left unsaid -----------------------------------------------------------------------


@network
def test_neither_httpx_nor_httpcore_logs_anything(caplog: pytest.LogCaptureFixture) -> None:
    with FaultyServer([answer({})]) as server, caplog.at_level(logging.DEBUG):
        client = api(server.url)
        client.get("/v1/x", [("secret", "1")])
        client.close()
    assert caplog.records == []


@network
def test_the_client_shows_its_host_and_nothing_more() -> None:
    with closed_port() as port:
        client = api(f"http://127.0.0.1:{port}")
        failure(client)
        client.close()
    assert repr(client) == "Api('127.0.0.1')"


def test_importing_it_does_not_import_a_command_line() -> None:
    code = "import sys, budgetd.http; print(*({'rich', 'click', 'pygments'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_request_after_the_end_is_a_failure_like_any_other() -> None:
    connection = api("http://127.0.0.1:9")
    connection.close()
    assert failure(connection).failure is Failure.UNREACHABLE
