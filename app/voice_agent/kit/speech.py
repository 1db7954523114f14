"""What an agent says, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from voice_agent.call.audio import AudioFormat


class SpeechInterrupted(Exception):
    """The caller spoke into the reply, or the client cancelled or truncated it.

    Raised at once in the handler, wherever it waits. Unhandled it ends the event. A handler that catches it may do
    anything but go on with the speech that was interrupted.
    """


class NoSpeech(Exception):
    """An agent gave what cannot be said, or nothing where something is due."""

    def __init__(self, agent: str, what: str) -> None:
        super().__init__(agent, what)
        self.agent = agent
        self.what = what

    def __str__(self) -> str:
        return f"The agent {self.agent!r} {self.what}."


@dataclass(frozen=True, slots=True)
class Spoken:
    """A piece of a speech that is durable: what one `Speech.text` or `Speech.audio` gave."""

    text: str
    samples: int
    """Of its audio, in the rate of the call's output format; 0 for what is only written."""
    is_complete: bool
    """False only of the last one: not all of its audio is durable yet."""


@dataclass(frozen=True, slots=True)
class Played:
    """How much of a speech the caller has heard."""

    text: str
    """Whole words."""
    ms: int
    cut_off: bool
    """It was interrupted, or truncated by the client."""


class Speech(Protocol):
    """What is being said under one key: a message item of the response.

    On a pod that takes the call over, it is begun again under its key. Then `said` holds what is durable, and what was
    left of a sentence that the call's voice was saying is said by itself, before anything that the agent adds. The
    agent may say everything from the start again: what is durable is passed over. Or it calls `continues()` and says
    the rest.
    """

    @property
    def said(self) -> Sequence[Spoken]:
        """What is durable of it."""

    def continues(self) -> None:
        """What is given from now on follows all that is in `said`, rather than beginning again at the start."""

    async def text(self, sentence: str) -> None:
        """Have the call's voice say it; returns once all of it is on its way. Only written where no audio is wanted.

        Raises `SpeechInterrupted`, and `ValueError` for text that is no Unicode.
        """

    def prepare(self, sentence: str) -> None:
        """A hint that the next `text` will be this sentence: the voice may begin to make it.

        Where one is prepared that is not said yet, it comes behind that: give them in the order in which they will be
        said, from any task, also while another one is being said. Nothing is said of it before `text`, which also
        raises what went wrong. Beyond two sentences, and once something else is said, it is forgotten.
        """

    async def audio(
        self,
        pcm: bytes,
        audio_format: AudioFormat,
        *,
        text: str = "",
        words: Sequence[Sequence[int]] = (),
        is_partial: bool = False,
    ) -> None:
        """Say audio that the agent has made, which says `text`; returns once all of it is on its way.

        `pcm`: a whole number of samples of `audio_format`. `words`: where words begin in it, as [milliseconds of this
        audio, characters of `text`], both ascending. Without text it says more of the text given last; `is_partial`:
        such audio may follow. Raises `SpeechInterrupted`, and `ValueError` for half a sample.
        """

    async def forget_unsaid(self) -> str:
        """Forget what was to be said and is not on its way, from the beginning of its word on. Returns what is left.

        For an agent that gives audio, and whose source is lost in the middle of what it gave last, be it on another
        pod. What is given from now on follows what is left, as after `continues()`: the same words, or others.
        """

    async def heard(self) -> Played:
        """Wait until the caller has heard it, or its end; how much that was."""
