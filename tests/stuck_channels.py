"""One channel that drips, six that are stuck: what the others notice of it, and how long the end takes.

    python -m tests.stuck_channels [--minutes M]

The real daemon (`budgetd run`), which polls every second, and real servers on loopback. Every second and a half the
bill grows over the limit of one rule more: one alert more for every channel. The delay is from the decision, as the
daemon's state has it, to the moment that a server has the whole message. First without a channel that hinders, for so
many minutes (10); then beside one that answers a byte a second, for as many; then beside six that are stuck in six
ways, for a minute. Exit 1: a bound is broken.

A machine that has other things to do is late in the first run already; `nice -n -10` in front helps.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import math
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from budgetd import clock
from tests.faulty_server import Connection, FaultyServer, Request, Script, head
from tests.living import Bill, MailBox, Place, mail_server
from tests.slack_server import HOOK
from tests.tls_proxy import Request as TlsRequest
from tests.tls_proxy import http_answer, tls_proxy

LONGEST_P99 = 1.0  # seconds from the decision to the server
LONGEST_END = 2.0  # seconds from SIGTERM to the end of the process
EVERY = 1.5  # seconds between two alerts: Slack takes a message a second
BYTE = 1.0  # seconds for each byte that drips
PATIENCE = 30.0

FIRST_LIMIT = 1000  # dollars; each further rule's is one dollar higher
_RULE = "{{id: alert-{:04d}, type: cap, limit: {}, per: {{last: 7d}}, steps: [100%], notify: [{}]}}"
Hindering = Callable[[], contextlib.AbstractContextManager[dict[str, str]]]

_ALERT = re.compile(rb"alert-(\d{4})")


# --- servers that are well ---------------------------------------------------------------------------


class Arrivals:
    """When each alert was first at each channel's server, whole."""

    def __init__(self) -> None:
        self.at: dict[tuple[str, int], datetime] = {}

    def note(self, channel: str, message: bytes) -> None:
        """The message has arrived."""
        now = clock.now()
        for number in _ALERT.findall(message):
            self.at.setdefault((channel, int(number)), now)

    def wait(self, channels: Sequence[str], number: int, seconds: float = PATIENCE) -> bool:
        """Whether all of them have that alert by then."""
        until = time.perf_counter() + seconds
        while not all((channel, number) in self.at for channel in channels):
            if time.perf_counter() > until:
                return False
            time.sleep(0.02)
        return True


@dataclass(frozen=True)
class Receivers:
    """The channels that are well, the environment that leads to their servers, and what arrived."""

    channels: Mapping[str, str]
    environment: Mapping[str, str]
    arrivals: Arrivals


@contextlib.contextmanager
def receivers(folder: Path) -> Iterator[Receivers]:
    """A channel of each kind. Those that know only their service's own host are led there by a proxy that ends TLS."""
    arrivals = Arrivals()
    hosts = {"hooks.slack.com": "slack", "events.pagerduty.com": "pagerduty", "prod.logic.azure.com": "teams"}
    says = {"slack": (200, b"ok"), "pagerduty": (202, b'{"status": "success"}'), "teams": (202, b"")}

    def tls(request: TlsRequest) -> bytes:
        arrivals.note(hosts[request.host], request.body)
        return http_answer(*says[hosts[request.host]])

    with contextlib.ExitStack() as stack:
        port = stack.enter_context(_web(arrivals))
        mail = stack.enter_context(mail_server(_MailBox(arrivals)))
        proxy = stack.enter_context(tls_proxy(folder))
        proxy.answer = tls
        channels = {
            "webhook": f"webhook://127.0.0.1:{port}/webhook",
            "apprise": f"json://127.0.0.1:{port}/apprise",
            "alertmanager": f"alertmanager://127.0.0.1:{port}/alertmanager",
            "mail": f"mailto://127.0.0.1:{mail}?from=budgetd@example.com&to=finance@example.com&mode=insecure",
            "slack": f"slack://{HOOK}",
            "pagerduty": "pagerduty://0123456789abcdef0123456789abcdef@budgetd",
            "teams": "workflows://prod.logic.azure.com:443/643e69f83c8944/8sdc9vh8wuS0sig",
        }
        yield Receivers(channels, {"HTTPS_PROXY": proxy.url, "REQUESTS_CA_BUNDLE": str(proxy.ca_file)}, arrivals)


