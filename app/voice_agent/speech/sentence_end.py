"""Whether what was understood of a turn so far is a finished sentence, by how it ends.

Only the last words are looked at: a sentence that ends in "the" goes on, one that ends in "Tuesday" is over. Nothing is
parsed, so that it costs microseconds and errs on the side of an answer: a turn that ends too soon is answered, and the
rest of it interrupts that answer. What a language's sentences do not end in stands in ``turn_words/<language>.toml``.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

DEFAULT_LANGUAGE = "en"
FINISHED = 1.0
UNSURE = 0.5
"""Nothing was understood, a number or a name is being spelt, or there are no words of the language."""
UNFINISHED = 0.0

MAX_CHARS = 200
"""Of the end of a text that is looked at: the work does not grow with the turn."""
_PHRASE_WORDS = 5
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_BREAKS_OFF = re.compile(r"(?:\.\.+|…|[-–—,:;])\W*$")
_TIME = re.compile(r"(?:1?\d|2[0-3]) ?[0-5]\d")
"""In one word or in two: ears write "9 15", "9.15" and "915"."""
_SPELT = re.compile(r"(?:\d|[^\W\d_]|\d[\d-]*\d)")


@dataclass(frozen=True, slots=True)
class TurnWords:
    """What the file of a language says."""

    open_words: frozenset[str]
    open_phrases: frozenset[str]
    closed_phrases: frozenset[str]
    backchannels: frozenset[str]
    digits: frozenset[str]
    before_times: frozenset[str]
    yes: frozenset[str]
    no: frozenset[str]
    beside_answer: frozenset[str]


@cache
def turn_words(language: str) -> TurnWords | None:
    """Of a language by its tag, ``en`` or ``en-GB``; None: there is no file of it."""
    name = language.partition("-")[0].lower()
    file = files("voice_agent.speech.turn_words").joinpath(f"{name}.toml")
    if not name.isalpha() or not file.is_file():
        return None
    given = tomllib.loads(file.read_text(encoding="utf-8"))
    return TurnWords(
        open_words=frozenset(given["open_words"].split()),
        open_phrases=frozenset(given["open_phrases"].split("\n")) - {""},
        closed_phrases=frozenset(given["closed_phrases"].split("\n")) - {""},
        backchannels=frozenset(given["backchannels"].split("\n")) - {""},
        digits=frozenset(given["digits"].split()),
        before_times=frozenset(given["before_times"].split()),
        yes=frozenset(given["yes"].split()),
        no=frozenset(given["no"].split()),
        beside_answer=frozenset(given["beside_answer"].split()),
    )


def is_finished(text: str, language: str = DEFAULT_LANGUAGE) -> float:
    """How sure it is that nothing follows: `FINISHED`, `UNSURE` or `UNFINISHED`.

    `language`: its tag; of one without a file all is `UNSURE` that does not break off.
    """
    tail = text[-MAX_CHARS:]
    words = _words(tail)
    known = turn_words(language)
    if not words:
        return UNSURE
    if _BREAKS_OFF.search(tail):
        return UNFINISHED
    if known is None:
        return UNSURE
    ends = [" ".join(words[-length:]) for length in range(min(len(words), _PHRASE_WORDS), 0, -1)]
    if any(end in known.closed_phrases for end in ends) or tail.rstrip().endswith("?"):
        return FINISHED
    if words[-1] in known.open_words or any(end in known.open_phrases for end in ends):
        return UNFINISHED
    return UNSURE if _is_spelling(words, known) and not _is_time(words, known) else FINISHED


def is_backchannel(text: str, language: str = DEFAULT_LANGUAGE) -> bool:
    """Whether this is what one says who only listens: "mhm", "uh-huh", twice perhaps."""
    known = turn_words(language)
    words = _words(text[: MAX_CHARS + 1])
    if known is None or not words or len(text) > MAX_CHARS:
        return False
    at = 0
    while at < len(words):
        lengths = range(min(3, len(words) - at), 0, -1)
        taken = next((length for length in lengths if " ".join(words[at : at + length]) in known.backchannels), 0)
        if not taken:
            return False
        at += taken
    return True


def _words(text: str) -> list[str]:
    return [word.replace("’", "'") for word in _WORD.findall(text.lower())]


def _is_spelling(words: list[str], known: TurnWords) -> bool:
    """Whether digits or letters are being read out: two in a row at the end, or a number of more than two."""
    last = words[-1]
    if last.isdecimal() and len(last) > 2:  # "12" is an hour or a day.
        return True
    return len(words) > 1 and all(word in known.digits or _SPELT.fullmatch(word) for word in words[-2:])


def _is_time(words: list[str], known: TurnWords) -> bool:
    """Whether the digits at the end are a time of the day, to the minute."""
    return any(
        words[-length - 1] in known.before_times and _TIME.fullmatch(" ".join(words[-length:]))
        for length in (1, 2)
        if length < len(words)
    )
