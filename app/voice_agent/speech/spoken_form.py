"""What a voice is to say for a text: numbers, times, dates, money and addresses as people say them.

``Order 7112 at 9:30`` becomes ``Order 7 1 1 2 at 9 30``, which every engine then reads aloud. Only what is said
changes: places in it lead back to the characters that are written, so that transcripts, and what was heard of them,
keep those.
What people say stands in ``spoken_forms/<language>.toml``; a text in a language without a file stays as it is.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

LEAST_DIGITS = 5
"""A number of so many is said digit by digit, as one that begins with 0 is: it counts nothing."""
DEFAULT_LANGUAGE = "en"


@dataclass(frozen=True, slots=True)
class SpokenForm:
    """A text as it is said."""

    text: str
    spans: tuple[tuple[int, int, bool], ...] = ((0, 0, False),)
    """Where a stretch of it begins, there and in the written text, and whether it is said for something else."""

    def written(self, words: list[list[int]]) -> list[list[int]]:
        """Where words begin, [milliseconds, characters of `text`], in characters of what is written.

        Of what is said for something else, only the first word begins anything there.
        """
        found: list[list[int]] = []
        for ms, chars in words:
            begins, at, is_other = self.spans[bisect_right(self.spans, chars, key=lambda span: span[0]) - 1]
            place = at if is_other else at + chars - begins
            if place > (found[-1][1] if found else 0):
                found.append([ms, place])
        return found


def spoken_form(text: str, language: str = DEFAULT_LANGUAGE) -> SpokenForm:
    """What is said for a text in a language, by its tag (``en``, ``de-AT``)."""
    forms = _forms(language.partition("-")[0].lower() or DEFAULT_LANGUAGE)
    if forms is None or not (any(map(str.isdigit, text)) or "@" in text):
        return SpokenForm(text)
    said: list[str] = []
    spans: list[tuple[int, int, bool]] = []
    length = done = 0

    def add(more: str, at: int, *, is_other: bool) -> None:
        nonlocal length
        if more:
            spans.append((length, at, is_other))
            said.append(more)
            length += len(more)

    for match in forms.pattern.finditer(text):
        instead = forms.say(match)
        if instead is None:
            continue
        same = _same_words(match.group(), instead)
        add(text[done : match.start() + same], done, is_other=False)
        add(instead[same:], match.start() + same, is_other=True)
        done = match.end()
    add(text[done:], done, is_other=False)
    return SpokenForm("".join(said), tuple(spans) or ((0, 0, False),))


def _same_words(written: str, said: str) -> int:
    """How many characters both begin with, up to a word that differs."""
    same = next((at for at, (a, b) in enumerate(zip(written, said, strict=False)) if a != b), 0)
    return written.rfind(" ", 0, same) + 1


class _Forms:
    """The file of a language, at work."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given
        self._months = given["months"].split()
        signs = "".join(map(re.escape, given["currencies"]))
        marks = "|".join(sorted(map(re.escape, given["hour_marks"]), key=len, reverse=True))
        numbered = "|".join(map(re.escape, given["numbered"].split()))
        money = rf"\d{{1,6}}(?:{re.escape(given['decimal_sign'])}\d\d)?(?![\d])"
        kinds = {
            "address": r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+",
            "date": r"(?<![\d-])\d{4}-\d\d-\d\d(?![\d-])",
            "time": rf"(?<![\d:.,])(?:[01]?\d|2[0-3]):[0-5]\d(?![\d:])(?:\s?(?:{marks})(?!\w))?",
            "hour": rf"(?<![\d:.,])(?:1?\d|2[0-3])\s?(?:{marks})(?!\w)",
            "money": rf"[{signs}]\s?{money}|(?<![\d.,]){money}\s?[{signs}]",
            "named": rf"(?i:\b(?:{numbered}))\s+(?:\w+\s+)?#?\d{{3,}}(?![\w:]|[.,]\d)",
            "digits": rf"(?<![\w.,:-])(?:0\d{{2,}}|\d{{{LEAST_DIGITS},}})(?![\w:]|[.,]\d)",
        }
        self.pattern = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in kinds.items()))
        self._say: dict[str, Callable[[str], str | None]] = {
            "address": self._address,
            "date": self._date,
            "time": self._time,
            "hour": self._hour,
            "money": self._money,
            "named": _spelt,
            "digits": _spelt,
        }

    def say(self, match: re.Match[str]) -> str | None:
        """What is said for it; None: as it is written."""
        return self._say[match.lastgroup or ""](match.group())

    def _address(self, written: str) -> str:
        given = self._given
        return written.replace("@", f" {given['at']} ").replace(".", f" {given['dot']} ")

    def _date(self, written: str) -> str | None:
        year, month, day = (int(part) for part in written.split("-"))
        if not (1 <= month <= len(self._months) and 1 <= day < len(self._given["ordinals"])):
            return None
        said: str = self._given["date"].format(
            month=self._months[month - 1], ordinal=self._given["ordinals"][day], year=year
        )
        return said

    def _time(self, written: str) -> str:
        hour, minute, mark = self._parts(written)
        if not minute and mark:
            said = self._given["marked_hour"]
        else:
            said = self._given["whole_hour" if not minute else "first_minutes" if minute < 10 else "minutes"]
        return " ".join(filter(None, (said.format(hour=hour, minute=minute), mark)))

    def _hour(self, written: str) -> str:
        hour, _, mark = self._parts(written)
        return " ".join(filter(None, (self._given["marked_hour"].format(hour=hour), mark)))

    def _parts(self, written: str) -> tuple[int, int, str]:
        """Hour, minute, and what is said for the mark behind them."""
        numbers = [int(number) for number in re.findall(r"\d+", written)]
        mark = re.sub(r"^[\d:\s]+", "", written)
        return numbers[0], numbers[1] if len(numbers) > 1 else 0, self._given["hour_marks"].get(mark, "")

    def _money(self, written: str) -> str:
        sign = next(char for char in written if char in self._given["currencies"])
        whole, _, cents = written.replace(sign, "").strip().partition(self._given["decimal_sign"])
        forms = self._given["currencies"][sign]
        kind = "with_cents" if cents.strip("0") else "one" if whole == "1" else "many"
        said: str = forms[kind].format(whole=whole, cents=cents.lstrip("0"))
        return said


def _spelt(written: str) -> str:
    """The words in front of a number as they are, and its digits one by one."""
    found = re.fullmatch(r"(.*?)#?(\d+)", written, re.DOTALL)
    assert found is not None, "what is spelt ends with digits"
    words, digits = found.groups()
    return words + " ".join(digits)


@cache
def _forms(language: str) -> _Forms | None:
    """None: there is no file of it."""
    file = files("voice_agent.speech.spoken_forms").joinpath(f"{language}.toml")
    if not language.isalpha() or not file.is_file():
        return None
    return _Forms(tomllib.loads(file.read_text(encoding="utf-8")))
