"""The price card of the simulated organisation: models, kinds of token, and what one token costs."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from budgetd import money

_MILLION = Decimal("1e-6")

INPUT = "uncached_input_tokens"
OUTPUT = "output_tokens"
CACHE_READ = "cache_read_input_tokens"
CACHE_5M = "cache_creation.ephemeral_5m_input_tokens"
CACHE_1H = "cache_creation.ephemeral_1h_input_tokens"
# Kinds of token that no reference knows: what a client does with them is what is tried.
CACHE_24H = "cache_creation.ephemeral_24h_input_tokens"
AUDIO = "audio_input_tokens"

# Documented ratios to the price of input; output has a price of its own.
_RATIO = {
    INPUT: Decimal(1),
    CACHE_READ: Decimal("0.1"),
    CACHE_5M: Decimal("1.25"),
    CACHE_1H: Decimal(2),
    CACHE_24H: Decimal(3),
    AUDIO: Decimal(4),
}
_WORDS = {
    INPUT: "Input Tokens",
    OUTPUT: "Output Tokens",
    CACHE_READ: "Input Tokens, Cache Read",
    CACHE_5M: "Input Tokens, Cache Write 5m",
    CACHE_1H: "Input Tokens, Cache Write 1h",
    CACHE_24H: "Input Tokens, Cache Write 24h",
    AUDIO: "Input Tokens, Audio",
}


class Model(NamedTuple):
    """A model and its list prices in dollars per million tokens."""

    id: str
    title: str
    input: Decimal
    output: Decimal
    inference_geo: str = "global"


class Kind(NamedTuple):
    """Everything besides the model that sets the price of a token."""

    token_type: str
    service_tier: str = "standard"
    context_window: str = "0-200k"
    speed: str = "standard"


class Share(NamedTuple):
    """A kind of token and its part (in thousandths) of the money that a stream spends."""

    kind: Kind
    part: int


# The report knows one model by a dated and an undated id at once; so does this list.
MODELS = (
    Model("claude-opus-4-8", "Claude Opus 4.8", Decimal(5), Decimal(25)),
    Model("claude-sonnet-4-5", "Claude Sonnet 4.5", Decimal(3), Decimal(15)),
    Model("claude-haiku-4-5", "Claude Haiku 4.5", Decimal(1), Decimal(5)),
    Model("claude-sonnet-4-5-20250929", "Claude Sonnet 4.5", Decimal(3), Decimal(15)),
    Model("claude-haiku-4-5-20251001", "Claude Haiku 4.5", Decimal(1), Decimal(5)),
    Model("claude-opus-4-5-20251101", "Claude Opus 4.5", Decimal(5), Decimal(25), "not_available"),
    Model("claude-sonnet-4-6", "Claude Sonnet 4.6", Decimal(3), Decimal(15), "us"),
    Model("claude-opus-4-1-20250805", "Claude Opus 4.1", Decimal(15), Decimal(75), "not_available"),
    Model("claude-sonnet-4-20250514", "Claude Sonnet 4", Decimal(3), Decimal(15), "not_available"),
    Model("claude-3-5-haiku-20241022", "Claude Haiku 3.5", Decimal("0.80"), Decimal(4), "not_available"),
)
# A model that came out after every price list of a client.
NEW_MODEL = Model("claude-aurora-6", "Claude Aurora 6", Decimal(7), Decimal(35))

STANDARD = (
    Share(Kind(OUTPUT), 460),
    Share(Kind(INPUT), 230),
    Share(Kind(CACHE_READ), 160),
    Share(Kind(CACHE_5M), 110),
    Share(Kind(CACHE_1H), 40),
)
BATCH = (
    Share(Kind(OUTPUT, "batch"), 600),
    Share(Kind(INPUT, "batch"), 300),
    Share(Kind(CACHE_READ, "batch"), 100),
)
LONG_CONTEXT = (
    Share(Kind(INPUT, context_window="200k-1M"), 700),
    Share(Kind(OUTPUT, context_window="200k-1M"), 300),
)
FAST = (Share(Kind(OUTPUT, speed="fast"), 650), Share(Kind(INPUT, speed="fast"), 350))
NEW_KINDS = (Share(Kind(OUTPUT), 500), Share(Kind(AUDIO), 300), Share(Kind(CACHE_24H), 200))
# Committed capacity: its tokens are used, and are on no bill.
PRIORITY = (Share(Kind(OUTPUT, "priority"), 650), Share(Kind(INPUT, "priority"), 350))


def model(id: str) -> Model:
    """The model of that id. Raises ValueError with the known ids."""
    for known in (*MODELS, NEW_MODEL):
        if known.id == id:
            return known
    raise ValueError(f"the simulator has no model {id!r}; it has {', '.join(known.id for known in MODELS)}")


@lru_cache(maxsize=1024)
def dollars_per_token(model: Model, kind: Kind) -> Decimal:
    """The exact list price of one token, in dollars."""
    output = kind.token_type == OUTPUT
    price = model.output if output else money.times(model.input, _RATIO[kind.token_type])
    if kind.service_tier == "batch":
        price = money.times(price, Decimal("0.5"))
    if kind.context_window == "200k-1M":
        price = money.times(price, Decimal("1.5") if output else Decimal(2))
    if kind.speed == "fast":
        price = money.times(price, Decimal(6))
    if model.inference_geo == "us":
        price = money.times(price, Decimal("1.1"))
    return money.times(price, _MILLION)


@lru_cache(maxsize=1024)
def description(model: Model, kind: Kind) -> str:
    """The free text of the report's line; nobody may parse it."""
    extras = [
        words
        for words, present in (
            ("Batch", kind.service_tier == "batch"),
            ("Long Context", kind.context_window == "200k-1M"),
            ("Fast Mode", kind.speed == "fast"),
        )
        if present
    ]
    return f"{model.title} Usage - {', '.join([_WORDS[kind.token_type], *extras])}"
