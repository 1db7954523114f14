"""Weights of any scale, and the percents of a `Routing`. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from voice_agent.operate.ports import FULL


def percents(weights: Mapping[str, int]) -> dict[str, int]:
    """Shares of the sum, half up; they add up to 100, the greatest takes what rounding left.

    Who gets anybody gets at least 1, so that 100 means everybody. Raises `ValueError` for weights without a sum.
    """
    total = sum(weights.values())
    if total <= 0 or min(weights.values()) < 0:
        raise ValueError(f"weights must not be negative, and one of them must be more than 0: {dict(weights)}")
    shares = {color: _share(weight, total) for color, weight in weights.items()}
    greatest = max(weights, key=lambda color: weights[color])
    shares[greatest] = FULL - sum(share for color, share in shares.items() if color != greatest)
    return shares


def _share(weight: int, total: int) -> int:
    return 0 if weight == 0 else max(1, (2 * FULL * weight + total) // (2 * total))


def same_split(one: Mapping[str, int], other: Mapping[str, int]) -> bool:
    """Whether both name the same colors and share callers out alike, whatever the scale."""
    one_sum, other_sum = sum(one.values()), sum(other.values())
    return one.keys() == other.keys() and all(one[color] * other_sum == other[color] * one_sum for color in one)


def in_words(weights: Mapping[str, int]) -> str:
    """``blue 75, green 25``."""
    return ", ".join(f"{color} {weight}" for color, weight in sorted(weights.items())) or "nobody"
