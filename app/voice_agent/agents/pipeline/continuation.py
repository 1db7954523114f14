"""What is new in an answer that a model was asked to go on with.

Asked for what is missing, a model may begin with what it has been told was said: all of it, its last sentence, or a
word or two. ::

    said     We are open from nine. Come by,
    comes    Come by, or call us.            new: or call us.
             or call us.                     new: or call us.
             We are open from nine. Come by, or call us.

Words are compared without case and punctuation. That a word stands there twice because it is to be said twice ("no,
no") cannot be told from the text: a repetition of fewer than `SURE_WORDS` is taken for one only if it is the same to
the letter, no number, and no word that was doubled before.
"""

from __future__ import annotations

import re

SURE_WORDS = 3
"""So many words are not said twice by chance."""
MAX_WORDS = 1_000
"""Of what was said, that are compared: seven minutes. Stops an answer without end from being compared without end."""
MAX_MARKS = 16
"""So many marks may stand before a word: stops a model that writes marks without end from being waited for."""
END_MARK = "<end>"
"""What a model is asked to write where nothing is missing; it is never said."""

_WIDE = "\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef"
"""Scripts without blanks: each letter counts as a word."""
_TOKEN = re.compile(rf"[{_WIDE}]|[^\s{_WIDE}]+")
_JOINS = frozenset(",.;:!?…)]}’”»%'")
"""What stands behind a word without a blank."""


class NewPart:
    """Of one answer that goes on behind `said`, which ends behind a whole word."""

    def __init__(self, said: str) -> None:
        self._said = said
        self._beginning: _Beginning | None = _Beginning(said) if said.strip() else None
        """None once it is known where the new part begins."""
        self._is_joined = self._beginning is None
        """Something new has come, or nothing was said before."""
        self._tail = ""
        """What may be the beginning of `END_MARK`."""

    def feed(self, text: str) -> str:
        """More of it: what is new, and known to be."""
        if self._beginning is not None:
            new = self._beginning.feed(text)
            if new is None:
                return ""
            self._beginning, text = None, new
        return self._joined(self._without_mark(text))

    def end(self) -> str:
        """That was all: what of it is new and was not given yet."""
        text = self._beginning.end() if self._beginning is not None else ""
        self._beginning = None
        text, self._tail = self._without_mark(text) + self._tail, ""
        return self._joined(text)

    def _without_mark(self, text: str) -> str:
        """`text` without the mark, whose beginning is kept back."""
        text, self._tail = (self._tail + text).replace(END_MARK, ""), ""
        for size in range(min(len(END_MARK) - 1, len(text)), 0, -1):
            if END_MARK.startswith(text[-size:]):
                self._tail = text[-size:]
                return text[:-size]
        return text

    def _joined(self, text: str) -> str:
        """`text` with the blank that parts it from what was said, if it is the first that is new."""
        if self._is_joined or not text.strip():
            return text if self._is_joined else ""
        self._is_joined = True
        text = text.lstrip()
        before, first = self._said[-1], text[0]
        is_parted = before.isspace() or first in _JOINS or bool(_TOKEN.fullmatch(before) and before >= _WIDE[0])
        return text if is_parted else " " + text


class _Beginning:
    """Compares what comes with the end of what was said."""

    def __init__(self, said: str) -> None:
        exact = [found[0] for found in _TOKEN.finditer(said)][-MAX_WORDS:]
        self._said = list(map(_plain, exact))
        self._exact = exact
        self._came: list[str] = []
        """Words that are whole."""
        self._text = ""
        """All that came."""
        self._read = 0
        """So much of it is in words that are whole."""
        self._candidates = list(range(len(exact)))
        """At which of the words said it may have begun again."""
        self._new_from = 0
        """Where the new part begins, as far as is known."""

    def feed(self, text: str) -> str | None:
        """More of it: what is new, or None while that is not known."""
        self._text += text
        tokens = list(_TOKEN.finditer(self._text, self._read))
        if not tokens:
            self._read = len(self._text)  # Blanks are looked at once.
        is_whole = self._text[-1:].isspace()
        for token in tokens if is_whole else tokens[:-1]:
            self._take(token)
        part = "" if is_whole or not tokens else tokens[-1][0]
        return None if self._may_grow(part) else self._new()

    def end(self) -> str:
        """That was all: what is new."""
        for token in list(_TOKEN.finditer(self._text, self._read)):
            self._take(token)
        return self._new()

    def _new(self) -> str:
        return self._text[self._new_from :]

    def _take(self, token: re.Match[str]) -> None:
        """One more word."""
        count, word, said = len(self._came), _plain(token[0]), self._said
        self._came.append(token[0])
        self._read = token.end()
        self._candidates = [at for at in self._candidates if at + count < len(said) and said[at + count] == word]
        if len(said) - count - 1 in self._candidates and self._is_repeated(count + 1):
            self._new_from = token.end()

    def _may_grow(self, part: str) -> bool:
        """Whether more words may turn out to be repeated; `part`: the beginning of the next."""
        count, beginning = len(self._came), _plain(part) if part else ""
        is_open = len(part) < MAX_MARKS and not any(map(str.isalnum, part))
        return any(
            is_open or self._said[at + count].startswith(beginning)
            for at in self._candidates
            if at + count < len(self._said)
        )

    def _is_repeated(self, count: int) -> bool:
        """Whether the last words said, with which what comes begins, are not meant twice."""
        if count >= SURE_WORDS:
            return True
        last = self._said[-count:]
        is_doubled = self._said[-2 * count : -count] == last
        return self._exact[-count:] == self._came[:count] and not is_doubled and not any(map(str.isdecimal, last))


def _plain(token: str) -> str:
    """A word without case and punctuation; of one that is nothing else, itself."""
    return "".join(filter(str.isalnum, token)).casefold() or token


def whole_words(text: str) -> str:
    """As much of a text that was cut anywhere as is whole words."""
    tokens = list(_TOKEN.finditer(text))
    return text if not tokens or text[-1].isspace() else text[: tokens[-1].start()]
