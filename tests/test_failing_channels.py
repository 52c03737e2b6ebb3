"""`budgetd notify` says of each failure what a person can do, through real servers on loopback."""

from __future__ import annotations

import pytest

from budgetd.advice import advice
from budgetd.model import Outcome
from tests.failing_channels import SCENES, Scene, told
from tests.slack_server import TOKEN

pytestmark = pytest.mark.network

SECRETS = (TOKEN, "hookSECRET1", "botSECRET2", "ann:secret", "secret@")


@pytest.mark.parametrize(("scene", "words"), SCENES.values(), ids=list(SCENES))
def test_a_failure_comes_with_what_to_do(scene: Scene, words: str) -> None:
    said = " ".join(" ".join(told(scene)).split())
    assert said.startswith("channel FAILED: ")
    assert words in said
    assert not [secret for secret in SECRETS if secret in said]


def test_every_outcome_but_delivered_has_advice_of_its_own() -> None:
    said = {advice(outcome, "") for outcome in Outcome}
    assert len(said) == len(Outcome)
