"""Names as they are said and spelt: "Smith", "S-M-I-T-H", "M as in Mike, I, K, E", "double L"."""

from __future__ import annotations

import re

from voice_agent.agents.frontdesk.language import Language, folded

MAX_CHARS = 60
MAX_WORDS = 4
FEWEST_LETTERS = 3
"""In a row, for them to be a name that is spelt; two are initials."""

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")


def name_in(text: str, language: Language) -> str | None:
    """The name in what was said in answer to "what is your name?"; None: there is none in it."""
    words = _WORD.findall(text.lower().replace(".", " "))[:60]
    spelt = _spelt(words, language)
    if spelt:
        return spelt.capitalize()[:MAX_CHARS]
    said = " ".join(words)
    match = language.patterns.name_before.search(folded(said).replace("'", "") + " ")
    if match is not None:
        words = words[len(match[0].split()) :]
    if not 0 < len(words) <= MAX_WORDS:
        return None
    return " ".join(word.capitalize() for word in words)[:MAX_CHARS]


def _spelt(words: list[str], language: Language) -> str:
    """The longest row of letters; "" if it is too short for a name."""
    best = current = ""
    at = 0
    while at < len(words):
        letters, taken = _letters(words, at, language)
        current = current + letters if letters else ""
        best = max(best, current, key=len)
        at += taken
    return best if len(best) >= FEWEST_LETTERS else ""


def _letters(words: list[str], at: int, language: Language) -> tuple[str, int]:
    """What is spelt at a word, and how many words that takes."""
    word, roles = words[at], language.words.roles
    ahead = words[at + 1] if at + 1 < len(words) else ""
    if f"{word} {ahead}" in language.words.letters:
        return language.words.letters[f"{word} {ahead}"], 2
    if folded(word) in roles["double"] and len(ahead) == 1:
        return ahead * 2, 2
    if len(word) == 1:
        following = " ".join(words[at + 1 : at + 4])
        match = re.match(rf"(?:{language.words.as_in}) (\w+)", folded(following))
        if match is not None and match[1].startswith(folded(word)[0]):
            return word, 1 + len(match[0].split())
        return word, 1
    return language.words.letters.get(folded(word), ""), 1
