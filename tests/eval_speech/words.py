"""Word errors: how many words of what was said were understood as others, left out or added."""

from __future__ import annotations

import re
from collections.abc import Sequence

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ORDINALS = {"1st": "first", "2nd": "second", "3rd": "third", "5th": "fifth", "8th": "eighth", "9th": "ninth"}
_ORDINALS |= {"12th": "twelfth", "20th": "twentieth", "30th": "thirtieth"}
_SAME = {"okay": "ok", "goodbye": "bye", "till": "until", "oclock": "o'clock"}


def words(text: str) -> list[str]:
    """`text` as words that can be compared: small, without punctuation, figures as they are said, "oh" as zero."""
    plain = text.lower().replace("\u2019", "'")
    plain = re.sub(r"\b([ap])\.?\s?m\b\.?", r"\1 m", plain)
    plain = re.sub(r"\bgood ?bye\b|\bbye-bye\b", "bye", plain)
    found: list[str] = []
    for word in re.findall(r"\d+(?:st|nd|rd|th)|\d+|[^\W\d_]+(?:'[^\W\d_]+)?", plain):
        if word[0].isdigit():
            found += _ordinal(word) if word[-1].isalpha() else _figures(word)
        else:
            found.append("zero" if word == "oh" else _SAME.get(word, word))
    return found


def errors(said: Sequence[str], understood: Sequence[str]) -> int:
    """The fewest words to change, leave out or add (Levenshtein)."""
    row = list(range(len(understood) + 1))
    for count, word in enumerate(said, 1):
        diagonal, row[0] = row[0], count
        for at, other in enumerate(understood, 1):
            diagonal, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, diagonal + (word != other))
    return row[-1]


def _figures(figures: str) -> list[str]:
    if len(figures) > 2 or figures.startswith("0"):
        return [_ONES[int(figure)] for figure in figures]
    value = int(figures)
    if value < len(_ONES):
        return [_ONES[value]]
    return [_TENS[value // 10], *([_ONES[value % 10]] if value % 10 else [])]


def _ordinal(figures: str) -> list[str]:
    if figures in _ORDINALS:
        return [_ORDINALS[figures]]
    value = int(figures[:-2])
    if 20 < value < 100:
        return [_TENS[value // 10], *_ordinal(f"{value % 10}{figures[-2:]}")]
    return [_ONES[value] + "th"] if value < len(_ONES) else _figures(figures[:-2])
