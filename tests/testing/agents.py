"""Agents to simulate: right ones, each with what it shows, and the scripts that show it."""

from __future__ import annotations

import asyncio

from voice_agent.kit.agent import Agent
from voice_agent.kit.call import Call
from voice_agent.kit.events import Asked, Dtmf, Ended, Heard, Interrupted, Started, Timer, ToolResult
from voice_agent.kit.speech import SpeechInterrupted
from voice_agent.testing.script import (
    BargeIn,
    Cancel,
    GiveResult,
    HandOffNow,
    HangUpNow,
    Press,
    Script,
    SendEvent,
    SpeakOver,
    Truncate,
    Type,
    UntilSilent,
    Wait,
)

THINKS_S = 0.3
OUT_OF_BAND = {"type": "response.create", "response": {"conversation": "none"}}
TOOL = {"type": "function", "name": "look_up", "parameters": {"type": "object"}}


class Clerk(Agent):
    """Greets; books something under a key, and says three sentences about what it was asked; counts its turns."""

    name = "clerk"

    async def run(self, call: Call) -> None:
        async for event in call.events():
            match event:
                case Started(resumed=False):
                    async with call.speak() as speech:
                        await speech.text("Good day. ")
                case Asked():
                    await self.answer(call, event)
                case _:
                    pass

    async def answer(self, call: Call, asked: Asked) -> None:
        number = call.state["answered"] = call.state.get("answered", 0) + 1
        await asyncio.sleep(THINKS_S)
        booked = await call.once("book", _book)
        async with call.speak() as speech:
            for part in range(2):
                await speech.text(f"{number} {booked} {part} {asked.text}. ")


async def _book(key: str) -> str:
    await asyncio.sleep(0.1)
    return "booked"


class Forgetful(Clerk):
    """Wrong: keeps in the object what belongs to the call."""

    def __init__(self) -> None:
        self.turns = 0

    async def answer(self, call: Call, asked: Asked) -> None:
        self.turns += 1
        async with call.speak() as speech:
            await speech.text(f"That was turn {self.turns}. ")


class Reminder(Agent):
    """Sets a timer when asked, and speaks when it comes: unprompted, and without being interrupted."""

    name = "reminder"

    async def run(self, call: Call) -> None:
        async for event in call.events():
            match event:
                case Asked(at_ms=at_ms):
                    await call.at("tea", at_ms + 4000)
                    async with call.speak() as speech:
                        await speech.text("I shall. ")
                case Timer(name=name):
                    async with call.speak(interruptible=False) as speech:
                        await speech.text(f"It is time for {name}. ")
                    await call.send({"type": "agent.reminded", "of": name})
                case _:
                    pass


class Asker(Agent):
    """Asks the client to look something up, says what was found; a key of the telephone ends the call."""

    name = "asker"

    async def run(self, call: Call) -> None:
        found = ""
        async for event in call.events():
            match event:
                case ToolResult(output=output):
                    call.state["found"] = output
                case Asked(tools=tools) if tools and "found" not in call.state:
                    await call.call_tool("look up", "look_up", {"what": event.text})
                case Asked(out_of_band=True):
                    async with call.speak() as speech:
                        await speech.text("Beside it. ")
                case Asked():
                    async with call.speak("first") as speech:
                        await speech.text(f"Found: {call.state.pop('found', found)}. ")
                    async with call.speak("second") as speech:
                        await speech.text("Is there more? ")
                case Dtmf(digit="0"):
                    async with call.speak() as speech:
                        await speech.text("One moment. ")
                    await call.transfer("tel:+4930123")
                case Dtmf():
                    async with call.speak() as speech:
                        await speech.text("Good bye. ")
                    await call.hang_up("asked to")
                case _:
                    pass


class Listener(Agent):
    """Keeps what it was told, also of interruptions and of what was heard, and says so."""

    name = "listener"

    async def run(self, call: Call) -> None:
        async for event in call.events():
            if isinstance(event, Ended):
                break
            notes = call.state.setdefault("notes", [])
            match event:
                case Heard(text=text):
                    notes.append(f"heard {text}")
                case Interrupted(text=text, heard_ms=heard_ms):
                    notes.append(f"cut at {heard_ms} {text}")
                case Asked():
                    try:
                        async with call.speak() as speech:
                            await speech.text(f"{', '.join(notes)}. And more. ")
                            played = await speech.heard()
                        notes.append(f"all of {played.ms}")
                    except SpeechInterrupted:
                        notes.append("interrupted")
                case Started():
                    pass
                case _:
                    notes.append(type(event).__name__)


SCRIPTS: dict[str, tuple[type[Agent], Script]] = {
    "answers": (Clerk, ["hello", Type("more")]),
    "barge-in": (Clerk, ["hello", BargeIn("stop it", 900)]),
    "cancel": (Clerk, ["hello", Cancel(900), Type("more")]),
    "truncate": (Clerk, ["hello", Truncate(900), "again"]),
    "hand-off": (Clerk, ["hello", HandOffNow(), "again"]),
    "leaves": (Clerk, ["hello", HangUpNow(900)]),
    "timer": (Reminder, ["in a while", Wait(6000)]),
    "timer while it speaks": (Reminder, ["in a while", Wait(2000), "now", Wait(6000)]),
    "a timer's speech is heard out": (Reminder, ["in a while", Wait(3800), SpeakOver("not you", 500), Wait(2000)]),
    "tool": (Asker, ["find it", GiveResult("it"), "thanks"]),
    "out of band": (Asker, ["one", UntilSilent(), SendEvent(OUT_OF_BAND), Wait(500), SendEvent(OUT_OF_BAND)]),
    "transfer": (Asker, ["hello", UntilSilent(), Press("0"), Wait(9000)]),
    "hang-up": (Asker, ["hello", UntilSilent(), Press("9"), Wait(9000)]),
    "keeps notes": (Listener, ["one", BargeIn("two", 700), "six"]),
}
"""By what they show."""
