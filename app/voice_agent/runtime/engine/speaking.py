"""`kit.Speech` of a live call: what is said under one key, and what is left of it when another pod has begun it.

::

    durable    pieces  |Hello. |We are open from nine. |          audio sent  |hello|we are op|
    entering           the voice says "We are open from nine." again, and goes on at the next sample or word
    again      text    |Hello. |We are open from nine. |Come by. |
                        passed over                      new

Which audio of a piece is new, says `sent_audio`; which text, `said_again`.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from voice_agent.call.agent_ledger import ActKind, ActStatus, AgentAct, pieces_of, played
from voice_agent.call.audio import AudioFormat
from voice_agent.call.inputs import ResponseDiverged, ResponseText, SpeechBegun, SpeechEnded
from voice_agent.call.response import Response
from voice_agent.call.response_items import settings_of
from voice_agent.kit.speech import Played, SpeechInterrupted, Spoken
from voice_agent.runtime.engine.handling import Handling
from voice_agent.runtime.engine.own_audio import OwnAudio
from voice_agent.runtime.engine.said_again import SaidAgain
from voice_agent.runtime.engine.speech_voice import SpeechVoice
from voice_agent.runtime.engine.spoken_piece import checked_words
from voice_agent.runtime.engine.work import AgentWork

ROUNDING_MS = 20
"""By so much the alignment of an item that was heard to its end may end before its audio."""


class SpeechRun:
    """The `kit.Speech` of one key, and the context in which it is said."""

    def __init__(self, work: AgentWork, view: object, key: str, *, interruptible: bool) -> None:
        self._work = work
        self._view = view
        self._key = key
        self._interruptible = interruptible
        self._continues = False
        self._handling: Handling
        self._act: AgentAct
        self._voice: SpeechVoice
        self._own = OwnAudio()
        self._again = SaidAgain("")
        self._was_cut = False
        """It was interrupted on another pod, and the handler has not come to where."""

    # --- entering and leaving ---------------------------------------------------

    async def __aenter__(self) -> Self:
        work = self._work
        handling = self._handling = work.handling_of(self._view)
        if handling.speech is not None:
            raise RuntimeError(f"{self._key!r} was begun within another speech; one is said at a time.")
        self._key, known = handling.begin(self._key, ActKind.SPEAK)
        self._voice = SpeechVoice(work, handling, self._key)
        work.feed(SpeechBegun(handling.number, self._key, self._interruptible))
        self._act = handling.act(self._key)
        if known is not None and known.status is ActStatus.INTERRUPTED:
            # Its handler comes as far as it came on the pod before: up to the words that the caller did not hear.
            self._again = SaidAgain("".join(piece.text for piece in self.said))
            self._was_cut = not self._again.is_complete
        self._check()
        handling.speech = self
        self._take_up()
        try:
            with work.waiting():
                await work.wait_for_capacity()
        except BaseException:
            handling.speech = None
            handling.drop_unsaid()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        work = self._work
        self._handling.speech = None
        self._handling.drop_prepared()
        if error is not None:
            self._handling.drop_unsaid()
        if self._was_cut and error is None:
            raise SpeechInterrupted
        if self._act.status is not ActStatus.BEGUN or not work.is_current(self._view):
            return  # On a pod that takes it over it goes on.
        if error is not None:
            # The agent may go on with something else: what was not sent is not said, and does not count as said.
            work.drop_audio()
            work.feed(SpeechEnded(self._handling.number, self._key, is_complete=False))
            return
        if not self._continues and not self._again.is_complete:
            work.tell_divergence("text")
        with work.waiting():
            await self._handling.rest_is_said()
            self._drop_unsaid()
            if settings_of(work.call).wants_audio:
                await work.pacing(self._response).pacer.finish()
            work.feed(SpeechEnded(self._handling.number, self._key))
            await work.wait_durable()

    def _take_up(self) -> None:
        """What another pod has begun goes on: what its voice was saying, while the handler comes to where it was."""
        act, response = self._act, self._work.call.response
        if act.status is not ActStatus.BEGUN or act.span is None or response is None:
            return
        pieces = list(pieces_of(response, act.span))
        self._again = SaidAgain("".join(piece.text for piece in pieces if piece.is_voiced))
        own = [piece.text for piece in pieces if not piece.is_voiced]
        self._own = OwnAudio(own, ends_speech=bool(pieces) and not pieces[-1].is_voiced)
        self._voice.begun = sum(piece.is_voiced for piece in pieces)
        is_open = response.open_item.item_id is not None
        if pieces and pieces[-1].is_voiced and is_open and settings_of(self._work.call).wants_audio:
            self._handling.say_rest(self._say_rest(response))

    async def _say_rest(self, response: Response) -> None:
        """Have the voice say what was not sent of its last piece.

        Where another pod has gone on with a word, that is what was left of a piece.
        """
        pacing, voice, piece = self._work.pacing(response), self._work.voice, response.said.piece
        text, sent_bytes = response.said.text[piece.text_from :], response.said.audio_bytes - piece.audio_from
        said_to = pacing.said_chars(response)
        if voice.deterministic:
            await pacing.begin_again(text, sent_bytes, response)
            await self._voice.say_rest(text, response)
        elif text[said_to:].strip():
            self._work.feed(ResponseDiverged(response.response_id, response.said.piece.text_from + said_to))
            await pacing.begin_again(text[said_to:], 0, response)
            await self._voice.say_rest(text[said_to:], response)
        await pacing.pacer.finish()

    # --- what the author has of it ----------------------------------------------

    @property
    def said(self) -> Sequence[Spoken]:
        """See `kit.Speech`."""
        call, act = self._work.call, self._act
        response = call.response
        if act.span is None:
            return ()
        if response is None or response.response_id != act.span.response_id:
            text, ms = played(call.conversation, act.item_id)
            rate_hz = call.session.under({}).output_format.rate_hz
            return (Spoken(text, ms * rate_hz // 1000, act.status is ActStatus.DONE),) if text or ms else ()
        sample_bytes = settings_of(call).output_format.sample_bytes
        pieces = list(pieces_of(response, act.span))
        made_bytes = response.said.piece.made_bytes
        is_sent = response.said.audio_bytes - response.said.piece.audio_from >= made_bytes > 0
        is_complete = act.status is ActStatus.DONE or not settings_of(call).wants_audio or is_sent
        last = len(pieces) - 1
        return tuple(
            Spoken(piece.text, piece.audio_bytes // sample_bytes, n < last or is_complete)
            for n, piece in enumerate(pieces)
        )

    def continues(self) -> None:
        """See `kit.Speech`."""
        self._continues = True

    async def text(self, sentence: str) -> None:
        """See `kit.Speech`."""
        sentence.encode()  # Raises for what is no Unicode.
        if not sentence:
            return
        if not self._is_wanted():
            self._pass_cut(sentence)
            return
        new = sentence if self._continues else self._new_text(sentence)
        if new or self._again.is_complete:
            with self._work.waiting():
                await self._handling.rest_is_said()
        if not new:
            self._voice.pass_over(sentence, is_last=self._again.is_complete)
            await self._work.wait_for_capacity()
            return
        response, self._own.is_open = self._response, False
        self._work.stages.worded()
        with self._work.waiting():
            if not settings_of(self._work.call).wants_audio:
                self._work.feed(ResponseText(response.response_id, new, voiced=True))
                await self._work.wait_for_capacity()
                return
            pacing = self._work.pacing(response)
            await pacing.begin(new)
            self._work.feed(ResponseText(response.response_id, new, voiced=True))
            await self._voice.say(sentence, new, response)
            await pacing.pacer.finish()

    def prepare(self, sentence: str) -> None:
        """See `kit.Speech`."""
        sentence.encode()
        work, handling = self._work, self._handling
        is_said = work.handling is handling and self._act.status is ActStatus.BEGUN
        if sentence and is_said and work.call.response is not None and settings_of(work.call).wants_audio:
            self._voice.prepare(sentence, is_new=self._continues or self._again.is_complete)

    async def audio(
        self,
        pcm: bytes,
        audio_format: AudioFormat,
        *,
        text: str = "",
        words: Sequence[Sequence[int]] = (),
        is_partial: bool = False,
    ) -> None:
        """See `kit.Speech`."""
        text.encode()
        if len(pcm) % audio_format.sample_bytes:
            raise ValueError(f"{len(pcm)} bytes of {audio_format.name} are no whole number of samples")
        checked = checked_words(words, audio_format.ms(len(pcm)))
        if not self._is_wanted():
            self._pass_cut(text)
            return
        self._handling.drop_prepared()
        self._work.stages.worded()
        self._work.stages.voiced()
        with self._work.waiting():
            await self._handling.rest_is_said()
            if self._own.is_other(text):
                self._drop_unsaid()
            text = self._own.new_text(text)
            if text or not self._own.is_open:
                await self._begin_audio(text)
            if settings_of(self._work.call).wants_audio:
                pacer = self._work.pacing(self._response).pacer
                self._own.is_partial = is_partial
                await pacer.write(bytes(pcm), audio_format, checked, is_partial=is_partial)
            await self._work.wait_for_capacity()

    async def forget_unsaid(self) -> str:
        """See `kit.Speech`."""
        if not self._is_wanted():
            self._pass_cut("")
        work, response = self._work, self._work.call.response
        self._handling.drop_prepared()
        with work.waiting():
            await self._handling.rest_is_said()
            said = "".join(piece.text for piece in self.said)
            self._continues = True
            if not said or response is None or not settings_of(work.call).wants_audio:
                return said
            pacing = work.pacing(response)
            if self._own.is_partial:
                pacing.drop()
            else:
                await pacing.pacer.finish()
            said_to = response.said.piece.text_from + pacing.said_chars(response)
            self._own.unsaid = response.said.text[said_to:]
            if self._own.unsaid:
                work.feed(ResponseDiverged(response.response_id, said_to))
                await pacing.begin_again(self._own.unsaid, 0, response)
                self._own.is_open = True
            await work.wait_for_capacity()
            return said.removesuffix(self._own.unsaid)

    async def heard(self) -> Played:
        """See `kit.Speech`."""
        await self._work.wait_played()
        call, act = self._work.call, self._act
        entry = call.conversation.get(act.item_id)
        if entry is not None or act.status is ActStatus.INTERRUPTED:
            text, ms = played(call.conversation, act.item_id)
            is_cut = entry is None or entry.audio_ms - ms > ROUNDING_MS
            return Played(text, ms, cut_off=is_cut or act.status is ActStatus.INTERRUPTED)
        said = self.said
        rate_hz = settings_of(call).output_format.rate_hz
        samples = sum(piece.samples for piece in said)
        return Played("".join(piece.text for piece in said), samples * 1000 // rate_hz, cut_off=False)

    # --- the rest ---------------------------------------------------------------

    def _check(self) -> None:
        if self._act.status is ActStatus.INTERRUPTED and not self._was_cut:
            raise SpeechInterrupted

    def _pass_cut(self, text: str) -> None:
        """What is given again of a speech that was interrupted on another pod: raises where it was."""
        if self._was_cut and (self._continues or not text or self._again.new_part(text) or self._again.is_complete):
            self._was_cut = False
            raise SpeechInterrupted

    def _is_wanted(self) -> bool:
        """Whether what is given may be new. Raises `SpeechInterrupted`, and what `handling_of` raises."""
        self._work.handling_of(self._view)
        self._check()
        if self._handling.speech is not self:
            raise RuntimeError(f"{self._key!r} is over; what is said is said within `async with`.")
        return self._act.status is ActStatus.BEGUN

    @property
    def _response(self) -> Response:
        response = self._work.call.response
        if response is None:  # Closed by a bound: what comes now is not taken.
            raise SpeechInterrupted
        return response

    def _drop_unsaid(self) -> None:
        """Nothing will say it: the item ends with what was said."""
        if self._own.unsaid.strip():
            self._work.drop_audio()
            self._work.feed(ResponseDiverged(self._response.response_id, None))
        self._own.unsaid = ""

    def _new_text(self, sentence: str) -> str:
        differed = self._again.differs
        new = self._again.new_part(sentence)
        if self._again.differs and not differed:
            self._work.tell_divergence("text")
        return new

    async def _begin_audio(self, text: str) -> None:
        """The agent's own audio for a text: say whether it is new, was being sent, or was sent."""
        response, own, number = self._response, self._own, self._own.begun
        pacing = self._work.pacing(response)
        own.begun += 1
        own.is_open = True
        if self._continues or number >= len(own.durable):
            await pacing.begin(text)
            self._work.feed(ResponseText(response.response_id, text))
            return
        if is_other := text != own.durable[number]:
            self._work.tell_divergence("text")
        is_last = number == len(own.durable) - 1 and own.ends_speech
        if is_other or not is_last or response.open_item.item_id is None:
            await pacing.pass_over(text)
            return
        await pacing.begin_again(text, response.said.audio_bytes - response.said.piece.audio_from, response)
