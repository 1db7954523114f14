"""What a voice is: it speaks a sentence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from voice_agent.kit.clip import VoicedAudio


class VoiceFailed(Exception):
    """A voice could not say something. Raised by `Speech.text`; unhandled it ends the event as any error does."""

    def __init__(self, voice: str, kind: str, why: str) -> None:
        """`kind`: raised, no_part (it gave what is no audio) or silent (for too long)."""
        super().__init__(voice, kind, why)
        self.voice = voice
        self.kind = kind
        self.why = why

    def __str__(self) -> str:
        return f"The voice {self.voice!r} {self.why}."


@dataclass(frozen=True, slots=True)
class Utterance:
    """What is to be said, and how."""

    text: str
    voice: str
    """The name that the session asks for, ``alloy`` by default; a voice that does not know it takes its own."""
    speed: float = 1.0
    """1.0 is normal; 0.25 to 1.5."""
    seed: str = ""
    """The same whenever the same sentence of the same call is made, on every pod; of no other."""
    language: str = ""
    """Of the text, as ISO 639-1, where that is known; else ""."""


class Voice:
    """Text-to-speech. One serves all calls of a pod; every method but `say` has a default."""

    name: str = ""
    deterministic: bool = False
    """Whether the same `Utterance` always gives the same bytes: then speech goes on at the next sample on another pod.

    Of one that does not, what was being said is made anew and goes on with the next word.
    """
    lead_ms: int = 400
    """How far ahead of real time its audio may be sent, in milliseconds."""

    @property
    def is_loading(self) -> bool:
        """Whether it has yet to load what it speaks with. Until it has, that it says nothing is no fault."""
        return False

    async def open(self) -> None:
        """Load models, start workers. Called once, before the first call."""

    async def ready(self) -> None:
        """Wait until calls need not wait for it any more. Raises what keeps it from that: the server then leaves."""

    async def close(self) -> None:
        """Release what `open` acquired."""

    def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        """The audio of it, piece by piece, as it is made. Closed if it is not wanted any more."""
        raise NotImplementedError(f"{type(self).__name__} has no method say")
