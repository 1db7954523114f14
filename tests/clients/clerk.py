"""The agent that stock clients talk to: it hears, speaks, calls the client's tools and tells long stories."""

from __future__ import annotations

from tests.e2e.caller_of_tools import CallerOfTools
from voice_agent.kit.call import Call
from voice_agent.kit.events import Asked

STORY = "a story"
"""Who types a sentence with these words is talked to for a minute."""
ANSWER = "You said: "


class Clerk(CallerOfTools):
    """Says what it understood, in the server's voice; with tools, it calls the first and says what that gave."""

    name = "clerk"
    ear = voice = None
    """The server's own."""
    lead_ms = None

    async def answer(self, call: Call, asked: Asked) -> None:
        """A tool's call or output, a story, or what was said."""
        last = asked.items[-1] if asked.items else {}
        if asked.tools or last.get("type") == "function_call_output" or STORY in asked.text:
            await super().answer(call, asked)
            return
        async with call.speak() as speech:
            await speech.text(ANSWER + asked.text)
