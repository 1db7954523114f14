"""An agent that calls the client's tools, for the tests of stock clients; installed as a third party's package is."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from voice_agent.call.audio import PCM
from voice_agent.kit.agent import Agent
from voice_agent.kit.call import Call
from voice_agent.kit.ear import Ear
from voice_agent.kit.events import Asked
from voice_agent.kit.speech import SpeechInterrupted
from voice_agent.kit.voice import Voice

SENTENCES = 60
"""Of a reply that no tool was called for: a minute of speech, long enough to be interrupted on any machine."""
ARGUMENTS = {"order": "7"}


class CallerOfTools(Agent):
    """Calls the first tool, says what it gave; without tools it talks for a minute, a sentence a second."""

    name = "tools"
    ear: Ear | None = Ear()
    voice: Voice | None = Voice()
    lead_ms: int | None = 0

    async def run(self, call: Call) -> None:
        """Whatever it is asked."""
        async for event in call.events():
            if isinstance(event, Asked):
                with suppress(SpeechInterrupted):
                    await self.answer(call, event)

    async def answer(self, call: Call, asked: Asked) -> None:
        """One call, or speech of 24 kHz PCM that sounds like nothing."""
        last = asked.items[-1] if asked.items else {}
        if last.get("type") == "function_call_output":
            sentences = [f"The tool says: {last['output']}."]
        elif asked.tools and asked.tool_choice != "none":
            await call.call_tool("first", asked.tools[0]["name"], ARGUMENTS)
            return
        else:
            sentences = [f"This is sentence {number}. " for number in range(SENTENCES)]
        async with call.speak() as speech:
            for number, sentence in enumerate(sentences):
                await speech.audio(bytes((number, 1)) * (PCM.size(1000) // 2), PCM, text=sentence)


def install(directory: Path, agent: type[Agent] = CallerOfTools) -> None:
    """Make an agent a package that is found where `directory` is on the path."""
    found = directory / "caller_of_tools-1.dist-info"
    found.mkdir()
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: caller-of-tools\nVersion: 1\n")
    entry = f"{agent.name} = {agent.__module__}:{agent.__qualname__}"
    (found / "entry_points.txt").write_text(f"[voice_agent.agents]\n{entry}\n")
