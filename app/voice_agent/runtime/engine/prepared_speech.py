"""What a voice makes ahead: the sentences that an agent has said it will say next.

::

    text("One. ")      | A A A A A A A A |
    prepare("Two. ")        | B B B B B B ...         made meanwhile, and kept
    text("Two. ")                        | B B B B |  said from what is there

The voice is asked for just what `text` would have asked it for, with the same seed: what is said is the same, only
sooner. What turns out to be something else is dropped. Each sentence is begun once the one before it has its first
audio, for that the caller waits for. While what another pod has said is passed over none is begun: which of them will
be new is not known yet, nor with which seed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from voice_agent.kit.clip import VoicedAudio
from voice_agent.kit.voice import Utterance, Voice
from voice_agent.runtime.engine.agent_steps import StepWatch
from voice_agent.runtime.engine.voicing import voiced

MAX_SENTENCES = 2
"""Made ahead: stops an agent that prepares a whole book from having all of it made, and paid for, before it is said."""
MAX_AHEAD_BYTES = 1024 * 1024
"""Of audio that waits, of the sentence that is said and of those to come: 21 s of PCM. Then the voice waits."""
MAX_SENTENCE_BYTES = MAX_AHEAD_BYTES // (MAX_SENTENCES + 1)
"""Each has its own share, so that one that comes later cannot keep an earlier one from going on."""


class PreparedSentence:
    """One of them. Its voice is closed once it is `drop`ped, or who reads `pieces` does not go on."""

    def __init__(self, sentence: str, has_begun: Callable[[], None]) -> None:
        """`has_begun`: called when there is audio of it."""
        self.sentence = sentence
        self.utterance: Utterance | None = None
        """What the voice was asked for; None: it was not asked yet."""
        self.has_audio = False
        """Whether some of it was made."""
        self.held_bytes = 0
        """Of audio that was made and not taken."""
        self._has_begun = has_begun
        self._pieces: deque[VoicedAudio] = deque()
        self._came = asyncio.Event()
        self._taken = asyncio.Event()
        self._making: asyncio.Task[None] | None = None

    def begin(self, voice: Voice, utterance: Utterance, watch: StepWatch) -> None:
        """Have the voice make it."""
        self.utterance = utterance
        self._making = asyncio.create_task(self._make(voice, utterance, watch))
        self._making.add_done_callback(self._is_made)

    def drop(self) -> None:
        """It is not wanted any more."""
        if self._making is not None:
            self._making.cancel()

    async def pieces(self) -> AsyncGenerator[VoicedAudio, None]:
        """All of it, as `voiced` gives it, and what that raises. To be closed; it was begun before."""
        assert self._making is not None
        try:
            while self._pieces or not self._making.done():
                if not self._pieces:
                    self._came.clear()
                    await self._came.wait()
                    continue
                piece = self._pieces.popleft()
                self.held_bytes -= len(piece.audio)
                self._taken.set()
                yield piece
            self._making.result()
        finally:
            self.drop()

    async def _make(self, voice: Voice, utterance: Utterance, watch: StepWatch) -> None:
        async with aclosing(voiced(voice, utterance, watch)) as pieces:
            async for piece in pieces:
                self._pieces.append(piece)
                self.held_bytes += len(piece.audio)
                self._came.set()
                if not self.has_audio:
                    self.has_audio = True
                    self._has_begun()
                while self.held_bytes >= MAX_SENTENCE_BYTES:
                    self._taken.clear()
                    await self._taken.wait()

    def _is_made(self, making: asyncio.Task[None]) -> None:
        if not making.cancelled():
            making.exception()  # Raised by `pieces`; of a sentence that is never said it is of no consequence.
        self._came.set()


class PreparedSpeech:
    """Those of one speech, in order."""

    def __init__(
        self, voice: Voice, utterance_of: Callable[[str, int], Utterance], watch: StepWatch, *, is_silent: bool
    ) -> None:
        """`utterance_of`: what a sentence is asked for with that will be the first, second … to be said from now on.

        `is_silent`: a sentence is being made that has no audio yet, and for that the caller waits.
        """
        self._voice = voice
        self._utterance_of = utterance_of
        self._watch = watch
        self._is_silent = is_silent
        self._may_begin = False
        """What is said next is new."""
        self._to_come: deque[PreparedSentence] = deque()
        self._said: PreparedSentence | None = None

    @property
    def held_bytes(self) -> int:
        """Of audio that was made and not sent."""
        return sum(one.held_bytes for one in (*self._to_come, *filter(None, (self._said,))))

    def add(self, sentence: str, *, is_new: bool) -> None:
        """This one comes behind all others; beyond `MAX_SENTENCES` it is forgotten. `is_new`: as all that is said."""
        self._may_begin = is_new
        if len(self._to_come) < MAX_SENTENCES:
            self._to_come.append(PreparedSentence(sentence, self._begin_next))
            self._begin_next()

    def pass_over(self, sentence: str, *, is_last: bool) -> None:
        """Another pod has said this one; `is_last`: and all that comes behind it is new."""
        self._next(sentence)
        self._may_begin = is_last
        self._begin_next()

    def take(self, sentence: str, utterance: Utterance) -> PreparedSentence | None:
        """This one is said now, as `utterance`: what is made of it, if that is what was begun."""
        one = self._next(sentence)
        self._may_begin = self._is_silent = True
        if one is not None and one.utterance != utterance:
            one.drop()
            one = None
        self._said = one
        return one

    def has_audio(self) -> None:
        """What is said now has its first audio."""
        self._is_silent = False
        self._begin_next()

    def drop(self) -> None:
        """None of those to come is wanted any more."""
        while self._to_come:
            self._to_come.popleft().drop()

    def _next(self, sentence: str) -> PreparedSentence | None:
        """The first of those to come, which is to be this one; if it is not, all of them are dropped."""
        if self._to_come and self._to_come[0].sentence == sentence:
            return self._to_come.popleft()
        self.drop()
        return None

    def _begin_next(self) -> None:
        """Have the first one made that is not yet, if the one in front of it has audio."""
        if self._is_silent or not self._may_begin:
            return
        for place, one in enumerate(self._to_come, start=1):
            if one.utterance is None:
                one.begin(self._voice, self._utterance_of(one.sentence, place), self._watch)
            if not one.has_audio:
                return
