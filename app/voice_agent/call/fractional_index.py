"""Fractional indexing: ranks that order a conversation's items, with room for one more between any two.

A rank is a list of whole numbers, compared one by one; a list that goes on is greater
than one that ends. Numbers have no least and no greatest, so there is always room::

    [0]  [1]  [2]            put at the end, one after the other
    [0] [0,0] [0,1] [1]      put behind [0], then behind that
    [0] [0,-1] [0,0] [1]     put behind [0] twice

A rank grows with the logarithm of how many items are put at one and the same place, and
by a number where places alternate; its bytes count as the item's.

As text a number is a letter, which says how many digits follow, and those: "a7" is 7,
"b42" is 42, "Z9" is -1, "Z0" is -10. Texts sort as the lists do.
"""

from __future__ import annotations

import re
from itertools import zip_longest

_NUMBER = re.compile(r"[A-Za-z][0-9]+")
_NINES = str.maketrans("0123456789", "9876543210")


def rank_between(below: str | None, above: str | None) -> str:
    """A rank greater than `below` and less than `above`, which are neighbours; None: there is none on that side."""
    if below is None:
        return _text(0) if above is None else _text(_first(above) - 1)
    if above is None:
        return _text(_first(below) + 1)
    kept: list[str] = []
    for low, high in zip_longest(_NUMBER.findall(below), _NUMBER.findall(above)):
        if low == high:
            kept.append(low)
        elif low is None:
            return "".join(kept) + _text(_value(high) - 1)
        elif _value(high) - _value(low) > 1:
            return "".join(kept) + _text(_value(low) + 1)
        else:
            kept.append(low)
            rest = below[len("".join(kept)) :]
            return "".join(kept) + _text(_first(rest) + 1 if rest else 0)
    raise ValueError(f"nothing lies between {below!r} and {above!r}")


def _first(rank: str) -> int:
    found = _NUMBER.match(rank)
    assert found is not None
    return _value(found[0])


def _value(number: str) -> int:
    digits = number[1:]
    return int(digits) if number[0] >= "a" else -1 - int(digits.translate(_NINES))


def _text(value: int) -> str:
    digits = str(value if value >= 0 else -1 - value)
    if value >= 0:
        return chr(ord("a") + len(digits) - 1) + digits
    return chr(ord("Z") - len(digits) + 1) + digits.translate(_NINES)
