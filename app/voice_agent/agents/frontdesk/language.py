"""A language of the front desk, as its folder in `languages` says: its words, its patterns, what is said in it."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

DEFAULT = "en"

_MACROS = {
    "<iso>": r"(?P<iso>\d{4}-\d\d-\d\d)",
    "<nth>": r"(?P<nth>\d{1,2})(?:st|nd|rd|th)",
    "<date>": r"(?P<nth>\d{1,2})(?:st|nd|rd|th)?",
    "<month>": r"mo(?P<month>\d{1,2})",
    "<weekday>": r"wd(?P<weekday>\d)",
    "<anyday>": r"(?:wd\d (?:\| )?)?",
    "<year>": r"(?P<year>20\d\d)",
    "<count>": r"(?P<count>\d{1,2})",
    "<hour>": r"(?P<hour>\d{1,2})",
    "<minute>": r"(?P<minute>\d\d?)",
    "<ones>": r"(?P<minute>\d)",
    "<tens>": r"(?P<minute>[0-5]\d)",
}


class WhenPattern(NamedTuple):
    """How a day or a time is said, and what its number is changed by."""

    said: re.Pattern[str]
    rule: Mapping[str, Any]


class ClockWords(NamedTuple):
    """How times are said: `templates` by the minutes of the hour, or by a whole time."""

    face: int
    """12, or 24 hours."""
    templates: Mapping[str, str]
    parts: Sequence[tuple[int, str]]
    """What is said of the hours before each; none of a clock of 24."""


@dataclass(frozen=True, slots=True)
class Words:
    """Words and their values; small letters, letters of English alone."""

    plain: Mapping[str, str]
    """What stands for a word once it is made plain: a number, ``5th``, ``wd1``, ``mo12``."""
    roles: Mapping[str, frozenset[str]]
    """zero, hundred, thousand, double, triple, joiners, negations, am, pm: the words of each."""
    homophones: Mapping[str, str]
    zones: Mapping[str, str]
    letters: Mapping[str, str]
    """Of spelling alphabets."""
    as_in: str


@dataclass(frozen=True, slots=True)
class Patterns:
    """What texts are looked for."""

    rewrites: Sequence[tuple[re.Pattern[str], str]]
    misheard: Sequence[tuple[re.Pattern[str], str]]
    days: Sequence[WhenPattern]
    times: Sequence[WhenPattern]
    bare_time: re.Pattern[str]
    heard_time: re.Pattern[str]
    """A homophone where a time is due; group ``word`` is it."""
    corrections: re.Pattern[str]
    after_no: re.Pattern[str]
    """What begins a correction behind a no: "make it", "lieber"."""
    not_this: re.Pattern[str]
    from_this: re.Pattern[str]
    order_words: re.Pattern[str]
    name_before: re.Pattern[str]
    tasks: Mapping[str, re.Pattern[str]]
    """In the order in which one is chosen where there are several."""
    intents: Mapping[str, re.Pattern[str]]


@dataclass(frozen=True, slots=True)
class Language:
    """All that the front desk knows of a language."""

    tag: str
    numbers: Sequence[str]
    """0 to 59, as they are said."""
    ordinals: Sequence[str]
    """First to thirty-first."""
    weekdays: Sequence[str]
    months: Sequence[str]
    clock: ClockWords
    answers: Mapping[str, str]
    orders: Mapping[str, str]
    words: Words
    patterns: Patterns
    prompt: str
    """What callers may say; see `Agent.transcription_prompt`."""

    def say(self, answer: str, **given: str) -> str:
        """An answer by its name, filled in."""
        return self.answers[answer].format(**given)


def language_of(tag: str | None) -> Language:
    """The one that fits a tag such as ``de-AT``; English where there is none."""
    name = (tag or DEFAULT).replace("_", "-").partition("-")[0].lower()
    return _read(name if name in known_languages() else DEFAULT)


@cache
def known_languages() -> frozenset[str]:
    """The languages that have a folder."""
    folder = files("voice_agent.agents.frontdesk.languages")
    return frozenset(each.name for each in folder.iterdir() if each.joinpath("words.toml").is_file())


def folded(text: str) -> str:
    """Small letters of English alone: "Müller" is "mueller", "naïve" is "naive"."""
    text = text.lower().translate(_FOLDED)
    return "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))


_FOLDED = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "\u2019": "'", "\u2010": "-", "\u2013": "-"})


@cache
def _read(tag: str) -> Language:
    folder = files("voice_agent.agents.frontdesk.languages").joinpath(tag)
    words, understood, answers = (
        tomllib.loads(folder.joinpath(f"{name}.toml").read_text(encoding="utf-8"))
        for name in ("words", "understanding", "answers")
    )
    orders = answers.pop("orders")
    numbers, ordinals = _listed(words["numbers"]), _listed(words["ordinals"])
    weekdays, months = _listed(words["weekdays"]), _listed(words["months"])
    clock = dict(words["clock"])
    return Language(
        tag=tag,
        numbers=numbers,
        ordinals=ordinals,
        weekdays=weekdays,
        months=months,
        clock=ClockWords(clock.pop("face"), {}, [tuple(part) for part in clock.pop("parts", ())])._replace(
            templates=clock
        ),
        answers=answers,
        orders=orders,
        words=_words(words, numbers, ordinals, weekdays, months),
        patterns=_patterns(understood, words),
        prompt=words["prompt"],
    )


def _words(
    given: dict[str, Any],
    numbers: Sequence[str],
    ordinals: Sequence[str],
    weekdays: Sequence[str],
    months: Sequence[str],
) -> Words:
    plain = {folded(word): str(value) for value, word in enumerate(numbers) if " " not in word}
    plain |= {folded(word): str(value) for word, value in given["more_numbers"].items()}
    plain |= {folded(word): f"{value}th" for value, word in enumerate(ordinals, 1) if " " not in word}
    plain |= {folded(word): f"{value}th" for word, value in given.get("more_ordinals", {}).items()}
    plain |= {folded(word): f"wd{value}" for value, word in enumerate(weekdays)}
    plain |= {folded(word): f"wd{value}" for word, value in given["more_weekdays"].items()}
    plain |= {folded(word): f"mo{value}" for value, word in enumerate(months, 1)}
    plain |= {folded(word): f"mo{value}" for word, value in given["more_months"].items()}
    roles = ("zero", "hundred", "thousand", "double", "triple", "joiners", "negations")
    spelling = dict(given["spelling"])
    return Words(
        plain=plain,
        roles={role: frozenset(folded(given[role]).split()) for role in roles}
        | {part: frozenset(folded(said).split()) for part, said in given["parts"].items()},
        homophones={word: str(digit) for word, digit in given["homophones"].items()},
        zones=given["zones"],
        as_in=folded(spelling.pop("as in")),
        letters={folded(word): letter for word, letter in spelling.items()},
    )


def _patterns(given: dict[str, Any], words: dict[str, Any]) -> Patterns:
    before, after = folded(given["bare_before"]), folded(given["bare_after"])
    homophones = "|".join(words["homophones"]) or "(?!)"
    follows = rf"(?= *(?:$|\||(?:{after})\b))"
    return Patterns(
        rewrites=list(_replacements(given["rewrites"])),
        misheard=list(_replacements(given["misheard"])),
        days=list(_when(given["days"])),
        times=list(_when(given["times"])),
        bare_time=re.compile(rf"(?:^ *|\| *|\b(?:{before}) )(?P<hour>\d{{1,2}})\b(?! \d){follows}"),
        heard_time=re.compile(
            rf"(?P<before>\b(?:{given['heard_before']}) )(?P<word>{homophones})\b"
            rf"(?= *(?:$|\||(?:{given['heard_after']})\b))"
        ),
        corrections=_whole(given["corrections"]),
        after_no=_whole(given["after_no"]),
        not_this=re.compile(rf"\b(?:{folded(words['not_this'])}) *$"),
        from_this=re.compile(rf"\b(?:{folded(words['from_this'])}) *$"),
        order_words=_whole(given["order_words"]),
        name_before=re.compile(rf"^(?:(?:{folded(given['name_before'])}) )+"),
        tasks={name: _whole("|".join(said)) for name, said in given["tasks"].items()},
        intents={name: _whole("|".join(said)) for name, said in given["intents"].items()},
    )


def _whole(pattern: str) -> re.Pattern[str]:
    """Whole words of it."""
    return re.compile(rf"\b(?:{folded_pattern(pattern)})\b", re.ASCII)


def folded_pattern(pattern: str) -> str:
    """A pattern whose letters are folded, and whose classes (``\\S``, ``(?P<…>)``) stay."""
    return pattern.translate(_FOLDED)


def _replacements(rows: Sequence[Sequence[str]]) -> Iterator[tuple[re.Pattern[str], str]]:
    for pattern, replacement in rows:
        yield re.compile(folded_pattern(pattern), re.ASCII), replacement


def _when(rows: Sequence[Mapping[str, Any]]) -> Iterator[WhenPattern]:
    for row in rows:
        said = folded_pattern(row["say"])
        for macro, pattern in _MACROS.items():
            said = said.replace(macro, pattern)
        yield WhenPattern(re.compile(rf"\b(?:{said})\b", re.ASCII), row)


def _listed(text: str) -> Sequence[str]:
    return tuple(" ".join(word.split()) for word in text.split(",") if word.strip())
