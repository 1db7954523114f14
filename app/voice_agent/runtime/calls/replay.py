"""A reply that is made again after its pod was lost: what of it is durable already is compared, and not said twice.

The record has all the text that was sent, and of the last piece (text, and the audio that says it) how much audio was
sent, with its checksum. The agent begins again at the start::

    durable    text  |Hello. |We are open from |            audio |hello|we are op|
    again      text  |Hello. |We are open from |nine. |     audio |hello|we are open from|…
                     same     same               new              past  same      new

As long as both agree, audio goes on at the next sample. Where they do not, nothing is spliced:

- Other *audio* for the piece under way (a voice that never speaks twice alike, or text and audio in other pieces): it
  is held until it is all there, and said from the word on that was not said to its end.
- Other *text*: as many sentences as were begun are passed over, and the reply goes on with the next. Where no
  sentence of it seems to end, it goes on some hundred characters behind what had been said (`passed_sentences`).
"""

from __future__ import annotations

from voice_agent.call.audio import AudioFormat
from voice_agent.call.response import Response
from voice_agent.runtime.engine.passed_sentences import PassedSentences
from voice_agent.runtime.engine.sent_audio import SentAudio, said_chars


class Replay:
    """Tells of what an agent yields what is new."""

    def __init__(self, response: Response, target: AudioFormat, *, replays: bool, speaks: bool) -> None:
        """`replays`: the agent begins at the start; one that does not goes on by itself, and all it yields is new.

        `speaks`: what it says is heard, so that text without audio has not been said yet.
        """
        piece = response.said.piece
        self._durable = response.said.text if replays else ""
        self._at = 0
        """So much of the text came again; less than all of it only while it is the same."""
        self._is_open = replays and response.open_item.item_id is not None
        self._last_from = piece.text_from if self._is_open else len(self._durable)
        """Where the text of the last piece begins."""
        sent_bytes = response.said.audio_bytes - piece.audio_from if self._is_open else 0
        self._sent = SentAudio(sent_bytes, response.said.checksum)
        self.said_to = self._last_from + said_chars(response, target)
        """Where, in all of the text, the first word begins that was not sent to its end."""
        if sent_bytes:
            self._begun = self._durable[: self.said_to + 1]
        else:
            self._begun = self._durable[: self._last_from] if speaks else self._durable
        """What had been said, with the beginning of the word that was cut off."""
        self._uncalled = response.functions_called if replays else 0
        self._is_beyond = not replays or not response.output_ids
        """Something came that is neither durable nor audio."""
        self._passed: PassedSentences | None = None
        """Exists while other text is passed over."""
        self._piece_from = 0
        """Where the text of what is said now begins in all that came."""
        self._came = 0
        self.held = bytearray()
        """The audio of what is said now, as long as it is not known what of it is new."""
        self.held_from: int | None = None
        """The character of what is said now at which it begins to be new."""
        self.differs = ""
        """In what it was found to differ: "text" or "audio"."""

    # --- text ----------------------------------------------------------------

    def begin_piece(self) -> None:
        """Text comes after audio: other audio will say it."""
        self._piece_from = self._came
        left = self.said_to - self._piece_from
        self.held_from = left if self.differs == "audio" and left > 0 else None

    def text(self, delta: str) -> str:
        """What of `delta` is new."""
        self._came += len(delta)
        if self._passed is not None:
            return self._pass_over(self._passed, delta)
        known = self._durable[self._at : self._at + len(delta)]
        if delta.startswith(known):
            self._at += len(known)
            self._is_beyond = self._is_beyond or len(delta) > len(known)
            return delta[len(known) :]
        self._differ("text")
        self._passed = PassedSentences(self._begun, self._durable[: self._at])
        return self._pass_over(self._passed, delta)

    def _pass_over(self, sentences: PassedSentences, delta: str) -> str:
        """Nothing, up to the sentence behind those that were said, if only in part; then all of that sentence.

        Its beginning may have come before as part of what was the same: that was written, and never said.
        """
        passed_to = sentences.add(delta)
        if passed_to is None:
            return ""
        self._passed, self._is_beyond, self._at = None, True, len(self._durable)
        new_from = max(passed_to, self._piece_from)  # What was said in a piece of its own was let out with it.
        self.held_from = new_from - self._piece_from
        return sentences.text[new_from:]

    def _differ(self, what: str) -> None:
        self.differs = what
        self._sent.left_bytes = 0

    # --- audio ---------------------------------------------------------------

    def audio(self, audio: bytes) -> bytes:
        """What of `audio` is new, as far as that is known yet."""
        if self.held_from is not None:
            self.held += audio
            return b""
        if self._passed is not None or self._is_past:
            return b""
        if not self.differs and self._piece_from < self._last_from < len(self._durable):
            # It begins in front of the piece that is durable: there is nothing to compare its beginning with.
            self._hold()
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

    def end_piece(self) -> None:
        """No more audio comes for what is said now."""
        if self._sent.left_bytes and self.held:
            self._hold()

    def _hold(self) -> None:
        self._differ("audio")
        self.held_from = self.said_to - self._piece_from

    def begins_at(self, from_chars: int) -> int | None:
        """Where in the durable text a character of what is said now is; None: behind it, or in a text of its own."""
        at = self._piece_from + from_chars
        return at if self._is_open and self.differs != "text" and at < len(self._durable) else None

    @property
    def _is_past(self) -> bool:
        """Whether all of the audio that comes now is durable."""
        if self._uncalled:
            return True
        if not self._is_open:
            return not self._is_beyond
        return self._at <= self._last_from < len(self._durable)

    # --- the rest ------------------------------------------------------------

    def is_new_call(self) -> bool:
        """A function is called: whether that is not durable yet."""
        self._is_beyond = True  # What comes in front of the last one that is durable is past all the same.
        if self._uncalled:
            self._uncalled -= 1
            return False
        return True

    def end(self) -> None:
        """The reply is over; one that is shorter than what is durable of it is another."""
        if self._at < len(self._durable):
            self._differ("text")
