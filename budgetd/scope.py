"""Which cost lines a rule looks at, and whose alert each of them belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache

from budgetd.model import Dimensions, Label, Names, Scope

# ((dimension, patterns), ...): a line is selected when every named dimension matches one of its patterns.
Selection = tuple[tuple[str, tuple[str, ...]], ...]

_TAG = "tag:"
_DATED_MODEL = re.compile(r"(?P<family>.+)-20[0-9]{6}", re.ASCII)
_ABSENT = {"model": "no model", "workspace": "not grouped"}


@dataclass(frozen=True, slots=True)
class Group:
    """A named set of workspaces: those whose name or id matches a pattern, or that carry every tag."""

    name: str
    workspaces: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    """A way of looking at spend, shared by all rules that look alike: a selection, what it leaves out, the split."""

    match: Selection = ()
    excluded: Selection = ()
    for_each: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Naming:
    """What names mean at present: the workspaces' names and the rules file's groups."""

    names: Names
    groups: Mapping[str, Group] = field(default_factory=dict)

    def groups_of(self, workspace: str) -> tuple[str, ...]:
        """The groups that hold the workspace, in the order of the rules file."""
        return tuple(group.name for group in self.groups.values() if self._holds(group, workspace))

    def _holds(self, group: Group, workspace: str) -> bool:
        carried = self.tags_of(workspace)
        if group.tags and all(carried.get(key) == value for key, value in group.tags):
            return True
        return _any_matches(group.workspaces, (workspace, self.names.workspace(workspace)))

    def tags_of(self, workspace: str) -> dict[str, str]:
        """The tags that the workspace carries at present."""
        known = self.names.workspaces.get(workspace)
        return dict(known.tags) if known is not None else {}

    def called(self, dimension: str, value: str) -> tuple[str, ...]:
        """Every text that a pattern may know the value by: the id first, then the name."""
        if dimension == "workspace":
            return (value, self.names.workspace(value))
        if dimension == "model":
            return (value, undated(value))
        return (value,)

    def labels(self, scope: Scope) -> tuple[Label, ...]:
        """The scope as people know it."""
        return tuple(
            Label(dimension, value, self.called(dimension, value)[-1] or _ABSENT.get(dimension, f"no {dimension}"))
            for dimension, value in scope
        )


class Lens:
    """A view with the present meaning of names: says which scopes a cost line counts towards.

    The answer for each combination of dimensions is found once and kept.
    """

    def __init__(self, view: View, naming: Naming) -> None:
        self.view = view
        self._naming = naming
        self._scopes: dict[Dimensions, tuple[Scope, ...]] = {}

    def scopes(self, dimensions: Dimensions) -> tuple[Scope, ...]:
        """The scopes that a line counts towards: none, one, or one for each group that holds its workspace."""
        known = self._scopes.get(dimensions)
        if known is None:
            known = self._scopes[dimensions] = self._find(dimensions)
        return known

    def _find(self, dimensions: Dimensions) -> tuple[Scope, ...]:
        view = self.view
        if not self._selected(view.match, dimensions):
            return ()
        if view.excluded and self._selected(view.excluded, dimensions):
            return ()
        scopes: list[Scope] = [()]
        for dimension in view.for_each:
            scopes = [(*scope, (dimension, value)) for scope in scopes for value in self._values(dimension, dimensions)]
        return tuple(scopes)

    def _selected(self, selection: Selection, dimensions: Dimensions) -> bool:
        return all(_any_matches(patterns, self._texts(dimension, dimensions)) for dimension, patterns in selection)

    def _texts(self, dimension: str, dimensions: Dimensions) -> tuple[str, ...]:
        if dimension == "group":
            return self._naming.groups_of(dimensions.workspace) if dimensions.workspace is not None else ()
        tag = tag_of(dimension)
        if tag is not None:
            carried = self._naming.tags_of(dimensions.workspace) if dimensions.workspace is not None else {}
            return (carried[tag],) if tag in carried else ()
        value: str | None = getattr(dimensions, dimension)
        return () if value is None else self._naming.called(dimension, value)

    def _values(self, dimension: str, dimensions: Dimensions) -> tuple[str, ...]:
        """The line's values of a split dimension. A line without one still counts, under an empty value."""
        if dimension == "group":
            return self._texts("group", dimensions)
        value: str | None = getattr(dimensions, dimension)
        if value is None:
            return ("",)
        return (undated(value),) if dimension == "model" else (value,)


def tag_dimension(tag: str) -> str:
    """What a tag is called where a selection names dimensions."""
    return _TAG + tag


def tag_of(dimension: str) -> str | None:
    """The tag that is called so; None for every other dimension."""
    return dimension.removeprefix(_TAG) if dimension.startswith(_TAG) else None


# Asked for each cost line, and there are few models.
@lru_cache(maxsize=4_096)
def undated(model: str) -> str:
    """A model's id without its date: the report names one model with and without it."""
    found = _DATED_MODEL.fullmatch(model)
    return found["family"] if found is not None else model


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern takes the whole text, case and all. Only `*` and `?` are wildcards: a name may hold `[`."""
    return fnmatchcase(text, pattern.replace("[", "[[]"))


def _any_matches(patterns: Iterable[str], texts: tuple[str, ...]) -> bool:
    return any(matches(pattern, text) for pattern in patterns for text in texts)
