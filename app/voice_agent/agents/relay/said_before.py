"""What is new in a reply that goes on behind what was said, where it may begin with the end of that once more."""

from __future__ import annotations

SURE_WORDS = 3
"""So many words are not said twice by chance."""
MAX_WORDS = 1_000
"""Of what was said, that are compared."""


class WithoutSaid:
    """Of one reply."""

    def __init__(self, said: str) -> None:
        self._said = said.split()[-MAX_WORDS:]
        self._came = ""
        self._is_known = not self._said

    def feed(self, text: str) -> str:
        """More of it: what is new, and known to be."""
        if self._is_known:
            return text
        self._came += text
        words = self._came.split()
        whole = words if self._came[-1:].isspace() else words[:-1]
        for size in range(len(self._said), 0, -1):
            end = self._said[-size:]
            if len(whole) < size and end[: len(whole)] == whole:
                return ""
            if size >= SURE_WORDS and whole[:size] == end:
                self._is_known = True
                return " ".join(words[size:]) + self._came[len(self._came.rstrip()) :] if words[size:] else ""
        self._is_known = True
        return self._came

    def end(self) -> str:
        """That was all: what of it is new and was not given yet."""
        return self.feed(" ") if not self._is_known else ""
