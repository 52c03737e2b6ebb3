"""What holds for every test: no sockets, except to this machine in tests marked `network`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest
from pytest_socket import disable_socket, socket_allow_hosts

from tests.living import Bill, Hook

LOOPBACK = ["127.0.0.1", "::1", "localhost"]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Runs before the fixtures of every scope; pytest-socket itself takes the restriction back after each test."""
    if item.get_closest_marker("network") is not None:
        socket_allow_hosts(LOOPBACK, allow_unix_socket=True)
    else:
        disable_socket(allow_unix_socket=True)


# A file is one worker's: what takes minutes goes first, or it goes on alone when all the others have ended.
LONGEST = (
    "test_simulation.py",
    "test_sameday_simulation.py",
    "test_demo.py",
    "test_simulation_mutants.py",
    "test_same_day.py",
    "test_same_day_commands.py",
    "test_kill_points.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


# A busy machine is no failure. Where a submission is judged, the examples are the same each time.
hypothesis.settings.register_profile("anywhere", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "anywhere")


@pytest.fixture
def bill() -> Iterator[Bill]:
    """An Admin API whose bill the test writes."""
    with Bill() as server:
        yield server


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A web hook that keeps what it is sent."""
    with Hook() as receiver:
        yield receiver
