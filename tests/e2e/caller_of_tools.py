"""An agent that calls the client's tools, for the tests of stock clients; installed as a third party's package is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

from voice_agent.agents.base import Audio, FunctionCall, ResponsePart, Text, Turn
from voice_agent.agents.echo import Echo
from voice_agent.call.audio import PCM

SENTENCES = 60
"""Of a reply that no tool was called for: a minute of speech, long enough to be interrupted on any machine."""
ARGUMENTS = {"order": "7"}


class CallerOfTools(Echo):
    """Calls the first tool, says what it gave; without tools it talks for a minute, a sentence a second."""

    name = "tools"

    async def reply(self, turn: Turn) -> AsyncIterator[ResponsePart]:
        """One call, or speech of 24 kHz PCM that sounds like nothing."""
        last = turn.items[-1] if turn.items else {}
        if last.get("type") == "function_call_output":
            sentences = [f"The tool says: {last['output']}."]
        elif turn.tools and turn.tool_choice != "none":
            yield FunctionCall(turn.tools[0]["name"], json.dumps(ARGUMENTS))
            return
        else:
            sentences = [f"This is sentence {number}. " for number in range(SENTENCES)]
        for number, sentence in enumerate(sentences):
            yield Text(sentence)
            if turn.wants_audio:
                yield Audio(bytes((number, 1)) * (PCM.size(1000) // 2), PCM)


def install(directory: Path, agent: type[Echo] = CallerOfTools) -> None:
    """Make an agent a package that is found where `directory` is on the path."""
    found = directory / "caller_of_tools-1.dist-info"
    found.mkdir()
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: caller-of-tools\nVersion: 1\n")
    entry = f"{agent.name} = {agent.__module__}:{agent.__qualname__}"
    (found / "entry_points.txt").write_text(f"[voice_agent.agents]\n{entry}\n")
