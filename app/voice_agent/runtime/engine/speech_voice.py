"""The call's voice, as one speech has it say its sentences: each has a seed of its own, the same on every pod."""

from __future__ import annotations

from contextlib import aclosing

from voice_agent.call.response import Response
from voice_agent.call.response_items import settings_of
from voice_agent.call.session_config import spoken_language
from voice_agent.kit.voice import Utterance
from voice_agent.runtime.engine.agent_steps import StepWatch
from voice_agent.runtime.engine.handling import Handling
from voice_agent.runtime.engine.prepared_speech import PreparedSentence, PreparedSpeech
from voice_agent.runtime.engine.voicing import voiced
from voice_agent.runtime.engine.work import AgentWork


class SpeechVoice:
    """One speech's. Raises `NoVoice` where a sentence is to be said and there is none."""

    def __init__(self, work: AgentWork, handling: Handling, key: str) -> None:
        self.begun = 0
        """Pieces that the voice has begun to say, on any pod."""
        self._work = work
        self._handling = handling
        self._key = key
        self._is_silent = False
        """A piece is begun, and there is no audio of it yet."""

    def prepare(self, sentence: str, *, is_new: bool) -> None:
        """Have the voice make it ahead, if there is one; `is_new`: nothing is passed over any more."""
        handling, voice = self._handling, self._work.agent.voice
        if voice is None:
            return
        if handling.prepared is None:
            handling.prepared = PreparedSpeech(voice, self._ahead, self._watch(), is_silent=self._is_silent)
        handling.prepared.add(sentence, is_new=is_new)

    def pass_over(self, sentence: str, *, is_last: bool) -> None:
        """Another pod has said it; `is_last`: and nothing that comes behind it."""
        if self._handling.prepared is not None:
            self._handling.prepared.pass_over(sentence, is_last=is_last)

    async def say(self, sentence: str, new: str, response: Response) -> None:
        """Say what is new of a sentence: the next piece."""
        self.begun += 1
        utterance, prepared = self._utterance(new, self.begun), self._handling.prepared
        made = prepared.take(sentence, utterance) if prepared is not None else None
        await self._say(utterance, response, made)

    async def say_rest(self, text: str, response: Response) -> None:
        """Say what was not said of the piece that was begun last."""
        await self._say(self._utterance(text, self.begun), response, None)

    async def _say(self, utterance: Utterance, response: Response, made: PreparedSentence | None) -> None:
        pacer = self._work.pacing(response).pacer
        self._is_silent = True
        found = voiced(self._work.voice, utterance, self._watch()) if made is None else made.pieces()
        async with aclosing(found) as pieces:
            async for piece in pieces:
                if self._is_silent:
                    self._first_audio()
                await pacer.write(piece.audio, piece.format, piece.words, is_partial=True)

    def _first_audio(self) -> None:
        self._is_silent = False
        self._work.stages.voiced()
        if self._handling.prepared is not None:
            self._handling.prepared.has_audio()

    def _ahead(self, text: str, place: int) -> Utterance:
        return self._utterance(text, self.begun + place)

    def _utterance(self, text: str, number: int) -> Utterance:
        call = self._work.call
        seed = f"{call.call_id}:{self._handling.stored.key_id}:{self._key}:{number}"
        language = spoken_language(call.session.fields) or self._work.agent.language
        settings = settings_of(call)
        return Utterance(text, settings.voice, settings.speed, seed, language)

    def _watch(self) -> StepWatch:
        work = self._work
        return StepWatch(work.voice.name, work.call.call_id, work.clock, work.observer, kind="voice")
