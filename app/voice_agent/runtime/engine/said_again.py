"""Text of a speech that an agent gives again on another pod, compared with what is durable of it.

As long as both are the same, what is durable is passed over. Other text is never joined to it: as many sentences are
passed over as are durable, and it goes on with the next (`passed_sentences`).
"""

from __future__ import annotations

from voice_agent.runtime.engine.passed_sentences import PassedSentences


class SaidAgain:
    """One speech's. How the text is cut into pieces makes no difference."""

    def __init__(self, durable: str) -> None:
        self.differs = False
        """What came is not what is durable."""
        self._durable = durable
        self._at = 0
        """So much of it came again."""
        self._passed: PassedSentences | None = None
        """Exists while other text is passed over."""

    @property
    def is_complete(self) -> bool:
        """Whether all that is durable has come again, or as much other text as it has sentences."""
        return self._at >= len(self._durable)

    def new_part(self, text: str) -> str:
        """What of `text`, which comes next, is new."""
        if self._passed is None:
            known = self._durable[self._at : self._at + len(text)]
            if text.startswith(known):
                self._at += len(known)
                return text[len(known) :]
            self.differs = True
            self._passed = PassedSentences(self._durable, self._durable[: self._at])
        came = len(self._passed.text)
        new_from = self._passed.add(text)
        if new_from is None:
            return ""
        self._passed, self._at = None, len(self._durable)
        return text[max(0, new_from - came) :]
