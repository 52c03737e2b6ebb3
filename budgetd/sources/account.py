"""Who the organisation is and what its workspaces are called: `GET /v1/organizations/me` and `/workspaces`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime

from budgetd import clock
from budgetd.http import Getter
from budgetd.model import DEFAULT_WORKSPACE, Failure, Organisation, SourceError, Workspace
from budgetd.sources.strict_json import JsonError, Node, loads

ORGANISATION_PATH = "/v1/organizations/me"
WORKSPACES_PATH = "/v1/organizations/workspaces"

_PAGE_SIZE = 1000
_MOST_PAGES = 100
_LONGEST_NAME = 200
_MOST_TAGS = 100

_Listing = dict[str, Workspace]


class AdminAccount:
    """The organisation as an admin key sees it. One call takes at most `fetch_seconds`."""

    def __init__(
        self, api: Getter, *, fetch_seconds: float = 120.0, monotonic: Callable[[], float] = clock.monotonic
    ) -> None:
        self._api = api
        self._fetch_seconds = fetch_seconds
        self._monotonic = monotonic
        self._knows_default = True
        self._default: str | None = None

    @property
    def default_workspace(self) -> str | None:
        """The real id of the default workspace as `workspaces()` last found it; None while that is not known."""
        return self._default

    def organisation(self) -> Organisation:
        """The organisation of the key. Raises SourceError."""
        body = self._api.get(ORGANISATION_PATH, deadline=self._deadline())
        try:
            answer = Node(loads(body))
            return Organisation(_id(answer), _name(answer))
        except JsonError as error:
            raise _unreadable("organisation", error) from None

    def workspaces(self) -> tuple[Workspace, ...]:
        """Every workspace, archived ones included, in the API's order. Raises SourceError.

        Nothing in an entry marks the default workspace, but it is listed only where it is asked for: the one that the
        plain list lacks is it, and is given its id in the cost report (`DEFAULT_WORKSPACE`). Should more than one
        be lacking, none can be told to be it, and all stay as they are.
        """
        deadline = self._deadline()
        extended = self._with_default(deadline)  # first: what is created between the two is only in the second
        plain = self._list((), deadline)
        extra = [workspace for workspace in extended.values() if workspace.id not in plain]
        if len(extra) != 1:
            return (*extra, *plain.values())
        self._default = extra[0].id
        return (_as_default(extra[0]), *plain.values())

    def unlisted(self, ids: Collection[str]) -> frozenset[str]:
        """Those of the ids that the plain list, read after they were seen, has not. Raises SourceError.

        That list has every workspace but the default one: a single id that it lacks is the default workspace's, also
        where the API knows no `include_default`. Of several nobody can tell.
        """
        return frozenset(ids) - self._list((), self._deadline()).keys()

    def _deadline(self) -> float:
        return self._monotonic() + self._fetch_seconds

    def _with_default(self, deadline: float) -> _Listing:
        """The list with the default workspace; empty when the API does not know that question."""
        if not self._knows_default:
            return {}
        try:
            return self._list((("include_default", "true"),), deadline)
        except SourceError as error:
            if error.status != 400:
                raise
        self._knows_default = False
        return {}

    def _list(self, extra: tuple[tuple[str, str], ...], deadline: float) -> _Listing:
        query = [("limit", str(_PAGE_SIZE)), ("include_archived", "true"), *extra]
        found: _Listing = {}
        cursors: set[str] = set()
        after: list[tuple[str, str]] = []
        for number in range(1, _MOST_PAGES + 1):
            body = self._api.get(WORKSPACES_PATH, [*query, *after], deadline=deadline)
            try:
                page, cursor = _page(Node(loads(body)))
            except JsonError as error:
                raise _unreadable(f"workspaces, page {number}", error) from None
            found.update((workspace.id, workspace) for workspace in page)
            if cursor is None:
                return found
            if cursor in cursors:
                raise _unreadable("workspaces", f"the cursor on page {number} leads back to an earlier page")
            cursors.add(cursor)
            after = [("after_id", cursor)]
        raise _unreadable("workspaces", f"more than {_MOST_PAGES} pages")


def _page(answer: Node) -> tuple[list[Workspace], str | None]:
    """The workspaces of a page, and the id that the next one comes after."""
    workspaces = [_workspace(entry) for entry in answer.field("data").items()]
    if not answer.field("has_more").flag():
        return workspaces, None
    last = answer.field("last_id")
    return workspaces, last.text() or last.refuse("more pages are announced, and no cursor is given")


def _workspace(entry: Node) -> Workspace:
    archived, tags = entry.get("archived_at"), entry.get("tags")
    return Workspace(
        id=_id(entry),
        name=_name(entry),
        archived_at=_instant(archived) if archived is not None else None,
        tags=_tags(tags) if tags is not None and tags.value is not None else (),
    )


def _as_default(workspace: Workspace) -> Workspace:
    return Workspace(DEFAULT_WORKSPACE, workspace.name, workspace.archived_at, workspace.tags)


def _id(entry: Node) -> str:
    """Ids are compared and stored, so one that would have to be cut is refused."""
    node = entry.field("id")
    text = node.text()
    if not 0 < len(text) <= _LONGEST_NAME:
        node.refuse(f"an id of {len(text)} characters")
    return text


def _name(entry: Node) -> str:
    """Names may hold anything at all; only their length is bounded. Who shows them escapes them."""
    return entry.field("name").text()[:_LONGEST_NAME]


def _tags(node: Node) -> tuple[tuple[str, str], ...]:
    names = sorted(node.fields())[:_MOST_TAGS]
    return tuple((name[:_LONGEST_NAME], node.field(name).text()[:_LONGEST_NAME]) for name in names)


def _instant(node: Node) -> datetime | None:
    text = node.text_or_none()
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
        return instant.replace(tzinfo=instant.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        node.refuse("not an RFC 3339 instant")


def _unreadable(what: str, complaint: object) -> SourceError:
    return SourceError(Failure.UNREADABLE, f"the list of {what} cannot be trusted: {complaint}", status=200)
