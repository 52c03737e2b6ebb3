"""Ready-made organisations: the one of the demo, and three sizes for benchmarks."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from types import MappingProxyType

from budgetd.model import DEFAULT_WORKSPACE
from budgetd.period import DAY
from budgetd.simulator import prices
from budgetd.simulator.organisation import SimulatedWorkspace, World
from budgetd.simulator.prices import Kind, Share
from budgetd.simulator.streams import Meter, Stream

AROUND = date(2026, 11, 18)

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_SIZED_KINDS = (
    *prices.STANDARD,
    Share(Kind(prices.OUTPUT, "batch"), 80),
    Share(Kind(prices.INPUT, "batch"), 50),
    Share(Kind(prices.CACHE_READ, "batch"), 20),
)

# name -> (workspaces, models, kinds of line): each combination has a row on every day.
SIZES: Mapping[str, tuple[int, int, int]] = MappingProxyType({"S": (10, 5, 5), "M": (200, 8, 6), "L": (2_000, 10, 8)})


def standard(seed: int = 1, around: date = AROUND) -> World:
    """A company of ten workspaces that spends some 500 dollars a weekday. `around`: the day that its history ends at.

    Two workspaces are called Sandbox, the older one archived; Helpdesk was renamed to Support 20 days before `around`.
    """
    research, evals, chat, search, support, agents, sandbox, old_sandbox, legacy = (
        identifier(seed, name)
        for name in ("research", "evals", "chat", "search", "support", "agents", "sandbox", "sandbox-1", "legacy")
    )
    founded = around - DAY * 400
    retired = around - DAY * 40
    product, science = (("team", "product"),), (("team", "research"),)
    opus, sonnet, haiku, dated_sonnet, dated_haiku = prices.MODELS[:5]
    return World(
        seed=seed,
        id=_organisation_id(seed),
        name="Example Company",
        founded=founded,
        default_workspace=identifier(seed, "default"),
        workspaces=(
            SimulatedWorkspace(research, ((founded, "Research"),), tags=science),
            SimulatedWorkspace(evals, ((founded, "Research-Evals"),), tags=science),
            SimulatedWorkspace(chat, ((founded, "Prod-Chat"),), tags=product),
            SimulatedWorkspace(search, ((founded, "Prod-Search"),), tags=product),
            SimulatedWorkspace(support, ((founded, "Helpdesk"), (around - DAY * 20, "Support"))),
            SimulatedWorkspace(agents, ((founded, "Agents"),)),
            SimulatedWorkspace(sandbox, ((founded, "Sandbox"),)),
            SimulatedWorkspace(old_sandbox, ((founded, "Sandbox"),), archived_on=retired),
            SimulatedWorkspace(legacy, ((founded, "Legacy-Import"),), archived_on=retired),
        ),
        streams=(
            Stream(DEFAULT_WORKSPACE, haiku, 1_200, weekend=400),
            Stream(DEFAULT_WORKSPACE, sonnet, 900, weekend=300),
            Stream(research, opus, 6_500, weekend=300, growth=2),
            Stream(research, sonnet, 1_500, prices.LONG_CONTEXT, weekend=250, growth=1),
            Stream(evals, opus, 4_000, prices.BATCH, active=350),
            Stream(evals, haiku, 800, weekend=500),
            Stream(chat, sonnet, 9_000, weekend=850, growth=2),
            Stream(chat, haiku, 2_200, weekend=900, growth=1),
            Stream(search, dated_haiku, 3_500, weekend=950, growth=1),
            Stream(support, dated_sonnet, 1_900, weekend=200),
            Stream(agents, opus, 2_400, prices.FAST, weekend=600, growth=3),
            Stream(agents, prices.model("claude-sonnet-4-6"), 1_800, weekend=600),
            Stream(sandbox, opus, 500, active=400, weekend=100),
            Stream(old_sandbox, sonnet, 300, active=300, until=retired),
            Stream(legacy, prices.model("claude-sonnet-4-20250514"), 1_100, until=retired),
        ),
        meters=(
            Meter(search, "web_search", "Web Search Usage", units=2_400, cents=1, per=1, weekend=900),
            Meter(agents, "code_execution", "Code Execution Usage", units=540_000, cents=5, per=3_600, weekend=600),
            Meter(agents, "session_usage", "Session Runtime Usage", units=410_000_000, cents=8, per=3_600_000),
        ),
        discount=Decimal("0.92"),
    )


def unfamiliar(seed: int = 1, around: date = AROUND) -> World:
    """The standard organisation, where Research also uses what no list of prices has, and what is on no bill.

    A model that is new, kinds of token that are new, and Priority Tier.
    """
    world = standard(seed, around)
    research, chat = identifier(seed, "research"), identifier(seed, "chat")
    extra = (
        Stream(research, prices.NEW_MODEL, 700),
        Stream(research, prices.model("claude-haiku-4-5"), 300, prices.NEW_KINDS),
        Stream(chat, prices.model("claude-opus-4-8"), 1_500, prices.PRIORITY),
    )
    return replace(world, streams=(*world.streams, *extra))


def sized(name: str, seed: int = 1) -> World:
    """An organisation of size `S`, `M` or `L` (see SIZES) with the same number of rows on each day."""
    workspaces, models, kinds = SIZES[name]
    founded = AROUND - DAY * 400
    ids = [DEFAULT_WORKSPACE, *(identifier(seed, f"sized-{number}") for number in range(1, workspaces))]
    return World(
        seed=seed,
        id=_organisation_id(seed),
        name=f"Example Company {name}",
        founded=founded,
        default_workspace=identifier(seed, "default"),
        workspaces=tuple(
            SimulatedWorkspace(known, ((founded, f"Team {number:04}"),)) for number, known in enumerate(ids) if number
        ),
        streams=tuple(
            Stream(known, model, 2_000, _SIZED_KINDS[:kinds], weekend=400, growth=1)
            for known in ids
            for model in prices.MODELS[:models]
        ),
        discount=Decimal("0.92"),
    )


def identifier(seed: int, name: str) -> str:
    """The id of the workspace that this module calls so."""
    number = int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=16).digest())
    text = ""
    for _ in range(22):
        number, digit = divmod(number, len(_ALPHABET))
        text += _ALPHABET[digit]
    return f"wrkspc_01{text}"


def _organisation_id(seed: int) -> str:
    return str(uuid.UUID(bytes=hashlib.blake2b(f"{seed}/organisation".encode(), digest_size=16).digest(), version=4))