@contextlib.contextmanager
def _web(arrivals: Arrivals) -> Iterator[int]:
    """A server that takes everything; the first part of a path names the channel. Its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            arrivals.note(self.path.split("/")[1], body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


class _MailBox(MailBox):
    def __init__(self, arrivals: Arrivals) -> None:
        super().__init__()
        self._arrivals = arrivals

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 (aiosmtpd's name)
        self._arrivals.note("mail", envelope.content)
        return await super().handle_DATA(server, session, envelope)


# --- servers that are not ----------------------------------------------------------------------------


def _hang(connection: Connection, *_: object) -> None:
    connection.stopping.wait()


def dripping() -> Script:
    """A byte a second: by turns from the first byte on, from the header lines on, and in the body."""
    first, rest = b"HTTP/1.1 200 OK\r\n", b"X-Slow: " + b"." * 2000 + b"\r\n"
    starts = itertools.cycle((0, len(first), None))

    def script(connection: Connection, _request: Request) -> None:
        start = next(starts)
        whole = head(200, content_length="2000") + b"." * 2000 if start is None else first + rest
        start = len(whole) - 2000 if start is None else start
        connection.send(whole[:start])
        connection.drip(whole[start:], BYTE)

    return script


def _endless(connection: Connection, _request: Request) -> None:
    """A body without end, too slow for its first 64 KiB to be read in time."""
    connection.send(head(200))
    while not connection.stopping.wait(0.1):
        connection.send(b"." * 50)


def _shaking(connection: Connection) -> None:
    """The start of a TLS record of 16 KiB, whose rest drips."""
    connection.send(b"\x16\x03\x03\x40\x00")
    connection.drip(b"\x02" * 16_384, BYTE)


@contextlib.contextmanager
def one_dripping() -> Iterator[dict[str, str]]:
    """A channel whose server answers a byte a second."""
    with FaultyServer([dripping()]) as server:
        yield {"dripping": f"webhook://127.0.0.1:{server.port}/x"}


@contextlib.contextmanager
def six_stuck() -> Iterator[dict[str, str]]:
    """Channels that are stuck in six ways."""
    servers = {
        "silent": (FaultyServer([_hang]), "webhook://127.0.0.1:{port}/x"),
        "dripping": (FaultyServer([dripping()]), "webhook://127.0.0.1:{port}/x"),
        "never-reading": (FaultyServer([], on_connect=_hang), "json://127.0.0.1:{port}/x"),
        "endless-handshake": (FaultyServer([], on_connect=_shaking), "webhooks://127.0.0.1:{port}/x"),
        "mail-without-greeting": (
            FaultyServer([], on_connect=_hang),
            "mailto://127.0.0.1:{port}?from=budgetd@example.com&to=finance@example.com&mode=insecure",
        ),
        "endless-body": (FaultyServer([_endless]), "alertmanager://127.0.0.1:{port}"),
    }
    with contextlib.ExitStack() as stack:
        for server, _ in servers.values():
            stack.enter_context(server)
        yield {name: url.format(port=server.port) for name, (server, url) in servers.items()}


@contextlib.contextmanager
def none() -> Iterator[dict[str, str]]:
    """Nothing hinders."""
    yield {}


# --- a run -------------------------------------------------------------------------------------------


@dataclass
class Played:
    """What one run came to, in seconds: each channel's delays (infinite: it never came), and how long the end took.

    `attempts`: what each stuck channel's came to.
    """

    delays: dict[str, list[float]]
    ended: float
    attempts: dict[str, list[str]]

    @property
    def all(self) -> list[float]:
        """The delays of all channels."""
        return sorted(itertools.chain.from_iterable(self.delays.values()))

    def broken(self) -> list[str]:
        """The bounds that do not hold, in words."""
        slow = [f"{name}: p99 {p99(some):.3f} s" for name, some in self.delays.items() if p99(some) >= LONGEST_P99]
        late = [f"the end took {self.ended:.2f} s"] if self.ended >= LONGEST_END else []
        return [*slow, *late]


def p99(delays: Sequence[float]) -> float:
    """Of few delays it is the longest."""
    ordered = sorted(delays)
    return ordered[max(0, -(-len(ordered) * 99 // 100) - 1)]


def play(
    folder: Path, alerts: int, hindering: Hindering = none, only: Sequence[str] = (), every: float = EVERY
) -> Played:
    """So many alerts to the channels that are well, or some of them, beside those that hinder."""
    folder.mkdir()
    today = clock.now().date()
    with Bill(today) as bill, receivers(folder) as good, hindering() as stuck:
        place = Place(folder / "place", bill.url, more={"BUDGETD_POLL_EVERY": "1s", **good.environment})
        watched = {name: url for name, url in good.channels.items() if not only or name in only}
        told = [watched, *[{**stuck, **watched}] * alerts]
        rules = [_RULE.format(number, FIRST_LIMIT + number, ", ".join(names)) for number, names in enumerate(told)]
        place.write({**stuck, **watched}, rules)

        def raise_over(number: int) -> None:
            bill.spend(today - timedelta(days=1), f"{FIRST_LIMIT + number}50")

        raise_over(-1)
        with _daemon(place) as process:
            _await_first_poll(place)
            # The first alert is not counted: with it the libraries are loaded. It is kept from what is stuck.
            raise_over(0)
            if not good.arrivals.wait(list(watched), 0):
                raise TimeoutError((place.folder / "log").read_text())
            for number in range(1, alerts + 1):
                raise_over(number)
                time.sleep(every)
            good.arrivals.wait(list(watched), alerts, 5)
            ended = _end(process)
        return _played(place, good.arrivals, list(watched), list(stuck), alerts, ended)


def _await_first_poll(place: Place) -> None:
    until = time.perf_counter() + PATIENCE
    while time.perf_counter() < until:
        with place.state() as state:
            if state.known_days():
                return
        time.sleep(0.05)
    raise TimeoutError((place.folder / "log").read_text())


@contextlib.contextmanager
def _daemon(place: Place) -> Iterator[subprocess.Popen[bytes]]:
    """`budgetd run`, once it watches."""
    log = place.folder / "log"
    with log.open("wb") as file:
        words = [sys.executable, "-m", "budgetd", "run"]
        process = subprocess.Popen(words, cwd=place.folder, env=place.environment, stdout=file, stderr=file)
    try:
        until = time.perf_counter() + PATIENCE
        while b"watching:" not in log.read_bytes():
            if time.perf_counter() > until or process.poll() is not None:
                raise TimeoutError(log.read_text())
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


def _end(process: subprocess.Popen[bytes]) -> float:
    """Seconds from SIGTERM to the end."""
    began = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE)
    return time.perf_counter() - began


def _played(
    place: Place, arrivals: Arrivals, watched: Sequence[str], stuck: Sequence[str], last: int, ended: float
) -> Played:
    with place.state() as state:
        records = state.deliveries(limit=1_000_000)
    decided: dict[tuple[str, int], datetime] = {}
    for record in records:
        for notice in record.delivery.notices:
            found = _ALERT.fullmatch(notice.facts.rule.encode())
            if found:
                decided[record.delivery.channel, int(found.group(1))] = record.delivery.created_at
    delays = {
        name: [
            (arrivals.at[name, n] - decided[name, n]).total_seconds() if (name, n) in arrivals.at else math.inf
            for n in range(1, last + 1)
        ]
        for name in watched
    }
    attempts = {
        name: [
            f"{attempt.outcome.value if attempt.outcome else 'under way'}: {attempt.detail}"
            for record in records
            if record.delivery.channel == name
            for attempt in record.attempts
        ]
        for name in stuck
    }
    return Played(delays, ended, attempts)


# --- what is shown -----------------------------------------------------------------------------------


def _table(before: Played, after: Played) -> Iterator[str]:
    yield f"{'seconds':14}{'alone: p50':>12}{'p99':>8}{'max':>8}{'beside: p50':>14}{'p99':>8}{'max':>8}{'alerts':>9}"
    rows = {
        **{name: (before.delays[name], after.delays[name]) for name in before.delays},
        "all": (before.all, after.all),
    }
    for name, (alone, beside) in rows.items():
        yield (
            f"{name:14}{statistics.median(alone):12.3f}{p99(alone):8.3f}{max(alone):8.3f}"
            f"{statistics.median(beside):14.3f}{p99(beside):8.3f}{max(beside):8.3f}{len(beside):9}"
        )
    yield f"{'SIGTERM':14}{before.ended:28.2f}{after.ended:30.2f}"


def _stuck(played: Played) -> Iterator[str]:
    for name, attempts in played.attempts.items():
        yield f"  {name}: {len(attempts)} attempts, such as {attempts[-1] if attempts else 'none'}"


def main(words: Sequence[str] | None = None) -> int:
    """Play it all and print the figures; 1 when a bound is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.stuck_channels", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="of each of the two long runs")
    minutes = parser.parse_args(words).minutes
    alerts = max(1, int(minutes * 60 / EVERY))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone = play(folder / "alone", alerts)
        beside = play(folder / "beside", alerts, one_dripping)
        print(f"one channel drips a byte a second, for {minutes:g} min:", *_table(alone, beside), sep="\n")
        print(*_stuck(beside), sep="\n")
        seventh = play(folder / "six", min(alerts, 40), six_stuck, ["webhook"])
    delays = seventh.delays["webhook"]
    print(
        f"six channels are stuck; the seventh: p50 {statistics.median(delays):.3f} s, max {max(delays):.3f} s", end=""
    )
    print(f", {len(delays)} alerts; SIGTERM {seventh.ended:.2f} s")
    print(*_stuck(seventh), sep="\n")
    broken = [*alone.broken(), *beside.broken(), *seventh.broken()]
    print(*(f"BROKEN  {each}" for each in broken), "a bound is broken" if broken else "all bounds hold", sep="\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
