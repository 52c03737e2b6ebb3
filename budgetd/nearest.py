"""The word that was probably meant: "did you mean"."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that the word was probably meant to be, upper and lower case aside."""
    # Only needed when there is a mistake.
    from difflib import get_close_matches

    if not 0 < len(word) <= 64:
        return None
    near = [choice for choice in choices if abs(len(choice) - len(word)) <= 4][:2_000]
    folded = {choice.casefold(): choice for choice in reversed(near)}
    found = get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`; did you mean "limit"?`, or nothing."""
    found = nearest(word, choices)
    return f'; did you mean "{found}"?' if found is not None else ""
