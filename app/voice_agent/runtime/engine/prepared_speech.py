"""What a voice makes ahead: the sentences that an agent has said it will say next.

::

    text("One. ")      | A A A A A A A A |
    prepare("Two. ")        | B B B B B B ...         made meanwhile, and kept
    text("Two. ")                        | B B B B |  said from what is there

The voice is asked for just what `text` would have asked it for, with the same seed: what is said is the same, only
sooner. What turns out to be something else is dropped. Each sentence is begun once the one before it has its first
audio, for that the caller waits for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
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

    def __init__(self, ahead: PreparedSpeech, utterance: Utterance) -> None:
        self.utterance = utterance
        self.has_audio = False
        """Whether some of it was made."""
        self.held_bytes = 0
        """Of audio that was made and not taken."""
        self._ahead = ahead
        self._pieces: deque[VoicedAudio] = deque()
        self._came = asyncio.Event()
        self._taken = asyncio.Event()
        self._making: asyncio.Task[None] | None = None

    @property
    def is_begun(self) -> bool:
        """Whether the voice was asked for it."""
        return self._making is not None

    def begin(self, voice: Voice, watch: StepWatch) -> None:
        """Have the voice make it."""
        if self._making is None:
            self._making = asyncio.create_task(self._make(voice, watch))
            self._making.add_done_callback(self._is_made)

    def drop(self) -> None:
        """It is not wanted any more."""
        if self._making is not None:
            self._making.cancel()

    async def pieces(self) -> AsyncGenerator[VoicedAudio, None]:
        """All of it, as `voiced` gives it, and what that raises. To be closed."""
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

    async def _make(self, voice: Voice, watch: StepWatch) -> None:
        async with aclosing(voiced(voice, self.utterance, watch)) as pieces:
            async for piece in pieces:
                self._pieces.append(piece)
                self.held_bytes += len(piece.audio)
                self._came.set()
                if not self.has_audio:
                    self.has_audio = True
                    self._ahead.begin_behind(self)
                while self.held_bytes >= MAX_SENTENCE_BYTES:
                    self._taken.clear()
                    await self._taken.wait()

    def _is_made(self, making: asyncio.Task[None]) -> None:
        if not making.cancelled():
            making.exception()  # Raised by `pieces`; of a sentence that is never said it is of no consequence.
        self._came.set()


class PreparedSpeech:
    """Those of one speech, in order."""

    def __init__(self, voice: Voice, watch: StepWatch, *, is_silent: bool) -> None:
        """`is_silent`: a sentence is being made that has no audio yet, and for that the caller waits."""
        self._voice = voice
        self._watch = watch
        self._is_silent = is_silent
        self._to_come: deque[PreparedSentence] = deque()
        self._said: PreparedSentence | None = None

    def __len__(self) -> int:
        return len(self._to_come)

    @property
    def held_bytes(self) -> int:
        """Of audio that was made and not sent."""
        return sum(one.held_bytes for one in (*self._to_come, *filter(None, (self._said,))))

    def add(self, utterance: Utterance) -> None:
        """This one comes behind all others; beyond `MAX_SENTENCES` it is forgotten."""
        if len(self._to_come) >= MAX_SENTENCES:
            return
        is_next = self._to_come[-1].has_audio if self._to_come else not self._is_silent
        self._to_come.append(PreparedSentence(self, utterance))
        if is_next:
            self._to_come[-1].begin(self._voice, self._watch)

    def take(self, utterance: Utterance) -> PreparedSentence | None:
        """What is said now, if it was begun; what was prepared and is not said now is dropped, all of it."""
        self._is_silent = True
        self._said = None
        if self._to_come and self._to_come[0].utterance == utterance:
            said = self._to_come.popleft()
            self._said = said if said.is_begun else None
        else:
            self.drop()
        return self._said

    def has_audio(self) -> None:
        """What is said now has its first audio."""
        self._is_silent = False
        self.begin_behind(None)

    def begin_behind(self, sentence: PreparedSentence | None) -> None:
        """Have the sentence made that comes behind this one; None: behind the one that is said now."""
        behind = self._to_come.index(sentence) + 1 if sentence is not None and sentence in self._to_come else 0
        if behind < len(self._to_come):
            self._to_come[behind].begin(self._voice, self._watch)

    def drop(self) -> None:
        """None of those to come is wanted any more."""
        while self._to_come:
            self._to_come.popleft().drop()
