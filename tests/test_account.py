"""Who the organisation is and what its workspaces are called."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from budgetd.model import DEFAULT_WORKSPACE, Failure, Organisation, SourceError, Workspace
from budgetd.sources.account import ORGANISATION_PATH, AdminAccount
from tests.cost_pages import Shelf

BAD_REQUEST = SourceError(Failure.REJECTED, "HTTP 400: include_default: Extra inputs are not permitted", status=400)


def listing(*entries: dict[str, Any], last: str | None = None) -> dict[str, Any]:
    return {"data": list(entries), "has_more": last is not None, "first_id": None, "last_id": last}


def entry(id: str, name: str = "Research", **fields: Any) -> dict[str, Any]:
    return {"id": id, "type": "workspace", "name": name, "archived_at": None, "display_color": "#6C5BB9", **fields}


def refused(*bodies: object) -> SourceError:
    with pytest.raises(SourceError) as caught:
        AdminAccount(Shelf(*bodies)).workspaces()
    assert caught.value.failure is Failure.UNREADABLE
    return caught.value


def test_the_organisation_is_read() -> None:
    class Asked(Shelf):
        def get(self, path: str, *args: Any, **more: Any) -> bytes:
            assert path == ORGANISATION_PATH
            return super().get(path, *args, **more)

    account = AdminAccount(Asked({"id": "org_1", "type": "organization", "name": "Acme", "new": 1}))
    assert account.organisation() == Organisation("org_1", "Acme")


@pytest.mark.parametrize("body", [b"{}", b"null", b"[]", b"", {"id": "org_1"}, {"id": "", "name": "x"}, b"<html>"])
def test_an_organisation_without_id_and_name_is_refused(body: object) -> None:
    with pytest.raises(SourceError, match="cannot be trusted") as caught:
        AdminAccount(Shelf(body)).organisation()
    assert caught.value.failure is Failure.UNREADABLE


def test_every_page_of_workspaces_is_read_archived_ones_included() -> None:
    pages = [
        listing(entry("w1"), entry("w2", "Old", archived_at="2026-01-02T03:04:05.678Z"), last="w2"),
        listing(entry("w3", tags={"team": "research", "cost": "42"})),
    ]
    shelf = Shelf(*pages, *pages)
    assert AdminAccount(shelf).workspaces() == (
        Workspace("w1", "Research"),
        Workspace("w2", "Old", datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)),
        Workspace("w3", "Research", tags=(("cost", "42"), ("team", "research"))),
    )
    assert [query.get("after_id") for query in shelf.asked] == [None, ["w2"], None, ["w2"]]
    assert all(query["limit"] == ["1000"] and query["include_archived"] == ["true"] for query in shelf.asked)


def test_the_default_workspace_is_the_one_that_is_listed_only_on_request() -> None:
    account = AdminAccount(Shelf(listing(entry("w0", "Main"), entry("w1")), listing(entry("w1"))))
    assert account.workspaces() == (Workspace(DEFAULT_WORKSPACE, "Main"), Workspace("w1", "Research"))


def test_a_workspace_named_default_is_not_the_default_one() -> None:
    both = listing(entry("w1", "Default"))
    assert AdminAccount(Shelf(both)).workspaces() == (Workspace("w1", "Default"),)


def test_a_workspace_made_between_the_two_lists_is_not_the_default_one() -> None:
    account = AdminAccount(Shelf(listing(entry("w0", "Main")), listing(entry("w9", "New"))))
    assert account.workspaces() == (Workspace(DEFAULT_WORKSPACE, "Main"), Workspace("w9", "New"))


def test_two_that_could_be_the_default_stay_as_they_are() -> None:
    account = AdminAccount(Shelf(listing(entry("w0"), entry("w1")), listing()))
    assert [workspace.id for workspace in account.workspaces()] == ["w0", "w1"]


def test_an_api_that_does_not_know_include_default_is_asked_without_it_from_then_on() -> None:
    shelf = Shelf(BAD_REQUEST, listing(entry("w1")))
    account = AdminAccount(shelf)
    assert account.workspaces() == account.workspaces() == (Workspace("w1", "Research"),)
    assert ["include_default" in query for query in shelf.asked] == [True, False, False]


def test_the_default_workspaces_real_id_is_remembered() -> None:
    both, plain = listing(entry("w0", "Main"), entry("w1")), listing(entry("w1"))
    account = AdminAccount(Shelf(both, plain, listing(entry("w1"), entry("w8"), entry("w9")), plain))
    assert account.default_workspace is None
    account.workspaces()
    assert account.default_workspace == "w0"
    account.workspaces()  # nobody can tell which of two it is, but it was known before
    assert account.default_workspace == "w0"


@pytest.mark.parametrize(
    "bodies",
    [
        [listing(entry("w1", "Default"))],
        [listing(entry("w0"), entry("w1")), listing()],
        [BAD_REQUEST, listing(entry("w1"))],
    ],
)
def test_the_default_workspaces_real_id_is_never_guessed(bodies: Sequence[object]) -> None:
    account = AdminAccount(Shelf(*bodies))
    account.workspaces()
    assert account.default_workspace is None


def test_a_failed_list_leaves_what_is_known_of_the_default_workspace() -> None:
    down = SourceError(Failure.UNAVAILABLE, "HTTP 503", status=503)
    account = AdminAccount(Shelf(listing(entry("w0"), entry("w1")), listing(entry("w1")), down))
    account.workspaces()
    with pytest.raises(SourceError, match="503"):
        account.workspaces()
    assert account.default_workspace == "w0"


def test_ids_that_the_whole_list_lacks_are_told() -> None:
    pages = [listing(entry("w1"), last="w1"), listing(entry("w2", archived_at="2026-01-02T03:04:05Z"))]
    shelf = Shelf(*pages)
    assert AdminAccount(shelf).unlisted({"w0", "w1", "w2"}) == {"w0"}
    assert all(query["include_archived"] == ["true"] and "include_default" not in query for query in shelf.asked)
    assert AdminAccount(Shelf(*pages)).unlisted(["w1"]) == frozenset()


def test_other_refusals_are_not_mistaken_for_that() -> None:
    shelf = Shelf(SourceError(Failure.REFUSED, "HTTP 401", status=401))
    with pytest.raises(SourceError, match="401"):
        AdminAccount(shelf).workspaces()
    assert len(shelf.asked) == 1


@pytest.mark.parametrize(
    "name", ["x" * 5000, "a\nb\x00\x1b[31m", "\u202eevil", "<!channel>", "", "🦄" * 300], ids=lambda name: name[:3]
)
def test_a_name_may_hold_anything_and_only_its_length_is_bounded(name: str) -> None:
    (workspace,) = AdminAccount(Shelf(listing(entry("w1", name)))).workspaces()
    assert workspace.name == name[:200]


def test_two_workspaces_of_one_name_are_two() -> None:
    assert len(AdminAccount(Shelf(listing(entry("w1"), entry("w2")))).workspaces()) == 2


@pytest.mark.parametrize(
    ("bodies", "complaint"),
    [
        ([listing(entry("w1"), last="w1")], "leads back"),
        ([listing(entry("w1"), last="w1"), listing(last="w2"), listing(last="w1")], "leads back"),
        ([listing(entry("w1"), last="")], "no cursor"),
        ([{"data": [], "has_more": True}], r"\$\.last_id: missing"),
        ([{"data": [], "has_more": True, "last_id": None}], r"\$\.last_id: expected a string, found null"),
        ([{"data": []}], r"\$\.has_more: missing"),
        ([{"data": None, "has_more": False}], r"\$\.data: expected a list, found null"),
        ([listing({"id": "w1"})], r"\$\.data\[0\]\.name: missing"),
        ([listing(entry("w" * 300))], r"\$\.data\[0\]\.id: an id of 300"),
        ([listing(entry("w1", archived_at="soon"))], r"\$\.data\[0\]\.archived_at: not an RFC"),
        ([listing(entry("w1", tags={"team": 1}))], r"tags\.team: expected a string, found a number"),
    ],
)
def test_a_list_that_cannot_be_trusted_is_refused_whole(bodies: Sequence[object], complaint: str) -> None:
    with pytest.raises(SourceError, match=complaint):
        AdminAccount(Shelf(*bodies)).workspaces()
    refused(*bodies)


def test_endless_pages_end() -> None:
    class Endless(Shelf):
        def get(self, *args: Any, **more: Any) -> bytes:
            self.bodies = [listing(last=f"w{len(self.asked)}")]
            return super().get(*args, **more)

    shelf = Endless()
    with pytest.raises(SourceError, match="more than 100 pages"):
        AdminAccount(shelf).workspaces()
    assert len(shelf.asked) == 100
