"""What an upstream says, in pieces: some text, and the audio that says it.

An upstream sends text and audio as two streams. One that is *exact* (this server) sends each piece of text right before
its audio. Of any other it is only known that text runs ahead: a piece takes no more text than its audio can have said
at `FASTEST_CHARS_PER_S`, and what came too early begins the next piece. ::

    comes    "We " "are " audio "open" ". " "Come " audio audio audio "by." audio
    pieces   |We are            |open. Come                       |by.

A piece is *complete* once the next one begins: only of the last one it is not known whether more audio comes. So when
an upstream is lost, all pieces but that one are what it said; and that one is dropped if nothing of it was given yet.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from voice_agent.agents.pipeline.continuation import NewPart
from voice_agent.call.audio import AudioFormat

FASTEST_CHARS_PER_S = 30
"""Nobody speaks faster."""
SLICE_MS = 200
"""Of audio that is given at once: giving it takes as long as it plays, and meanwhile nothing else is seen to."""

PIECE_BYTES = 512
"""About what a piece takes in memory beside its audio: stops an upstream that sends a word with each sample."""


@dataclass(slots=True)
class ReplyPiece:
    """Text, and the audio that says it."""

    text: str
    audio: bytearray = field(default_factory=bytearray)
    """What was not given yet."""
    audio_bytes: int = 0
    """All that came."""
    is_complete: bool = False
    is_begun: bool = False
    """Something of it was given."""
    again: tuple[int, int] = (0, 0)
    """The audio says so many characters of so many that had been said before, and are not to be said again."""

    @property
    def least_ms(self) -> int:
        """So long its audio takes at least."""
        return len(self.text) * 1000 // FASTEST_CHARS_PER_S


@dataclass(frozen=True, slots=True)
class Given:
    """What is to be said next: `text` begins a piece; "": more audio of the one before."""

    text: str
    audio: bytes
    is_partial: bool
    """More audio of the piece may come."""


class PieceQueue:
    """What came of a reply and was not given to the call yet. Nothing here waits."""

    def __init__(self, audio_format: AudioFormat, *, is_written: bool = False) -> None:
        """`is_written`: no audio comes."""
        self.waiting_bytes = 0
        self.given_text = ""
        """What the reply has said so far, or will have once all pieces are given."""
        self._format = audio_format
        self._is_written = is_written
        self._is_exact = True
        self._pieces: deque[ReplyPiece] = deque()
        self._half_sample = b""
        """The beginning of a sample whose end has not come."""
        self._early = ""
        """Text whose piece has not begun."""
        self._early_again = 0
        """So many characters were taken off its beginning, for they had been said before."""
        self._new_part: NewPart | None = None
        """Looks for what is said again, until it is known where something new begins."""
        self._unsure: deque[ReplyPiece] = deque()
        """What came meanwhile."""
        self._again = ""
        """All text that came since then."""

    # --- what comes -------------------------------------------------------------

    def begin(self, said: str, *, is_exact: bool) -> None:
        """An upstream begins to speak behind `said`, and may say the end of that again."""
        self.given_text, self._is_exact = said, is_exact
        self._again, self._early, self._early_again, self._half_sample = "", "", 0, b""
        self._unsure.clear()
        self._new_part = NewPart(said) if said.strip() else None

    def add_text(self, text: str) -> None:
        """More text came."""
        if not text:
            return
        self._early += text
        if self._is_written:
            self._begin_piece(is_complete=True)
        elif self._is_exact:
            self.end_piece()
        if self._new_part is not None:
            self._again += text
            self._resolve(self._new_part.feed(text))

    def add_audio(self, audio: bytes) -> None:
        """More audio came."""
        if self._is_written:
            return
        audio = self._half_sample + audio
        whole = len(audio) - len(audio) % self._format.sample_bytes
        audio, self._half_sample = audio[:whole], audio[whole:]
        if not audio:
            return
        last = self._last
        if last is None or last.is_complete or (self._early and self._format.ms(last.audio_bytes) >= last.least_ms):
            self._begin_piece()
        piece = self._coming[-1]
        piece.audio += audio
        piece.audio_bytes += len(audio)
        self.waiting_bytes += len(audio)

    def end_piece(self) -> None:
        """No more audio comes for what has come."""
        if self._last is not None:
            self._last.is_complete = True

    def end(self) -> None:
        """That was all."""
        self.end_piece()
        if self._early:
            self._begin_piece(is_complete=True)
        if self._new_part is not None:
            self._resolve(self._new_part.end(), is_all=True)

    def lose(self) -> bool:
        """The upstream is gone. Whether something of its last piece was given, and the piece may have had more audio.

        Otherwise that piece is dropped, and the next upstream goes on behind `given_text`.
        """
        self._early = ""
        if self._new_part is not None:  # All that came may have been said before.
            self._new_part = None
            while self._unsure:
                self._forget(self._unsure.popleft())
            return False
        last = self._last
        if last is None or last.is_complete:
            return False
        self._pieces.pop()
        self._forget(last)
        if last.is_begun:
            return True
        self.given_text = self.given_text.removesuffix(last.text)
        return False

    # --- what is given ----------------------------------------------------------

    def take(self) -> Given | None:
        """What is to be said now; None: nothing yet."""
        while self._pieces:
            piece = self._pieces[0]
            if piece.again[0] and not self._cut(piece):
                return None
            if not piece.is_begun and (piece.audio or piece.is_complete):
                piece.is_begun = True
                return self._given(piece, piece.text)
            if piece.audio:
                return self._given(piece, "")
            if not piece.is_complete:
                return None
            self._pieces.popleft()
        return None

    @property
    def held_bytes(self) -> int:
        """About what all of that takes in memory."""
        return self.waiting_bytes + PIECE_BYTES * (len(self._pieces) + len(self._unsure))

    @property
    def is_stuck(self) -> bool:
        """Whether more must come before anything can be given: all of it may have been said before."""
        first = self._pieces[0] if self._pieces else None
        return self._new_part is not None or (first is not None and bool(first.again[0]) and not first.is_complete)

    @property
    def waiting_ms(self) -> int:
        """How long what came and was not given lasts."""
        return self._format.ms(self.waiting_bytes)

    @property
    def is_empty(self) -> bool:
        """Whether all that came was given."""
        return (
            not self._early and not self._unsure and all(piece.is_begun and not piece.audio for piece in self._pieces)
        )

    @property
    def is_at_boundary(self) -> bool:
        """Whether the piece that came last is complete: what is said next can come from elsewhere."""
        return not self._early and self._new_part is None and (self._last is None or self._last.is_complete)

    def _given(self, piece: ReplyPiece, text: str) -> Given:
        audio = bytes(piece.audio[: self._format.size(SLICE_MS)])
        del piece.audio[: len(audio)]
        self.waiting_bytes -= len(audio)
        return Given(text, audio, is_partial=bool(piece.audio) or not piece.is_complete)

    # --- pieces -----------------------------------------------------------------

    @property
    def _coming(self) -> deque[ReplyPiece]:
        """Where what comes is put."""
        return self._pieces if self._new_part is None else self._unsure

    @property
    def _last(self) -> ReplyPiece | None:
        return self._coming[-1] if self._coming else None

    def _begin_piece(self, *, is_complete: bool = False) -> None:
        self.end_piece()
        again = (self._early_again, self._early_again + len(self._early))
        self._coming.append(ReplyPiece(self._early, is_complete=is_complete, again=again))
        self._early_again = 0
        if self._new_part is None:
            self.given_text += self._early
        self._early = ""

    def _forget(self, piece: ReplyPiece) -> None:
        self.waiting_bytes -= len(piece.audio)
        piece.audio.clear()

    # --- what is said again -----------------------------------------------------

    def _resolve(self, new: str, *, is_all: bool = False) -> None:
        """What of all that came is new, once that is known."""
        if not new.strip() and not is_all:
            return
        pieces, self._unsure, self._new_part = self._unsure, deque(), None
        again = self._again.rfind(new.strip()) if new.strip() else len(self._again)
        while pieces and len(pieces[0].text) <= again:
            again -= len(pieces[0].text)
            self._forget(pieces.popleft())
        blank = new[: len(new) - len(new.lstrip())]
        if pieces:
            first = pieces[0]
            first.again = (again, len(first.text))
            first.text = blank + first.text[again:].lstrip()
        else:
            self._early_again = again
            self._early = blank + self._early[again:].lstrip()
        self._pieces += pieces
        self.given_text += "".join(piece.text for piece in pieces)

    def _cut(self, piece: ReplyPiece) -> bool:
        """Take off the audio of what was said before; False: not all of the piece's audio has come."""
        if not piece.is_complete:
            return False
        audio, (again, chars) = bytes(piece.audio), piece.again
        at = len(audio) * again // chars // self._format.sample_bytes * self._format.sample_bytes
        self._forget(piece)
        piece.again = (0, 0)
        piece.audio += audio[at:]
        self.waiting_bytes += len(audio) - at
        return True
