"""A piece of a reply as its agent makes it: text, then the audio that says it (see `call.alignment`).

The call is told of a piece with the audio that is sent: how much is made, and the words that it does not know yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from voice_agent.call.alignment import Alignment, said_at_ms
from voice_agent.call.audio import AudioFormat
from voice_agent.call.inputs import ResponseAudio


def checked_words(words: Sequence[Sequence[int]], duration_ms: int) -> Alignment:
    """Where words begin in audio of a duration. Raises `TypeError` or `ValueError` if that cannot be."""
    found = [[int(ms), int(chars)] for ms, chars in words]
    if any(after[0] < before[0] or after[1] < before[1] for before, after in pairwise([[0, 0], *found])):
        raise ValueError("words do not ascend")
    if found and found[-1][0] > duration_ms:
        raise ValueError("a word begins beyond the audio")
    return found


class SpokenPiece:
    """The piece whose text was begun last. Audio is counted in bytes of the client's format."""

    def __init__(self, target: AudioFormat, *, chars: int = 0, made_bytes: int = 0) -> None:
        self.chars = chars
        """Of its text."""
        self.made_bytes = made_bytes
        """Of its audio, as far as it is to be sent."""
        self.is_said = made_bytes > 0
        """Whether audio came for the text, be it all dropped."""
        self.from_chars: int | None = 0
        """The character that the next audio begins with; None once the first audio of the piece was sent."""
        self.is_partial = False
        """Whether more of its audio is being made, and that is known."""
        self._target = target
        self._words: Alignment = []
        self._words_told = 0
        """So many of them the call knows."""
        self._is_told = True
        """Whether the call knows of audio and words."""

    def add(self, duration_ms: int, words: Sequence[Sequence[int]], *, is_heard: bool) -> None:
        """So much more audio was made; `words` count from its beginning, and none is beyond the text."""
        made_ms = self._target.ms(self.made_bytes)
        self._words += [[made_ms + ms, min(chars, self.chars)] for ms, chars in words]
        self.made_bytes += self._target.size(duration_ms)
        self.is_said = self.is_said or is_heard
        self._is_told = False

    def cut(self, from_chars: int, size_bytes: int) -> int:
        """What says the text from a character on is all that is to be sent of its audio, which has so many bytes.

        Returns where that begins. How much it is, is the caller's to say.
        """
        alignment = [[0, 0], *self._words, [self._target.ms(size_bytes), self.chars]]
        at_ms = said_at_ms(alignment, from_chars)
        self._words = [[ms - at_ms, chars - from_chars] for ms, chars in self._words if chars > from_chars]
        self._words_told = 0
        self._is_told, self.from_chars = False, from_chars
        return self._target.size(at_ms)

    def part(self, response_id: str, audio: bytes) -> ResponseAudio:
        """A chunk of its audio, with what the call does not know yet."""
        if self._is_told:
            return ResponseAudio(response_id, audio)
        new_from, self._words_told, self._is_told = self._words_told, len(self._words), True
        return ResponseAudio(response_id, audio, self.made_bytes, self._words[new_from:], new_from, self.is_partial)

    def complete(self) -> bool:
        """All of its audio is made; whether the call took it for one of which more comes."""
        was_partial, self.is_partial = self.is_partial, False
        self._is_told = self._is_told and not was_partial
        return was_partial
