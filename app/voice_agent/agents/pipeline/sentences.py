"""Cutting text into what is said at once, while it still comes.

A piece ends where a sentence does, so that a voice knows how to say it. A long one ends sooner, behind a comma or a
word: the caller is not to wait for a voice that waits for a full stop. Where it is not sure that a sentence ends
(``Dr. Miller``, ``on the 3. of May``), none does: a piece that is too long sounds right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from voice_agent.agents.pipeline.continuation import whole_words

FIRST_CLAUSE_CHARS = 60
"""From here on the first piece may end behind a comma: about four seconds of speech, in which the rest is made."""
CLAUSE_CHARS = 180
"""From here on any other piece may."""
LONGEST_CHARS = 360
"""No piece is longer: stops a model that writes without end from having a voice make it all at once."""
LEAST_CHARS = 12
"""Of a sentence that is said by itself, but for the first: "Yes." and what follows are said in one breath."""
DAY_DIGITS = 2
"""A number so short may be a day, or stand in a list."""

_END = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’»)\]]*+(?=\s)|[。！？]+[”’」』）]*|\n")
_CLAUSE = re.compile(r"[,;:–—](?=\s)|[、，；]")
_WORD = re.compile(r"(\S+?)([.!?…]++)[\"'”’»)\]]*+$")
_NEVER = frozenset(
    "mr mrs ms dr prof sr jr st no nr vs approx ca fr hr bzw usw z.b d.h u.a e.g i.e cf fig tel str mme mlle av vol"
    "".split()
)
"""Behind these a full stop ends no sentence, or need not."""
_MAYBE = frozenset("a.m p.m etc inc ltd co corp usw ave blvd jan feb aug sept oct nov dec".split())
"""Behind these one does if the next word has a capital letter."""


class SentenceCutter:
    """One answer's. The pieces joined are the text, without blanks at its ends."""

    def __init__(self, *, is_first: bool = True) -> None:
        """`is_first`: nothing has been said of this answer."""
        self._is_first = is_first
        self._text = ""

    def feed(self, text: str) -> list[str]:
        """More of it: the pieces that are whole now."""
        self._text += text
        return list(self._cut())

    def end(self) -> list[str]:
        """That was all: what is left."""
        found = [*self._cut(), self._text]
        self._text = ""
        return [piece for piece in found if piece.strip()]

    @property
    def rest(self) -> str:
        """What is in no piece yet."""
        return self._text

    def drop_part_of_word(self) -> None:
        """What came last may be half a word: it is to come again."""
        self._text = whole_words(self._text)

    def _cut(self) -> Iterator[str]:
        if self._is_first:
            self._text = self._text.lstrip()
        at = 0
        while (end := self._end(at)) is not None:
            yield self._text[at:end]
            self._is_first = False
            at = end
        self._text = self._text[at:]

    def _end(self, begin: int) -> int | None:
        """Where the piece that begins there ends; None: not in what has come."""
        text = self._text[begin : begin + LONGEST_CHARS + 1]
        for found in _END.finditer(text):
            over = _behind_blanks(text, found.end())
            piece = text[:over]
            if not piece.strip() or (len(piece.strip()) < LEAST_CHARS and not self._is_first):
                continue
            if found[0] == "\n" or _is_end(piece.rstrip(), text[over : over + 1]):
                return begin + over
        least = FIRST_CLAUSE_CHARS if self._is_first else CLAUSE_CHARS
        if len(text) > least and (end := _last_clause(text, FIRST_CLAUSE_CHARS // 3)):
            return begin + end
        if len(text) > LONGEST_CHARS:
            return begin + (_last_word(text) or LONGEST_CHARS)
        return None


def _is_end(piece: str, following: str) -> bool:
    """Whether a sentence ends with this piece; `following`: the first letter behind, if it has come."""
    last = _WORD.match(piece.rsplit(maxsplit=1)[-1])
    if last is None or last[2] != ".":
        return True
    word = last[1].lstrip("\"'“‘«([").lower()
    if word in _NEVER or (len(word) == 1 and word.isalpha()) or (word.isdecimal() and len(word) <= DAY_DIGITS):
        return False
    return word not in _MAYBE or following.isupper()


def _behind_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _last_clause(text: str, least: int) -> int | None:
    """Where the last clause that is over ends, behind its blanks; None: there is none of that length."""
    end = max((found.end() for found in _CLAUSE.finditer(text)), default=0)
    return _behind_blanks(text, end) if end >= least else None


def _last_word(text: str) -> int | None:
    """Where the last word that is over ends, behind its blank."""
    blank = max((found.end() for found in re.finditer(r"\s", text[:LONGEST_CHARS])), default=0)
    return blank or None
