"""The input audio buffer itself; `input_audio` has its rules."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Onset:
    """Where an utterance began to be certain, and what endpointing knew of the noise there.

    With that and the audio around it another pod hears the rest of the utterance as this one does. Positions are bytes
    of input audio.
    """

    known_at: int
    heard_from: int
    """From where on the model that tells speech apart has heard it; `known_at` without a model."""
    noise: tuple[int, int, int]
    """See `speech.voice_activity.VoiceActivity.noise`."""


@dataclass(slots=True)
class InputAudioBuffer:
    """The input audio buffer, in bytes of the input format.

    `position` counts all audio ever appended in this format; `audio` is its tail that
    is not committed yet. While the caller is silent under voice activity detection the
    tail is only the padding that a coming utterance will need.
    """

    audio: bytearray = field(default_factory=bytearray)
    position: int = 0
    base_ms: int = 0
    """Milliseconds heard in earlier formats."""
    item_id: str | None = None
    """Id that the buffer's item will get; allotted when its first audio becomes durable."""
    speaking: bool = False
    saved: int = 0
    """How many bytes of `audio` have been handed to a write."""
    first_n: int = 0
    """Number of the buffer's first speech entry; 0 when it has none."""
    onset: Onset | None = None
    """Of the utterance that is being said, if endpointing has told of one."""

    @property
    def start(self) -> int:
        """Position of the buffer's first byte."""
        return self.position - len(self.audio)

    def parted(self, position: int) -> tuple[bytes, bytes]:
        """The audio before a position and behind it."""
        at = position - self.start
        return bytes(self.audio[:at]), bytes(self.audio[at:])

    @property
    def durable_position(self) -> int:
        """Everything before this is either stored or dealt with."""
        return self.start + self.saved
