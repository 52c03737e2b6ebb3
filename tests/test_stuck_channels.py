"""A short piece of `python -m tests.stuck_channels`: what is stuck delays no other channel and no exit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stuck_channels import Hindering, one_dripping, play, six_stuck

pytestmark = pytest.mark.network

ALERTS = 2
TRIES = 3  # a machine that is busy with something else is late now and then; a lane that waits for another, always


@pytest.mark.parametrize(("hindering", "only"), [(one_dripping, ()), (six_stuck, ("webhook",))], ids=["one", "six"])
def test_a_channel_that_is_stuck_delays_no_other_and_no_exit(
    hindering: Hindering, only: tuple[str, ...], tmp_path: Path
) -> None:
    for number in range(TRIES):
        played = play(tmp_path / str(number), ALERTS, hindering, only, every=1.1)
        if not played.broken():
            break
    assert played.broken() == []
    assert all(attempts for attempts in played.attempts.values()), "what is stuck was not even tried"
