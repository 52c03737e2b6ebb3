"""Teams: the URL as Apprise has it, the card as Teams takes it, and what each answer of a workflow means."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import parse_qs, urlsplit

import apprise
import pytest

from budgetd.channels import registry
from budgetd.channels.apprise import AppriseSender
from budgetd.channels.teams import TeamsSender, target
from budgetd.faces import teams as face
from budgetd.message import Message
from budgetd.model import Contributor, Face, Kind, Outcome, Reason, Receipt, Severity
from tests.chart_stories import CAP, story
from tests.faulty_server import closed_port
from tests.teams_card import problems
from tests.test_message import FACTS, NOW, SPIKE, notice, read, workspace
from tests.tls_proxy import TlsProxy, http_answer, tls_proxy

pytestmark = pytest.mark.network

URL = "workflows://prod-1.westus.logic.example.com:443/flow0abc/sig-SECRET_1"


@pytest.fixture
def teams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TlsProxy]:
    with tls_proxy(tmp_path) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(proxy.ca_file))
        proxy.answer = lambda _: http_answer(202, b"")
        yield proxy


def send(message: Message | None = None, url: str = URL) -> Receipt:
    return TeamsSender(url, lambda: NOW).send(message or read(story("cap")), 10)


def card(message: Message, late: timedelta = timedelta()) -> dict[str, Any]:
    posted = json.loads(face.body(message, NOW + late))
    assert problems(posted) == []
    return posted["attachments"][0]["content"]  # type: ignore[no-any-return]


def lines(node: Any) -> list[str]:
    """What a reader sees, a line for each block."""
    if isinstance(node, list):
        return [line for inner in node for line in lines(inner)]
    if node["type"] == "RichTextBlock":
        return ["".join(run["text"] for run in node["inlines"])]
    if node["type"] == "ColumnSet":
        return [" | ".join(line for column in node["columns"] for line in lines(column["items"]))]
    return lines(node.get("body", node.get("items", [])))


# --- the URL -----------------------------------------------------------------------------------------

HOST = "prod-1.westus.logic.example.com"
EXPECTED = "workflows://HOST/WORKFLOW/SIGNATURE is expected, from the workflow's own URL (sig=...)"


@pytest.mark.parametrize(
    "url",
    [
        URL,
        f"workflow://{HOST}/flow0abc/sig",
        f"workflows://{HOST}:8443/?workflow=flow0abc&signature=sig",
        f"workflows://{HOST}/?id=flow0abc&sig=sig&ver=2016-10-01",
        f"workflows://{HOST}/flow0abc/sig?pa=yes",
        f"workflows://{HOST}/flow0abc/sig?powerautomate=yes&route=19&api-version=1",
        f"workflows://{HOST}/flow0abc?sig=s_i-g",
    ],
)
def test_it_leads_where_apprise_would_go(url: str) -> None:
    plugin: Any = apprise.Apprise.instantiate(url)
    with mock.patch("requests.post") as post:
        plugin.send("body")
    wanted = post.call_args
    found = urlsplit(target(url).address)
    assert found._replace(query="").geturl() == wanted.args[0]
    assert {key: value[0] for key, value in parse_qs(found.query).items()} == wanted.kwargs["params"]
    assert registry.explain(url) is None
    assert isinstance(registry.sender(url), TeamsSender)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("workflows://", "workflows://HOST/WORKFLOW/SIGNATURE is expected, from the workflow's own URL (sig=...)"),
        (
            f"workflows://{HOST}/SECRET",
            "workflows://HOST/WORKFLOW/SIGNATURE is expected, from the workflow's own URL (sig=...)",
        ),
        (
            f"workflows://{HOST}/a/SEC%20RET",
            "workflows://HOST/WORKFLOW/SIGNATURE is expected, from the workflow's own URL (sig=...)",
        ),
        (f"workflows://{HOST}/a/b?route=../x", "route= is a number"),
        (f"workflows://{HOST}/a/b?ver=1%262", "there is no such api-version"),
        ("workflows://[/a/b", "this is no URL"),
        ("workflows://h:99999/a/b", "this is no URL"),
    ],
)
def test_a_mistake_in_the_url_is_explained_without_its_secrets(url: str, why: str) -> None:
    assert registry.explain(url) == why


def test_one_with_a_template_is_left_to_apprise(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("{}")
    assert isinstance(registry.sender(f"{URL}?template={tmp_path}/card.json"), AppriseSender)


def test_the_signature_is_a_secret_and_what_is_plain_in_the_url_is_not() -> None:
    forms = set(registry.secrets(f"{URL}?pa=yes&route=19").forms)
    assert {"flow0abc", "sig-SECRET_1"} <= forms
    assert not {"yes", "19", HOST} & forms


# --- the wire ----------------------------------------------------------------------------------------


def test_the_card_arrives_over_tls(teams: TlsProxy) -> None:
    assert send() == Receipt(Outcome.DELIVERED, "HTTP 202")
    (request,) = teams.requests
    assert request.host == HOST
    path = "/workflows/flow0abc/triggers/manual/paths/invoke"
    asked = "api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=sig-SECRET_1"
    assert request.line.strip() == f"POST {path}?{asked} HTTP/1.1"
    assert request.headers["Content-Type"] == "application/json"
    assert problems(json.loads(request.body)) == []


def _error(code: str) -> bytes:
    return json.dumps({"error": {"code": code, "message": "no: sig-SECRET_1"}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, b"", Outcome.DELIVERED),
        (400, _error("InvalidRequestContent"), Outcome.REJECTED),
        (400, _error("WorkflowTriggerIsNotEnabled"), Outcome.GONE),
        (401, _error("DirectApiAuthorizationRequired"), Outcome.UNAUTHORISED),
        (403, b"", Outcome.UNAUTHORISED),
        (404, _error("WorkflowNotFound"), Outcome.GONE),
        (413, b"", Outcome.REJECTED),
        (429, b"", Outcome.RATE_LIMITED),
        (302, b"", Outcome.GONE),
        (502, b"[" * 5000, Outcome.RETRY),
    ],
)
def test_what_an_answer_means(status: int, body: bytes, outcome: Outcome, teams: TlsProxy) -> None:
    teams.answer = lambda _: http_answer(status, body, "Location: https://elsewhere.example/")
    receipt = send()
    assert receipt.outcome is outcome
    assert "SECRET" not in receipt.detail


def test_a_page_for_people_is_no_yes(teams: TlsProxy) -> None:
    teams.answer = lambda _: http_answer(200, b"<html>log in", "Content-Type: text/html; charset=utf-8")
    assert send().outcome is Outcome.UNKNOWN


def test_nobody_there_is_tried_again() -> None:
    with closed_port() as port:
        assert send(url=f"workflows://localhost:{port}/flow/sig").outcome is Outcome.RETRY


# --- the card ----------------------------------------------------------------------------------------


def test_the_first_line_says_it_all_and_then_come_the_figures_and_what_drives_them() -> None:
    message = read(notice(replace(FACTS, history=CAP.history, forecast=CAP.forecast)))
    assert lines(card(message)) == [
        "Research has used 80.2% of its November 2026 budget",
        "$4,012.37  of $5,000  ·  80.2%  ████████████████░░░░",
        "Warning: $987.63 of the $5,000.00 for November 2026 is left. "
        "The 80% step is reached (50% and 70% passed on the way).",
        "On course for about $5,420 by 30 Nov ($5,010 to $6,020), $420 over; the limit is reached about Mon 23 Nov.",
        "Where it went",
        "claude-opus-4-8 output tokens | $2,610.22  65%",
        "claude-opus-4-8 uncached input tokens | $640.05  15.9%",
        "web search | $402.90  10%",
        "everything else | $359.20  8.9%",
        "Daily  ▇▇▃▂▆▇█▇▇▃▂▆▇█▇▇▃▂▆▇█▇▇▃▂▆▇█",
        "21 Oct to 17 Nov: highest $262 on 27 Oct, last $262",
        "Data through 18 Nov 2026 14:00 UTC, billed. Priority Tier, credits and taxes are not included.",
        "Acknowledge: budgetd ack inc_1  ·  Silence: budgetd silence add --incident inc_1 --for 4h",
        "For good: edit or remove rule each-workspace in the rules file, or add an exception to it, "
        "except: {workspace: [Research]}, then reload.",
        "Account Acme · rule each-workspace · incident inc_1 · alert dlv_1",
    ]


@pytest.mark.parametrize(
    ("severity", "kind", "style"),
    [
        (Severity.CRITICAL, Kind.TRIGGER, "attention"),
        (Severity.WARNING, Kind.TRIGGER, "warning"),
        (Severity.INFO, Kind.INFORM, "accent"),
        (Severity.CRITICAL, Kind.RESOLVE, "good"),
    ],
)
def test_its_head_has_the_severitys_colour(severity: Severity, kind: Kind, style: str) -> None:
    head = card(read(notice(severity=severity, kind=kind, reason=Reason.RESTATED)))["body"][0]
    assert (head["style"], head["bleed"]) == (style, True)


def test_a_jump_is_told_against_what_it_is_compared_with() -> None:
    assert lines(card(read(notice(SPIKE))))[1] == "$384.00  3.2x the day before ($120.00)"


def test_several_are_one_card_with_the_worst_first() -> None:
    told = lines(card(read(*(workspace(n, 4900 + n * 100) for n in range(14)))))
    assert told[0].startswith("14 budget alerts, worst: Team 13 ")
    assert told[1].startswith("Warning: Team 13 is over its November 2026 budget")
    assert told[11] == "and 4 more; budgetd alerts lists them all."


def test_a_late_one_says_so() -> None:
    told = lines(card(read(notice()), late=timedelta(hours=3)))
    assert told[0].startswith("Late (3 hours): Research")
    assert told[1].startswith("Late: decided 3 hours ago")


def test_simpler_faces_are_text_and_one_line() -> None:
    plain = lines(card(read(notice(), face=Face.PLAIN)))
    assert plain[0] == read(notice()).title
    assert "Spent $4,012.37 of $5,000.00 (80.2%)" in plain
    minimal = card(read(notice(), face=Face.MINIMAL))
    assert len(lines(minimal)) == 1
    assert "actions" not in minimal


def test_a_status_page_is_a_second_button() -> None:
    shown = card(replace(read(notice()), status_page="https://status.example.com/budget"))
    assert [action["title"] for action in shown["actions"]] == ["Open the cost report", "Status page"]


def test_what_would_be_too_large_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face, "MOST_BYTES", 500)
    assert lines(card(read(notice())))[0] == read(notice()).title


def test_a_broken_notice_is_a_card_too() -> None:
    whole = read(notice())
    broken = replace(FACTS, contributors=(Contributor("m", "t", Decimal("NaN")),))
    assert lines(card(replace(whole, notices=(notice(broken),))))[0] == whole.title


def test_nothing_in_it_is_markdown_a_mention_or_a_macro() -> None:
    hostile = "[x](https://evil.example) **b** <at>all</at> @everyone {{DATE(2026-01-01T00:00:00Z)}}"
    facts = replace(FACTS, scope=(replace(FACTS.scope[0], name=hostile),), rule=hostile[:40])
    shown = json.dumps(card(read(notice(facts))), ensure_ascii=False)
    assert '"TextBlock"' not in shown
    assert "FactSet" not in shown
    assert "{{" not in shown.replace("}}", "").replace('{"', "")
    assert "@everyone" not in shown
