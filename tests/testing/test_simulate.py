"""Calls with agents, without sockets and without waiting, with a crash at every moment.

Of `simulate`, and of what it is made of: `script`, `simulated_caller`, `caller_hearing`, `simulated_line`,
`simulated_pods`, `agent_probe`, `observed_agent`, `observed_turn_agent`, `call_transcript`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from voice_agent.agents.base import Audio, Plan, ResponsePart, Text, Turn
from voice_agent.call.audio import PCM
from voice_agent.kit.agent import Kit
from voice_agent.kit.clip import Clip
from voice_agent.testing.call_transcript import CallTranscript, Mismatch
from voice_agent.testing.script import BargeIn, Cancel, HandOffNow, HangUpNow, Script, Truncate, Type, Wait
from voice_agent.testing.simulate import simulate, survives
from voice_agent.testing.spoken_words import CHAR_MS, speech_of, word_starts


class Booking:
    """Books something, and says three sentences about what it heard."""

    name = "clerk"
    lead_ms = 400
    replays = True
    mirrors = False

    async def open(self, kit: Kit | None = None) -> None: ...

    async def close(self) -> None: ...

    async def transcribe(self, clip: Clip) -> str | None:
        return None

    async def reply(self, turn: Turn) -> AsyncIterator[ResponsePart]:
        await asyncio.sleep(0.3)
        number = (turn.progress.plan or {"number": turn.state.get("number", 0) + 1})["number"]
        if not turn.progress.plan:
            yield Plan({"number": number}, {"number": number})
        booked = await turn.once("book", _book)
        last: Any = turn.items[-1]["content"][0]
        for part in range(3):
            text = f"Answer {number}, {booked}, {part} to {last.get('transcript') or last.get('text')}. "
            yield Text(text)
            yield Audio(speech_of(text), PCM, [[CHAR_MS * at, at] for at in word_starts(text)])


class Counting(Booking):
    """Keeps how many turns there were in the object instead of the call."""

    turns = 0

    async def reply(self, turn: Turn) -> AsyncIterator[ResponsePart]:
        self.turns += 1
        await asyncio.sleep(0.1)
        text = f"That was turn {self.turns}. "
        yield Text(text)
        yield Audio(speech_of(text), PCM)


Clerk: Any = Booking
Forgetful: Any = Counting


async def _book(key: str) -> str:
    await asyncio.sleep(0.1)
    return "booked"


def test_a_script_gives_a_transcript() -> None:
    """What was said to the caller, as text and audio; the conversation; side effects; how it ended."""
    run = simulate(Clerk, ["hello there", Type("more")])
    said = [f"Answer 1, booked, {part} to hello there. " for part in range(3)]
    assert run.replies[0].text == "".join(said)
    assert run.replies[0].audio == b"".join(map(speech_of, said))
    assert [reply.status for reply in run.replies] == ["completed", "completed"]
    assert run.items[0] == "user: hello there"
    assert run.items[2] == "user: more"
    assert list(run.side_effects.values()) == [1, 1]
    assert run.ended == "hangup"
    assert run.event_types[0] == "input_audio_buffer.speech_started"
    assert not run.errors


def test_the_same_script_gives_the_same_transcript() -> None:
    """So a difference is one that a crash made."""
    assert str(simulate(Clerk, "hello")) == str(simulate(Clerk, "hello"))


async def test_it_can_be_used_where_a_loop_runs() -> None:
    """As in a test that is a coroutine."""
    assert simulate(Clerk, "hello").ended == "hangup"


@pytest.mark.parametrize(
    "step", [BargeIn("stop", 1300), BargeIn("stop", 1300, tells=False), Cancel(1300), Truncate(1300)]
)
def test_a_reply_can_be_cut_short(step: Any) -> None:
    """The caller has heard exactly so much of it, and the conversation says so."""
    run = simulate(Clerk, ["hello", step])
    assert run.replies[0].status == "cancelled"
    assert len(run.replies[0].audio) == PCM.size(1300)
    assert run.replies[0].text in ("Answer 1, booked, 0", "Answer 1, booked, 0 to")
    assert run.ended == "hangup"


def test_a_caller_can_leave_in_the_middle() -> None:
    """Nothing is waited for."""
    assert [reply.status for reply in simulate(Clerk, ["hello", Wait(1000), HangUpNow()]).replies] == [""]


@pytest.mark.parametrize("hand_off", [False, True], ids=["crash", "hand-off"])
@pytest.mark.parametrize(
    "script",
    [["hello", "you"], ["hello", BargeIn("stop", 700)], ["hello", Cancel(500), Type("more")], ["a", HandOffNow(), "b"]],
)
def test_whatever_moment_its_pod_leaves_at_the_call_is_the_same(script: Script, hand_off: bool) -> None:
    """Killed, or handed off as for a release."""
    run = survives(Clerk, script, hand_off=hand_off)
    assert run.awaits >= 12


def test_what_an_agent_forgets_is_found_and_shown() -> None:
    """Side by side, with the moment at which it happened."""
    with pytest.raises(Mismatch) as caught:
        survives(Forgetful, ["hello", "you"])
    shown = str(caught.value)
    assert "with a crash at moment" in shown
    assert "That was turn 2" in shown.partition("|")[0] + shown
    assert any(line.startswith("! reply") and "That was turn 1" in line for line in shown.splitlines())


def test_another_version_may_take_over() -> None:
    """Each pod has its own; the transcript is that of all."""

    class Polite(Counting):
        async def reply(self, turn: Turn) -> AsyncIterator[ResponsePart]:
            yield Text("Good day. ")

    run = simulate(Forgetful, ["hello", HandOffNow(), Wait(1000), "you"], versions=[Forgetful, cast("Any", Polite)])
    assert [reply.text for reply in run.replies] == ["That was turn 1. ", "Good day. "]


def test_what_the_agent_raises_is_in_the_transcript() -> None:
    """And the call goes on."""

    class Broken(Booking):
        async def reply(self, turn: Turn) -> AsyncIterator[ResponsePart]:
            await asyncio.sleep(0.1)
            raise ValueError("no idea")
            yield Text("never")

    run = simulate(cast("Any", Broken), "hello")
    assert run.faults == {"raised": 1}
    assert run.replies[0].status == "failed"
    assert run.ended == "hangup"


def test_two_transcripts_are_shown_side_by_side() -> None:
    """Lines that differ are marked; long ones are folded."""
    one = CallTranscript(items=["user: hello", "assistant: " + "la " * 40], ended="hangup")
    two = CallTranscript(items=["user: hello", "assistant: lo"], ended="hangup")
    lines = str(Mismatch("with a crash at moment 3 of 9", one, two)).splitlines()
    assert lines[0] == "The call is another one, with a crash at moment 3 of 9:"
    assert [line[0] for line in lines[1:]] == [" ", " ", " ", "!", "!", "!", " "]
