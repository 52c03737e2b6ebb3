"""From the bill to what people read, whole: real servers, the real database, every step once."""

from __future__ import annotations

import contextlib
import email
import email.policy
import json
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from budgetd.model import DEFAULT_WORKSPACE, State
from tests.cost_pages import NOW
from tests.living import Bill, Hook, Life, MailBox, Place, here, living, mail_server
from tests.tls_proxy import tls_proxy

pytestmark = pytest.mark.network

HOUR = timedelta(hours=1)
DAY = date(2026, 11, 10)
AT = NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
STEPS = "{id: company, type: cap, limit: 1000, per: month, steps: [85%, 95%, 100%]}"
SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"


@pytest.fixture
def place(tmp_path: Path, bill: Bill, hook: Hook) -> Place:
    """One cap in steps, one web hook, and a first poll that found nothing to tell."""
    made = Place(tmp_path / "installed", bill.url)
    made.write({"audit": hook.url()}, [STEPS])
    bill.spend(DAY, "10000.00")
    with living(made) as life:
        life.poll(NOW)
    assert hook.posts == []
    return made


def polls(life: Life, count: int, hours: int = 1) -> None:
    for number in range(count):
        life.poll(NOW + HOUR * (hours + number))


# --- money -------------------------------------------------------------------------------------


def _money_rules(hook: Hook, mail_port: int) -> tuple[dict[str, str], list[str]]:
    channels = {
        "audit": hook.url(),
        "finance": f"mailto://127.0.0.1:{mail_port}?from=budgetd@example.com&to=finance@example.com&mode=insecure",
        "team": SLACK,
    }
    return channels, ["{id: company, type: cap, limit: 400, per: month}"]


