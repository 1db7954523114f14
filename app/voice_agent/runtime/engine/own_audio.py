"""What an agent gives of its own audio in one speech, and what of its text is to be said in another way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class OwnAudio:
    """Of one speech, on this pod."""

    durable: Sequence[str] = ()
    """The texts of those pieces that another pod has said so."""
    ends_speech: bool = False
    """Whether the last of all pieces of that pod is such a one."""
    begun: int = 0
    """Pieces, on this pod."""
    is_open: bool = False
    """The piece that was begun last is such a one: audio without a text says more of it."""
    is_partial: bool = False
    """And more was to come."""
    unsaid: str = ""
    """Text that stands there, and whose audio was forgotten: it is to be given again, or other text in its place."""

    def is_other(self, text: str) -> bool:
        """Whether `text` is other text than what is unsaid."""
        unsaid, given = self.unsaid.strip(), text.strip()
        return bool(unsaid and given) and not (given.startswith(unsaid) or unsaid.startswith(given))

    def new_text(self, text: str) -> str:
        """What of `text`, which is not other, does not stand there already."""
        unsaid, given = self.unsaid.lstrip(), text.lstrip()
        if not unsaid or not given:
            return text if not unsaid else ""
        self.unsaid = unsaid[len(given) :]
        return given[len(unsaid) :]
