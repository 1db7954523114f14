"""The grammar of the light ear, as a pattern of the texts that it lets through, and as a source of such texts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

from voice_agent.speech.recognition import GRAMMARS

_MOST_WORDS = 14


@dataclass(frozen=True, slots=True)
class _Word:
    text: str


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str


@dataclass(frozen=True, slots=True)
class _Choice:
    """One of several sequences; `optional`: or nothing."""

    sequences: tuple[tuple[_Node, ...], ...]
    optional: bool = False


_Node = _Word | _Rule | _Choice


class Grammar:
    """JSGF without weights, tags and recursion, as ours is."""

    def __init__(self, source: str) -> None:
        """`source`: the file's text."""
        plain = re.sub(r"//.*", "", source)
        rules = re.findall(r"(?:public\s+)?<(\w+)>\s*=(.*?);", plain, re.DOTALL)
        self._rules = {name: _parsed(re.findall(r"<\w+>|[\[\]()|]|[\w']+", body)) for name, body in rules}
        self._pattern = re.compile(self._regex(_Rule("turn")))

    def matches(self, text: str) -> bool:
        """Whether `text` is in the grammar; punctuation does not count."""
        return bool(self._pattern.fullmatch("".join(f"{word} " for word in re.findall(r"[\w']+", text.lower()))))

    def sentence(self, chance: Random) -> str:
        """One of the grammar."""
        while True:
            said = self._said(_Rule("turn"), chance)
            if 2 <= len(said) <= _MOST_WORDS:
                return " ".join(said)

    def _regex(self, node: _Node) -> str:
        match node:
            case _Word(text="sil"):
                return ""
            case _Word(text=text):
                return f"{re.escape(text)} "
            case _Rule(name=name):
                return self._regex(self._rules[name])
            case _Choice(sequences=sequences, optional=optional):
                each = ("".join(map(self._regex, sequence)) for sequence in sequences)
                return f"(?:{'|'.join(each)}){'?' if optional else ''}"

    def _said(self, node: _Node, chance: Random) -> list[str]:
        match node:
            case _Word(text=text):
                return [] if text == "sil" else [text]
            case _Rule(name=name):
                return self._said(self._rules[name], chance)
            case _Choice(sequences=sequences, optional=optional):
                if optional and chance.random() < 0.5:
                    return []
                return [word for part in chance.choice(sequences) for word in self._said(part, chance)]


def frontdesk() -> Grammar:
    """Of the front desk's callers."""
    return Grammar((GRAMMARS / "frontdesk.jsgf").read_text())


def _parsed(tokens: list[str]) -> _Choice:
    """The choice that `tokens` begin with, up to its closing bracket; what was read is taken from them."""
    sequences: list[tuple[_Node, ...]] = []
    sequence: list[_Node] = []
    while tokens:
        token = tokens.pop(0)
        if token in ")]":
            break
        if token == "|":
            sequences.append(tuple(sequence))
            sequence = []
        elif token in "([":
            inner = _parsed(tokens)
            sequence.append(_Choice(inner.sequences, optional=token == "["))
        else:
            sequence.append(_Rule(token[1:-1]) if token.startswith("<") else _Word(token))
    return _Choice((*sequences, tuple(sequence)))
