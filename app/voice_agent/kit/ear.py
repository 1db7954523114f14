"""What an ear is: it understands speech.

There are two kinds. One takes an utterance whole (`transcribe`), and is asked in a pause that may end it. One takes it
while it is said (`listen`), and may tell what it has understood so far.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from voice_agent.kit.clip import Clip


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was understood. `text` None: it is not known what was said; "": nothing was said."""

    text: str | None
    is_final: bool = True
    """False: of what was said so far; more may change it."""
    certain: bool = True
    """False: the ear doubts it. An agent that acts on what was said asks before it does."""
    alternatives: Sequence[str] = ()
    """What else it may have been, likeliest first; 3 are kept, 1 000 characters of each.

    Where it doubts the text, other opinions: agents may take for certain what all of them mean, so an ear that has none
    says that it may have been "", nothing. Of what is certain, less likely readings of it, which may say more.
    """


class Ear:
    """Speech-to-text. One serves all calls of a pod; every method has a default."""

    name: str = ""
    streams: bool = False
    """Whether `listen` is asked, while the caller speaks, and not `transcribe` at the end."""
    stops_soon: bool = False
    """Whether `transcribe` costs little where it is cancelled at once: then it is asked in shorter pauses, too."""

    async def open(self) -> None:
        """Load models, start workers. Called once, before the first call."""

    async def ready(self) -> None:
        """Wait until calls need not wait for it any more. Raises what keeps it from that: the server then leaves."""

    async def close(self) -> None:
        """Release what `open` acquired."""

    async def transcribe(self, clip: Clip) -> Transcript | str | None:
        """What was said; None when it is not known, "" when there was no speech in it. Cancelled if unwanted.

        Text alone is certain.
        """
        return None

    async def listen(self, frames: AsyncIterator[Clip]) -> AsyncIterator[Transcript]:
        """What is understood of one utterance, as it comes; the last one is final. Closed if unwanted.

        `frames` ends with the utterance. By default all of it is collected and transcribed.
        """
        audio, last = bytearray(), None
        async for last in frames:
            audio += last.audio
        found = None if last is None else await self.transcribe(replace(last, audio=bytes(audio)))
        yield found if isinstance(found, Transcript) else Transcript(found)


class AgentEar(Ear):
    """Of an agent that understands its callers itself, and says so with `Call.transcribed`.

    It is not asked, and a turn does not count as not understood before the agent has said so.
    """

    name = "agent"
