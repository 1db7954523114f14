"""The agent `echo`: says back what it heard, sample for sample, so that any client can check what it got."""

from __future__ import annotations

from contextlib import suppress

from voice_agent.call.audio import PCM
from voice_agent.call.said_by_caller import said_since_last_reply
from voice_agent.kit.agent import Agent
from voice_agent.kit.call import Call
from voice_agent.kit.ear import Ear
from voice_agent.kit.events import Asked
from voice_agent.kit.speech import SpeechInterrupted
from voice_agent.kit.voice import Voice

MAX_ECHO_CHARS = 64 * 1024


class Echo(Agent):
    """A spoken turn is answered with its own audio, a typed one with its own text."""

    name = "echo"
    ear = Ear()
    """Understands nothing."""
    voice = Voice()
    """Says nothing: what it has to say is audio, or is only written."""
    lead_ms = 0

    async def run(self, call: Call) -> None:
        """See `Agent.run`. Nobody is greeted."""
        async for event in call.events():
            if isinstance(event, Asked):
                with suppress(SpeechInterrupted):
                    await self._answer(call, event)

    async def _answer(self, call: Call, asked: Asked) -> None:
        """The clip if there is one and speech is wanted, else the text typed since the last reply."""
        if asked.clip is not None and asked.wants_audio:
            async with call.speak() as speech:
                await speech.audio(asked.clip.audio, asked.clip.format)
            return
        said = said_since_last_reply(asked.items, typed_only=True, max_chars=MAX_ECHO_CHARS)
        if said.text:
            async with call.speak() as speech:
                await speech.audio(b"", PCM, text=said.text)
