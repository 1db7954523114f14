"""Text in pieces."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import strategies as st

CUTS = st.lists(st.integers(0, 500), max_size=30)


def cut(text: str, cuts: list[int]) -> list[str]:
    """`text`, cut at these places."""
    at = sorted({0, len(text), *(each % (len(text) + 1) for each in cuts)})
    return [text[start:end] for start, end in pairwise(at)]


def numbered(count: int, *, begin: int = 1) -> list[str]:
    """Words of which each stands once, some with a mark behind."""
    marks = {0: ".", 3: ","}
    return [f"word{n}{marks.get(n % 7, '')}" for n in range(begin, begin + count)]
