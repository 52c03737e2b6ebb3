"""One page of the cost analytics, from its bytes to exact dollars by bucket and dimensions.

One reader, for the ordinary page and the odd one: there is news a few times a day, and no second of it is worth a
second reader. Workspaces have the ids of the page; which of them is the default one is not told here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from budgetd import money
from budgetd.model import DEFAULT_WORKSPACE, Dimensions
from budgetd.sources.page_text import (
    DOCUMENTED,
    bounds_of,
    cursor_of,
    instant,
    odd_fields,
    odd_value,
    refuse_error,
)
from budgetd.sources.strict_json import JsonError, Node, excerpt, loads

# The dimensions that are asked for, by what `Dimensions` calls them. The analytics have no description, and the
# speed would be a sixth grouping, where five are allowed beside the last two.
GROUPS = {
    "workspace": "workspace_id",
    "model": "model",
    "service_tier": "service_tier",
    "context_window": "context_window",
    "inference_geo": "inference_geo",
    "cost_type": "cost_type",
    "token_type": "token_type",
}
# Never asked for, so always null.
_OTHERS = frozenset(
    {
        "product", "api_key_id", "actor", "actor_type", "speed", "agent_id", "claude_tag_category",
        "claude_tag_user_id", "deployment_id", "environment_id", "rbac_group_id", "session_id", "slack_channel_id",
        "user_profile_id",
    }
)  # fmt: skip
_SUBJECT = "the analytics have"
_PAGE_FIELDS = frozenset({"data", "has_more", "next_page", "data_refreshed_at"})
_ROW_FIELDS = frozenset({"starting_at", "ending_at", "group", "cost"})
_COST_FIELDS = frozenset({"amount", "list_amount", "currency", "requests"})
_GROUP_FIELDS = frozenset(GROUPS.values()) | _OTHERS

# What a row is about, as the page has it: every field that is not null.
_Group = tuple[tuple[str, str], ...]


class Row(NamedTuple):
    """What one combination of dimensions cost in the bucket that starts at `start`, in dollars.

    `group` is the combination with everything that the page says of it: each comes once in a bucket.
    """

    start: datetime
    about: Dimensions
    dollars: Decimal
    group: _Group


@dataclass(frozen=True, slots=True)
class Page:
    """What one page says. Its data is that of the refresh at `refreshed_at`. `next_page` None: it was the last.

    `remarks` are oddities that were taken all the same.
    """

    rows: tuple[Row, ...]
    next_page: str | None
    refreshed_at: datetime
    remarks: frozenset[str] = field(default=frozenset())


class Known(dict[_Group, tuple[_Group, Dimensions]]):
    """Every combination that was ever read, so that each is kept once. `odd` are values that no reference lists."""

    def __init__(self) -> None:
        super().__init__()
        self.odd: set[str] = set()

    def __missing__(self, group: _Group) -> tuple[_Group, Dimensions]:
        values = dict(group)
        about = Dimensions(**{name: values.get(theirs) for name, theirs in GROUPS.items()})
        for name, value in zip(about._fields, about, strict=True):
            if value is not None and value not in DOCUMENTED.get(name, (value,)):
                self.odd.add(odd_value(_SUBJECT, name, value))
        # What is in no workspace of its own is in the default one.
        self[group] = group, about._replace(workspace=about.workspace or DEFAULT_WORKSPACE)
        return self[group]


def decode(body: bytes, known: Known, width: timedelta) -> Page:
    """The page of buckets of that width. Raises JsonError naming the JSON path of the first thing that is wrong."""
    root = Node(loads(body))
    refuse_error(root)
    unknown: set[str] = set(root.fields()) - _PAGE_FIELDS
    rows = tuple(_row(row, known, width, unknown) for row in root.field("data").items())
    remarks = odd_fields(_SUBJECT, unknown) | _negative(rows)
    return Page(rows, cursor_of(root), _refreshed_at(root.field("data_refreshed_at")), remarks)


def _row(row: Node, known: Known, width: timedelta, unknown: set[str]) -> Row:
    unknown |= row.fields().keys() - _ROW_FIELDS
    start, _ = bounds_of(row, width)
    group, about = known[_group(row.field("group"), unknown)]
    return Row(start, about, _dollars(row.field("cost"), unknown), group)


def _group(node: Node, unknown: set[str]) -> _Group:
    """The combination. A dimension that is new is none of ours, but it tells two rows apart."""
    given = node.fields()
    odd = given.keys() - _GROUP_FIELDS
    unknown |= {f"group.{name}" for name in odd}
    told = sorted(name for name, value in given.items() if value is not None)
    return tuple((name, str(given[name]) if name in odd else node.field(name).text()) for name in told)


def _dollars(cost: Node, unknown: set[str]) -> Decimal:
    unknown |= {f"cost.{name}" for name in cost.fields().keys() - _COST_FIELDS}
    currency, amount = cost.field("currency"), cost.field("amount")
    if currency.text() != "USD":
        currency.refuse(f"{excerpt(currency.text())}, and only US dollars can be added up")
    digits = amount.digits()
    try:
        return money.dollars_from_cents(digits)
    except ValueError as error:
        amount.refuse(str(error))


def _refreshed_at(node: Node) -> datetime:
    text = node.text()
    try:
        return instant(text)
    except ValueError as error:
        raise JsonError(f"{node.path}: {error}") from None


def _negative(rows: tuple[Row, ...]) -> frozenset[str]:
    days = {row.start.date() for row in rows if row.dollars < 0}
    return frozenset(f"{_SUBJECT} negative amounts on {day}" for day in days)
