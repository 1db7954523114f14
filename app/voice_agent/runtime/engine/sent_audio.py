"""Audio that is made again after its pod was lost: what of it was sent is compared, and not sent twice."""

from __future__ import annotations

from zlib import crc32

from voice_agent.call.alignment import alignment_of, said_to
from voice_agent.call.audio import AudioFormat
from voice_agent.call.response import Response


class SentAudio:
    """What was sent of the audio of the piece under way: as much of what comes again is compared with it."""

    def __init__(self, size_bytes: int, checksum: int) -> None:
        self.left_bytes = size_bytes
        """So much was not compared yet."""
        self._checksum = checksum
        self._checksum_again = 0

    def compare(self, audio: bytes) -> None:
        """More of it came again: at most `left_bytes`."""
        self._checksum_again = crc32(audio, self._checksum_again)
        self.left_bytes -= len(audio)

    @property
    def is_same(self) -> bool:
        """Whether what came is what was sent, once nothing is left."""
        return self._checksum_again == self._checksum


class PieceAgain:
    """The `audio_pacer.PassedAudio` of a speech: what of the audio of each of its pieces is new.

    Of the piece that was under way, as much as was sent is compared with its checksum. If both agree, audio goes on at
    the next sample. Else nothing is spliced: it is held until it is all there, and said from the word on that was not
    said to its end.
    """

    def __init__(self) -> None:
        self.held = bytearray()
        self.held_from: int | None = None
        self.differs = False
        """What came is not what was sent."""
        self._sent = SentAudio(0, 0)
        self._said_chars = 0
        self._is_past = False

    def expect_new(self) -> None:
        """What comes now was never sent."""
        self._sent, self._is_past, self.held_from = SentAudio(0, 0), False, None
        self.differs = False
        self.held.clear()

    def expect_past(self) -> None:
        """All that comes now was sent."""
        self.expect_new()
        self._is_past = True

    def expect_again(self, sent_bytes: int, checksum: int, said_chars: int) -> None:
        """What comes now says a piece of which so much was sent again; `said_chars` of it were said to their end."""
        self.expect_new()
        self._sent, self._said_chars = SentAudio(sent_bytes, checksum), said_chars

    def audio(self, audio: bytes) -> bytes:
        """What of `audio` is new, as far as that is known yet."""
        if self._is_past:
            return b""
        if self.held_from is not None:
            self.held += audio
            return b""
        sent = self._sent
        if not sent.left_bytes:
            return audio
        again, rest = audio[: sent.left_bytes], audio[sent.left_bytes :]
        sent.compare(again)
        self.held += again
        if sent.left_bytes:
            return b""
        if sent.is_same:
            self.held.clear()
            return rest
        self._hold()
        self.held += rest
        return b""

    def begin_piece(self) -> None:
        """What of a piece is new was said by one of the methods above."""

    def end_piece(self) -> None:
        """No more audio comes for what is said now; what is shorter than what was sent is another."""
        if self._sent.left_bytes and self.held:
            self._hold()

    def _hold(self) -> None:
        self.differs, self._sent.left_bytes = True, 0
        self.held_from = self._said_chars


def said_chars(response: Response, target: AudioFormat, speed: float = 1.0) -> int:
    """Of the last piece's text: where the first word begins that was not sent to its end."""
    piece = response.said.piece
    text = response.said.text[piece.text_from :]
    alignment = alignment_of(piece, text, target.ms(piece.made_bytes), speed=speed)
    return said_to(text, alignment, target.ms(response.said.audio_bytes - piece.audio_from))
