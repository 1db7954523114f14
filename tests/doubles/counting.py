"""Words with numbers: a model that counts is one whose repeated and missing words can be told.

The n-th word is n written in syllables: 0 is "baba", 1 is "babe", 5 is "bada".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from tests.doubles.tones import CUT, words_of

CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"
SYLLABLES = [consonant + vowel for consonant in CONSONANTS for vowel in VOWELS]
SHORTEST = 2
"""Syllables."""


def word(number: int) -> str:
    """The word of a number from 0 on."""
    digits: list[str] = []
    while number or len(digits) < SHORTEST:
        number, digit = divmod(number, len(SYLLABLES))
        digits.append(SYLLABLES[digit])
    return "".join(reversed(digits))


def number(said: str) -> int | None:
    """The number of a word; None of one that is none, or is not whole."""
    parts = [said[at : at + 2] for at in range(0, len(said), 2)]
    if len(parts) < SHORTEST or any(part not in SYLLABLES for part in parts):
        return None
    found = 0
    for part in parts:
        found = found * len(SYLLABLES) + SYLLABLES.index(part)
    return found if word(found) == said else None


def sentences(numbers: Iterable[int], size: int) -> str:
    """Words of numbers, so many in each sentence."""
    every = [word(each) for each in numbers]
    return " ".join(f"{' '.join(every[at : at + size])}.".capitalize() for at in range(0, len(every), size))


@dataclass
class Count:
    """What was heard, held against the numbers that were due."""

    missing: list[int] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)
    """Each time that one comes again."""
    disordered: list[int] = field(default_factory=list)
    """Those that follow a greater one that had not come before."""
    resaid: list[str] = field(default_factory=list)
    """What was heard of words that were broken off, once or more, and at once said again, whole."""
    cut: list[str] = field(default_factory=list)
    """What was heard of other words that are not whole."""
    other: list[str] = field(default_factory=list)
    """Words that are none of those that were due."""

    @property
    def is_complete(self) -> bool:
        """As `is_exact`, but for words that were broken off and said again."""
        return self == Count(resaid=self.resaid)

    @property
    def is_exact(self) -> bool:
        """Every word came once, whole, in its place, and nothing else did."""
        return self == Count()


def count(heard: Iterable[str] | str, due: Iterable[int]) -> Count:
    """Compare what was heard, as words or as a text, with the numbers that were due."""
    expected = dict.fromkeys(due)
    found, seen, last = Count(), set[int](), -1
    words = words_of(heard) if isinstance(heard, str) else list(heard)
    for at, each in enumerate(words):
        value = number(each)
        if each.endswith(CUT) and _is_said_again(each.removesuffix(CUT), words[at + 1 :]):
            found.resaid.append(each)
        elif CUT in each:
            found.cut.append(each)
        elif value is None or value not in expected:
            found.other.append(each)
        elif value in seen:
            found.repeated.append(value)
        else:
            seen.add(value)
            if value < last:
                found.disordered.append(value)
            last = max(last, value)
    found.missing = [each for each in expected if each not in seen]
    return found


def _is_said_again(begun: str, after: Sequence[str]) -> bool:
    """Whether the word is the next that is whole, with nothing but other beginnings of it before that."""
    beginnings = takewhile(lambda each: each.endswith(CUT), after)
    broken = [each.removesuffix(CUT) for each in beginnings]
    whole = after[len(broken)] if len(broken) < len(after) else ""
    return all(whole.startswith(each) for each in (begun, *broken)) and CUT not in whole
