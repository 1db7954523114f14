"""Where a reply that is made again in other words goes on: as many sentences as had been begun are passed over.

What a sentence is, in any script, is guessed from where its text has full stops, question marks or line breaks.
"""

from __future__ import annotations

import re

_SENTENCE_END = re.compile(r"""[.?!…]["'”’)\]]*\s+|[。！？।؟۔]\s*|\n\s*""")
_BLANKS = re.compile(r"\s+")
_WORD = re.compile(r"\S{0,99}\s+|\S{100}")
"""The rest of one; scripts without blanks have no other end."""
LONGEST_SENTENCE = 400
"""Characters."""
MOST_CLOSING = 32
"""So many quotes and brackets may stand between a full stop and the blank behind it, which comes later."""


class PassedSentences:
    """Takes the text that comes again, until it is known where what is new begins."""

    def __init__(self, begun: str, again: str) -> None:
        """`begun`: what had been said, with the beginning of the word that was cut off. `again`: what came so far."""
        self.text = again
        """All that has come."""
        self._begun_chars = len(begun)
        self._begun_sentences = sum(map(bool, _SENTENCE_END.split(begun)))
        self._ended_sentences = self._ended_at = 0
        """Of `text`, and where the last of them ends: each is looked for once, however the text is cut."""
        self._count(0)

    def add(self, delta: str) -> int | None:
        """More text came: where in `text` what is new begins; None: it has not begun yet."""
        came = len(self.text)
        self.text += delta
        self._count(came)
        if self._ended_sentences == self._begun_sentences:
            return self._ended_at
        word = _WORD.match(self.text, self._begun_chars + LONGEST_SENTENCE)
        return word.end() if word else None

    def _count(self, came: int) -> None:
        """Find the ends of sentences behind the characters that had come before."""
        if self._ended_at == came and self._ended_sentences and (blanks := _BLANKS.match(self.text, came)):
            self._ended_at = blanks.end()  # They belong to the end that was found, and are no other.
        at = max(self._ended_at, came - MOST_CLOSING)
        while self._ended_sentences < self._begun_sentences and (end := _SENTENCE_END.search(self.text, at)):
            self._ended_sentences += 1
            self._ended_at = at = end.end()
