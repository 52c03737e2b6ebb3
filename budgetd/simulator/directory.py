"""`GET /v1/organizations/me` and `/workspaces`: who the organisation is and what its workspaces are called."""

from __future__ import annotations

from datetime import datetime

from budgetd.simulator.organisation import SimulatedWorkspace, World
from budgetd.simulator.wire import (
    Request,
    RequestError,
    Response,
    answer,
    refuse_unknown,
    timestamp,
    truth,
    whole_number,
)

_PARAMETERS = frozenset({"limit", "after_id", "before_id", "include_archived", "include_default"})
_Row = dict[str, object]


def organisation(world: World, request: Request) -> Response:
    """The organisation that the key belongs to. Raises RequestError."""
    refuse_unknown(request, frozenset())
    return answer({"id": world.id, "type": "organization", "name": world.name})


def workspaces(world: World, request: Request, now: datetime) -> Response:
    """One page of the workspaces by id cursor. Raises RequestError."""
    refuse_unknown(request, _PARAMETERS)
    rows = _rows(world, now, truth(request, "include_archived"), truth(request, "include_default"))
    limit = whole_number(request, "limit", 20, 1000)
    after, before = request.one("after_id"), request.one("before_id")
    if after is not None and before is not None:
        raise RequestError(400, "after_id and before_id may not be given together")
    if before is not None:
        rows = rows[: _position(rows, before)]
        page, more = rows[-limit:], len(rows) > limit
    else:
        rows = rows[_position(rows, after) + 1 :] if after is not None else rows
        page, more = rows[:limit], len(rows) > limit
    first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
    return answer({"data": page, "has_more": more, "first_id": first, "last_id": last})


def _rows(world: World, now: datetime, archived: bool, default: bool) -> list[_Row]:
    rows = [_row(world, known, now) for known in world.workspaces if archived or known.archived_at(now) is None]
    if default:
        # Here the default workspace has its real id; the cost report knows it as null.
        named = SimulatedWorkspace(world.default_workspace, ((world.founded, "Default"),))
        rows.insert(0, _row(world, named, now))
    return rows


def _row(world: World, workspace: SimulatedWorkspace, now: datetime) -> _Row:
    archived = workspace.archived_at(now)
    return {
        "id": workspace.id,
        "type": "workspace",
        "name": workspace.name(now),
        "created_at": timestamp(world.founded),
        "archived_at": timestamp(archived.date()) if archived else None,
        "display_color": "#6C5BB9",
        "tags": dict(workspace.tags),
    }


def _position(rows: list[_Row], id: str) -> int:
    for number, row in enumerate(rows):
        if row["id"] == id:
            return number
    raise RequestError(400, "after_id or before_id: no such workspace in this list")
