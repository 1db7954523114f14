"""Texts of callers made plain: what an ear, a typist and a grammar write differently is one and the same.

::

    "Uh, next Tuesday at half past 3, p.m.!"  ->  "uh | next wd1 at half past 3 | pm |"
    "four seven double one", "4-7-1-1"        ->  "4 7 1 1"
    "the twenty-fifth of May"                 ->  "the 25th of mo5"

Words that sound like digits are left alone here: they are digits only where one is due (`order_number`, `time_heard`).
"""

from __future__ import annotations

import re

from voice_agent.agents.frontdesk.language import Language, folded

MAX_CHARS = 2_000
"""Of the end of a text that are read: two minutes of speech. Work does not grow with what is typed."""
NUMBER_DIGITS = 4
"""Of an order."""
MAX_RUN = 12
"""Words in which an order number is looked for at once."""

_DIGITS = re.compile(r"\d{1,9}\Z", re.ASCII)
_ORDINAL = re.compile(r"(\d)th\Z", re.ASCII)
_SPACED_DIGITS = re.compile(r"(?<![\d:.-])\d(?:[.,-] ?\d(?![\d:]))+(?!-)", re.ASCII)
_PAIRS = re.compile(r"(?<![\d:.-])(\d\d)-(\d\d)(?![\d-])", re.ASCII)


def plain(text: str, language: Language) -> str:
    """`text` as words parted by one blank each, for the patterns of its language."""
    text = folded(text[-MAX_CHARS:])
    for pattern, replacement in language.patterns.rewrites:
        text = pattern.sub(replacement, text)
    text = _SPACED_DIGITS.sub(lambda match: re.sub(r"[.,-] ?", " ", match[0]), text)
    text = _PAIRS.sub(r"\1 \2", text).replace("'", "")
    text = re.sub(r"(?<=[a-z])-(?=[a-z0-9])|(?<=\d)-(?=[a-z])", " ", text)
    text = re.sub(r"[.,;!?\u2026]+", " | ", text)
    text = re.sub(r"[^a-z0-9:|-]+", " ", text)
    words = " ".join(_numeric(text.split(), language))
    for pattern, replacement in language.patterns.misheard:
        words = pattern.sub(replacement, words)
    return " ".join(words.split())


def _numeric(words: list[str], language: Language) -> list[str]:
    """Words with figures in place of number words, and `Words.plain` in place of others."""
    known, roles = language.words.plain, language.words.roles
    out: list[str] = []
    tens = False
    times = 1
    for word in words:
        value = known.get(word, word)
        if word in roles["double"] or word in roles["triple"]:
            times = 2 if word in roles["double"] else 3
            out.append(word)
            continue
        if tens and re.fullmatch(r"[1-9](th)?", value):
            ordinal = _ORDINAL.match(value)
            out[-1] = str(int(out[-1]) + int(value[0])) + ("th" if ordinal else "")
        elif times > 1 and re.fullmatch(r"\d", value):
            out[-1:] = [value] * times
        else:
            out.append(value)
        # Written figures ("20 5") are not added: only words are.
        tens = word != value and value in _TENS
        times = 1
    return _thousands(_zeros(out, language), language)


_TENS = frozenset("20 30 40 50 60 70 80 90".split())


def _zeros(words: list[str], language: Language) -> list[str]:
    """Digits for words that are a zero beside other digits: "eight oh eight"."""
    zero = language.words.roles["zero"]
    out = list(words)
    for at, word in enumerate(words):
        if word in zero:
            before = at > 0 and _DIGITS.match(out[at - 1])
            after = words[at + 1 : at + 3]
            follows = len(after) == 2 and all(_DIGITS.match(each) or each in zero for each in after)
            if before or follows:
                out[at] = "0"
    return out