def test_41280_cents_are_412_dollars_and_80_cents_wherever_money_is_shown(
    place: Place,
    bill: Bill,
    hook: Hook,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    box = MailBox()
    with mail_server(box) as mail_port, tls_proxy(tmp_path) as slack:
        place.write(*_money_rules(hook, mail_port))
        place.more = {"HTTPS_PROXY": slack.url, "REQUESTS_CA_BUNDLE": str(slack.ca_file)}
        place.use(monkeypatch)
        bill.spend(DAY, "41280.000000")
        rehearsed = here(capfd, "once", "--at", AT, "--dry-run")
        done = here(capfd, "once", "--at", AT)
        status, as_json = here(capfd, "status"), here(capfd, "status", "--json")
        alerts = here(capfd, "alerts", "--json")
        (incident,) = json.loads(alerts.out)
        told = here(capfd, "alerts", "show", incident["incident"])
        listed = here(capfd, "alerts")
    assert [ran.code for ran in (rehearsed, done, status, as_json, alerts, told, listed)] == [0] * 7, done.err
    letter = email.message_from_bytes(box.mails[0], policy=email.policy.default)
    body = letter.get_body(("plain",))
    assert body is not None
    (post,) = slack.requests
    shown = {
        "once --dry-run": rehearsed.out,
        "status": status.out,
        "alerts": listed.out,
        "alerts show": told.out,
        "mail subject": letter["Subject"],
        "mail": body.get_content(),
        "slack's notification": json.loads(post.body)["text"],
        "slack": json.dumps(json.loads(post.body)["blocks"]),
        "web hook": hook.posts[0].json["message"],
    }
    assert {where: "$412.80" in text for where, text in shown.items()} == dict.fromkeys(shown, True)
    assert not [where for where, text in shown.items() if "41280" in text or "41,280" in text]
    (reading,) = json.loads(as_json.out)["rules"][0]["readings"]
    figures = (hook.posts[0].data["money"]["spent"], reading["amount"], incident["amount"])
    assert tuple(map(Decimal, figures)) == (Decimal("412.80"),) * 3


@pytest.mark.parametrize(
    ("cents", "steps"),
    [
        ("86000.00000000000001", ["0.85"]),
        ("99999.99999999999996", ["0.95"]),  # a hair below the limit is not the limit
        ("99999.99999999999997", ["1"]),
        ("0.00000000000001", []),
    ],
)
def test_fourteen_decimals_survive_into_the_database_and_the_json(
    cents: str,
    steps: list[str],
    place: Place,
    bill: Bill,
    hook: Hook,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    place.use(monkeypatch)
    dollars = Decimal(cents) / 100
    bill.spend(DAY, cents)
    bill.spend(DAY + timedelta(days=1), "0.00000000000003")
    assert here(capfd, "once", "--at", AT).code == 0
    with place.state() as state:
        kept = [amount for day in state.cost_days(DAY, DAY + timedelta(days=2)) for amount in day.lines.values()]
    assert kept == [dollars, Decimal("3e-16")]
    exact = dollars + Decimal("3e-16")
    (reading,) = json.loads(here(capfd, "status", "--json").out)["rules"][0]["readings"]
    assert Decimal(reading["amount"]) == exact
    for post in hook.posts:
        assert Decimal(post.data["money"]["spent"]) == exact.quantize(Decimal("0.01"))
    assert [post.data["step"]["reached"] for post in hook.posts] == steps


# --- once ------------------------------------------------------------------------------------


def _climb(bill: Bill, life: Life) -> None:
    for number, cents in enumerate(["86000", "96000", "101000"], 1):
        bill.spend(DAY, cents)
        life.poll(NOW + HOUR * number)


ALL_THREE = [("step_reached", "860.00"), ("step_reached", "960.00"), ("step_reached", "1010.00")]


def test_three_steps_in_three_polls_are_three_messages(place: Place, bill: Bill, hook: Hook) -> None:
    with living(place) as life:
        _climb(bill, life)
    assert hook.told == ALL_THREE
    assert [post.data["step"]["reached"] for post in hook.posts] == ["0.85", "0.95", "1"]
    assert len({post.data["incident"] for post in hook.posts}) == 1
    assert len({post.data["id"] for post in hook.posts}) == 3


def test_nothing_is_told_twice_by_the_same_poll_or_by_restarts(place: Place, bill: Bill, hook: Hook) -> None:
    with living(place) as life:
        _climb(bill, life)
        polls(life, 3, hours=4)
    for number in range(3):
        with living(place, NOW + HOUR * (7 + number)) as life:
            polls(life, 2, hours=7 + number)
    assert hook.told == ALL_THREE


EDITS = {
    "severity": STEPS.replace("}", ", severity: critical}"),
    "severity by step": STEPS.replace("}", ", severity: {85%: info, 100%: critical}}"),
    "text": f"{STEPS}   # the company's own words",
    "notify": STEPS.replace("}", ", notify: [other]}"),
}


@pytest.mark.parametrize("edit", [*EDITS, "route", "channel's address"])
@pytest.mark.parametrize("how", ["reload", "restart"])
def test_an_edit_of_anything_but_the_figures_tells_nothing(
    edit: str, how: str, place: Place, bill: Bill, hook: Hook
) -> None:
    with living(place) as life, Hook() as other:
        _climb(bill, life)
        channels = {"audit": hook.url("/moved" if edit == "channel's address" else "/hook"), "other": other.url()}
        routes = "routes: [{notify: [other]}]" if edit == "route" else "routes: [{notify: [audit]}]"
        place.write(channels, [EDITS.get(edit, STEPS)], routes)
        if how == "reload":
            life.reload(NOW + HOUR * 4)
        polls(life, 2, hours=5)
    if how == "restart":
        with living(place, NOW + HOUR * 7) as life:
            polls(life, 2, hours=7)
    assert hook.told == ALL_THREE
    assert other.posts == []


def test_the_resolve_goes_where_the_trigger_went_whatever_the_routes_say_now(
    place: Place, bill: Bill, hook: Hook
) -> None:
    with living(place) as life, Hook() as other:
        _climb(bill, life)
        place.write({"audit": hook.url(), "other": other.url()}, [STEPS], "routes: [{notify: [other]}]")
        life.reload(NOW + HOUR * 4)
        bill.spend(DAY, "50000")
        polls(life, 3, hours=5)
    assert hook.told == [*ALL_THREE, ("restated", "500.00")]
    assert other.posts == []


# --- delivery ----------------------------------------------------------------------------------


@pytest.mark.parametrize("restart", [False, True], ids=["same process", "restarted"])
def test_a_post_that_was_refused_is_delivered_later_and_once(
    restart: bool, place: Place, bill: Bill, hook: Hook
) -> None:
    with contextlib.ExitStack() as stack:
        life = stack.enter_context(living(place))
        hook.statuses = [500]
        bill.spend(DAY, "86000")
        ticked = life.poll(NOW + HOUR)
        assert (ticked.delivered, ticked.undelivered) == (0, 1)
        assert hook.accepted == []
        if restart:
            stack.close()
            life = stack.enter_context(living(place, NOW + HOUR))
        for seconds in (10, 20, 3600):
            life.poll(NOW + HOUR + timedelta(seconds=seconds))
    assert [post.status for post in hook.posts] == [500, 200]
    assert len({post.data["id"] for post in hook.posts}) == 1
    assert len({post.headers["Idempotency-Key"] for post in hook.posts}) == 1


def test_a_channel_that_refuses_delays_no_other_and_gets_its_message_later(
    place: Place, bill: Bill, hook: Hook
) -> None:
    with Hook() as refusing:
        place.write({"audit": hook.url(), "broken": refusing.url()}, [STEPS])
        refusing.statuses = [503, 503]
        with living(place) as life:
            bill.spend(DAY, "86000")
            life.poll(NOW + HOUR)
            assert (hook.told, refusing.told) == (ALL_THREE[:1], [])
            for minutes in (1, 5, 10):
                life.poll(NOW + HOUR + timedelta(minutes=minutes))
        assert (hook.told, refusing.told) == (ALL_THREE[:1], ALL_THREE[:1])
        assert [post.status for post in refusing.posts] == [503, 503, 200]


def test_a_newer_step_supersedes_an_older_one_that_was_never_accepted(place: Place, bill: Bill, hook: Hook) -> None:
    hook.statuses = [500, 500]
    with living(place) as life:
        bill.spend(DAY, "86000")
        life.poll(NOW + HOUR)
        bill.spend(DAY, "101000")
        life.poll(NOW + HOUR + timedelta(seconds=2))
        polls(life, 2, hours=3)
    assert hook.told[-1] == ALL_THREE[2]
    assert hook.told in ([ALL_THREE[2]], [ALL_THREE[0], ALL_THREE[2]])


# --- the default workspace ---------------------------------------------------------------------


def test_the_default_workspace_has_its_name_and_its_own_budget(place: Place, bill: Bill, hook: Hook) -> None:
    rules = [
        "{id: each, type: cap, limit: 100, per: month, for_each: workspace, steps: [100%]}",
        "{id: ours, type: cap, limit: 50, per: month, match: {workspace: Default}, steps: [100%]}",
    ]
    place.write({"audit": hook.url()}, rules)
    with living(place) as life:
        life.poll(NOW + HOUR)
        bill.spend(DAY, "12000", None)
        bill.spend(DAY, "7000", "wrkspc_b")
        life.poll(NOW + HOUR * 2)
    alerts = {alert["rule"]["id"]: alert for alert in hook.posts[-1].data["alerts"]}
    assert {rule: alert["money"]["spent"] for rule, alert in alerts.items()} == {"each": "120.00", "ours": "120.00"}
    assert alerts["each"]["scope"]["name"] == "Default"
    assert alerts["each"]["scope"]["id"] == DEFAULT_WORKSPACE
    assert "Default" in alerts["ours"]["title"]


@pytest.mark.parametrize("named", [True, False], ids=["names known", "names refused"])
def test_the_default_workspace_is_called_so_with_and_without_the_list_of_names(
    named: bool,
    place: Place,
    bill: Bill,
    hook: Hook,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if not named:
        bill.names = {"": "an id that is none"}
        place = Place(place.folder.with_name("fresh"), bill.url)
    place.write({"audit": hook.url()}, ["{id: each, type: cap, limit: 100, per: month, for_each: workspace}"])
    place.use(monkeypatch)
    bill.rows[DAY].clear()
    bill.spend(DAY, "9000", None)
    assert here(capfd, "once", "--at", AT).code == 0
    status = here(capfd, "status").out
    assert "Default" in status
    assert "None" not in status
    assert "null" not in status
    (reading,) = json.loads(here(capfd, "status", "--json").out)["rules"][0]["readings"]
    assert reading["scope"] == [{"dimension": "workspace", "id": DEFAULT_WORKSPACE, "name": "Default"}]
    assert reading["amount"] == "90"


def test_the_default_workspace_is_never_added_to_another_or_left_out_of_the_whole(
    place: Place, bill: Bill, hook: Hook
) -> None:
    place.write(
        {"audit": hook.url()},
        [
            "{id: all, type: cap, limit: 190, per: month, steps: [100%]}",
            "{id: others, type: cap, limit: 190, per: month, except: {workspace: Default}, steps: [100%]}",
            "{id: named, type: cap, limit: 70, per: month, match: {workspace: 'Supp*'}, steps: [100%]}",
        ],
    )
    bill.rows[DAY].clear()
    with living(place) as life:
        life.poll(NOW + HOUR)
        bill.spend(DAY, "12000", None)
        bill.spend(DAY, "7000", "wrkspc_b")
        life.poll(NOW + HOUR * 2)
        (all_of_it, named) = sorted(hook.posts[-1].data["alerts"], key=lambda alert: alert["rule"]["id"])
        opened = {i.rule: i.amount for i in life.store.incidents() if i.state is State.OPEN}
    assert (all_of_it["money"]["spent"], named["money"]["spent"]) == ("190.00", "70.00")
    assert opened == {"all": Decimal(190), "named": Decimal(70)}
