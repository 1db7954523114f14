"""Whether two ears wrote the same words, each in its own way: "At 9.15, please" and "at nine fifteen"."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

NEAR = 0.6
"""How much of two texts is the same where one is the other, heard badly."""
_UNITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen".split()
_UNITS += "seventeen eighteen nineteen".split()
_TENS = dict(zip("twenty thirty forty fifty sixty seventy eighty ninety".split(), range(20, 100, 10), strict=True))
_ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth".split()
)
_ORDINALS += "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth".split()
_NUMBERS = {word: number for number, word in enumerate(_UNITS)} | _TENS | {"oh": 0, "o": 0, "thirtieth": 30}
_NUMBERS |= {word: number for number, word in enumerate(_ORDINALS, 1)}
_SOUND_ALIKE = {
    "for": "4",
    "to": "2",
    "too": "2",
    "won": "1",
    "ate": "8",
    "tree": "3",
    "wear": "where",
    "their": "there",
}
_WEEKDAY = re.compile(r"(mon|tues|wednes|thurs|fri|satur|sun)day|(mon|diens|donners|frei|sams|sonn)tag|mittwoch")
_SAID_OR_NOT = frozenset("a an the of and please hi hello oclock".split())
_SPOKEN_MARKS = {"a.m.": "am", "p.m.": "pm", "o'clock": ""}


def same_words(one: str, other: str) -> bool:
    """Whether they differ in spelling only."""
    return _written(one) == _written(other)


def same_sound(one: str, other: str) -> bool:
    """Whether they are `same_words`, or would be if words that sound alike were one."""
    return _written(one, sounds=True) == _written(other, sounds=True)


def near_sound(one: str, other: str) -> bool:
    """Whether one may be the other, heard badly: most letters are the same, and no digit stands for another."""
    texts = _written(one, sounds=True), _written(other, sounds=True)
    digits = [re.sub(r"\D", "", text) for text in texts]
    if len(digits[0]) == len(digits[1]) and digits[0] != digits[1]:
        return False
    spelled = ("".join(filter(str.isalnum, one.lower())), "".join(filter(str.isalnum, other.lower())))
    return any(SequenceMatcher(None, a, b, autojunk=False).ratio() >= NEAR for a, b in (texts, spelled))


def has_number(text: str) -> bool:
    """Whether there is a number in it, or a word that may be one."""
    return any(
        word[0].isdecimal() or word in _NUMBERS or word in _SOUND_ALIKE for word in re.findall(r"\w+", text.lower())
    )


def names_day_or_number(text: str) -> bool:
    """Whether a weekday or a number is named, of which another one would sound as likely; of English and German."""
    words = re.findall(r"\w+", text.lower())
    return any(word[0].isdecimal() or _NUMBERS.get(word) or _WEEKDAY.fullmatch(word) for word in words)


def _written(text: str, *, sounds: bool = False) -> str:
    """Letters and digits alone, numbers in digits."""
    for mark, plain in _SPOKEN_MARKS.items():
        text = text.lower().replace(mark, plain)
    found: list[str] = []
    tens = 0
    for word in re.findall(r"[^\W_]+", text.replace("'", "")):
        if (number := _NUMBERS.get(word)) is not None and tens and 0 < number < 10:
            found[-1] = str(tens + number)
            tens = 0
            continue
        tens = _TENS.get(word, 0)
        if number is not None:
            found.append(str(number))
        elif word not in _SAID_OR_NOT:
            plain = re.sub(r"^(\d+)(?:st|nd|rd|th)$", r"\1", word)
            found.append(_SOUND_ALIKE.get(plain, plain) if sounds else plain)
    return "".join(found)