def _thousands(words: list[str], language: Language) -> list[str]:
    """One number for "4 thousand 7 hundred 11"."""
    hundred, thousand = language.words.roles["hundred"], language.words.roles["thousand"]
    out: list[str] = []
    for at, word in enumerate(words):
        factor = 1000 if word in thousand else 100 if word in hundred else 0
        if factor and out and _DIGITS.match(out[-1]) and len(out[-1]) <= 2:
            ahead = words[at + 1 : at + 2]
            total = int(out[-1]) * factor
            if len(out) > 1 and out[-2].endswith("000") and factor == 100:
                total += int(out[-2])
                out.pop()
            out[-1] = str(total)
            if ahead and _DIGITS.match(ahead[0]) and _ends_number(words, at + 1, hundred):
                out[-1] = f"{total}+"
        elif out and out[-1].endswith("+"):
            out[-1] = str(int(out[-1][:-1]) + int(word))
        else:
            out.append(word)
    return [word.rstrip("+") if word.endswith("+") else word for word in out]


def _ends_number(words: list[str], at: int, hundred: frozenset[str]) -> bool:
    """Whether the number there is what remains of the thousands, and counts no hundreds itself."""
    return len(words[at]) <= 2 and not (len(words) > at + 1 and words[at + 1] in hundred)


def order_number(text: str, language: Language, *, is_due: bool) -> str | None:
    """The digits of an order number in a plain text; of another length than `NUMBER_DIGITS` only where one is due.

    Where one is due, words that sound like digits fill it up: "order for 7 1 1" is 4711.
    """
    words = text.split()
    best: str | None = None
    for start, end in _runs(words, language):
        run = words[start:end]
        digits = "".join(word for word in run if _DIGITS.match(word))
        if not digits:
            continue
        if not is_due:
            singles = all(len(word) == 1 for word in run if _DIGITS.match(word))
            if len(digits) >= NUMBER_DIGITS and (singles or any(len(word) >= NUMBER_DIGITS for word in run)):
                best = best or _only_digits(run)
            continue
        found = _filled_up(run, language) if len(digits) < NUMBER_DIGITS else digits
        if best is None or len(found) == NUMBER_DIGITS != len(best):
            best = found
    return best


def _only_digits(run: list[str]) -> str:
    return "".join(word for word in run if _DIGITS.match(word))


def _runs(words: list[str], language: Language) -> list[tuple[int, int]]:
    """Where digits, and words that sound like them, stand together."""
    found, start = [], None
    for at, word in enumerate([*words, ""]):
        joined = _DIGITS.match(word) or word in language.words.homophones or (word == "|" and start is not None)
        if joined and start is None:
            start = at
        elif not joined and start is not None:
            found.append((start, at))
            start = None
    return found


def _filled_up(run: list[str], language: Language) -> str:
    """The digits of a run, with words that sound like digits if they then are as many as an order number has."""
    sounds = [word if _DIGITS.match(word) else language.words.homophones.get(word, "") for word in run[:MAX_RUN]]
    certain = [bool(_DIGITS.match(word)) for word in run[:MAX_RUN]]
    first, last = certain.index(True), len(certain) - 1 - certain[::-1].index(True)
    inner = "".join(sounds[first : last + 1])
    before = [sound for sound in sounds[:first] if sound]
    after = [sound for sound in sounds[last + 1 :] if sound]
    missing = NUMBER_DIGITS - len(inner)
    if missing > 0 and len(before) >= missing:
        return "".join(before[len(before) - missing :]) + inner
    if missing > 0 and len(before) + len(after) >= missing:
        return "".join(before) + inner + "".join(after[: missing - len(before)])
    if missing <= 0 and len(inner) == NUMBER_DIGITS:
        return inner
    return "".join(word for word in run if _DIGITS.match(word))


def time_heard(text: str, language: Language) -> str:
    """`text` with digits for words that sound like them where a time is due: "make it for" is "make it 4"."""
    return language.patterns.heard_time.sub(
        lambda match: match["before"] + language.words.homophones[match["word"]], text
    )
