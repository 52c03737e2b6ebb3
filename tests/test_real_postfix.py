"""The trials of `python -m tests.real_postfix`, where a Postfix is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.real_postfix import TRIALS, Postfix, missing, postfix

pytestmark = [pytest.mark.slow, pytest.mark.network]


@pytest.fixture(scope="module")
def server() -> Iterator[Postfix]:
    if missing():
        pytest.skip(missing())
    with postfix() as running:
        yield running


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.__name__)
def test_a_real_postfix(trial: Callable[[Postfix], str], server: Postfix, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(server.authority))
    assert trial(server)
