"""What a caller hears when no model answers: an apology, and the offer of a person or of being called back.

The offer is taken by a key of the telephone, or by a word: nothing of it needs a model.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from voice_agent.agents.pipeline.memory import STATE
from voice_agent.agents.pipeline.settings import LastResortSettings, recording
from voice_agent.agents.tools.running import run_tool
from voice_agent.call.audio import PCM
from voice_agent.kit.call import Call
from voice_agent.kit.tools import Tool

OFFERED = "offered"
"""In the state: that the caller may take the offer."""
PERSON_KEY, CALL_BACK_KEY = "1", "2"


class LastResort:
    """One agent's."""

    def __init__(self, settings: LastResortSettings, call_back: Tool | None = None) -> None:
        """`call_back`: has the caller called back."""
        self._settings = settings
        self._call_back = call_back
        self._recording = recording(settings.apology_audio) if settings.apology_audio is not None else None
        self._yes = {word.strip().casefold() for word in settings.yes.split(",") if word.strip()}

    async def apologise(self, call: Call, *, wants_audio: bool, voice_failed: Exception | None = None) -> None:
        """Say that there is no answer. Raises `voice_failed` where there is nothing to say it with: no voice."""
        settings = self._settings
        if self._recording is None and voice_failed is not None:
            raise voice_failed  # The server apologises, with a recording of its own.
        async with call.speak("apology") as speech:
            if self._recording is not None and wants_audio:
                await speech.audio(self._recording, PCM, text=settings.apology + " ")
            else:
                await speech.text(settings.apology + " ")
            if voice_failed is None and (offer := self._offer()):
                await speech.text(offer)
        if self._offer():
            call.state[STATE] = {**call.state.get(STATE, {}), OFFERED: True}

    async def taken_by_key(self, call: Call, digit: str) -> bool:
        """Do what was offered, if this key takes it."""
        if not _is_offered(call):
            return False
        if digit == PERSON_KEY and self._settings.person:
            await self._put_through(call)
        elif digit == CALL_BACK_KEY and self._call_back is not None:
            await self._have_called_back(call, self._call_back)
        else:
            return False
        return True

    async def taken_by_word(self, call: Call, text: str) -> bool:
        """Do what was offered, if this takes it; it is offered no more in any case."""
        if not _is_offered(call):
            return False
        call.state[STATE] = {name: value for name, value in call.state[STATE].items() if name != OFFERED}
        if " ".join(re.findall(r"\w+", text)).casefold() not in self._yes:
            return False
        if self._settings.person:
            await self._put_through(call)
        elif self._call_back is not None:
            await self._have_called_back(call, self._call_back)
        return True

    async def _have_called_back(self, call: Call, tool: Tool) -> None:
        output = await run_tool(call, tool, "call back", {"number": call.caller.number})
        is_done = "error" not in (orjson.loads(output) or {})
        async with call.speak("called back") as speech:
            await speech.text(self._settings.calling_back if is_done else self._settings.apology)

    async def _put_through(self, call: Call) -> None:
        async with call.speak("put through") as speech:
            await speech.text(self._settings.putting_through)
        await call.transfer(self._settings.person)

    def _offer(self) -> str:
        person = self._settings.person_offer if self._settings.person else ""
        call_back = self._settings.call_back_offer if self._call_back is not None else ""
        return " ".join(filter(None, (person, call_back)))


def _is_offered(call: Call) -> bool:
    kept: dict[str, Any] = call.state.get(STATE, {})
    return bool(kept.get(OFFERED))
