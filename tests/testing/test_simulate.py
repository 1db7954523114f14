"""Calls with agents, without sockets and without waiting, with a crash at every moment.

Of `simulate`, and of what it is made of: `script`, `simulated_caller`, `caller_hearing`, `simulated_line`,
`simulated_pods`, `agent_probe`, `observed_agent`, `call_transcript`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import pytest

from tests.testing.agents import SCRIPTS, TOOL, Clerk, Forgetful
from voice_agent.agents.echo import Echo
from voice_agent.agents.scripted import Scripted, ScriptedTurn, Sentences
from voice_agent.call.audio import PCM
from voice_agent.kit.agent import Agent
from voice_agent.kit.call import Call
from voice_agent.kit.clip import Clip, VoicedAudio
from voice_agent.kit.ear import AgentEar, Transcript
from voice_agent.kit.events import Asked, Event, Heard
from voice_agent.kit.usage import metered
from voice_agent.kit.voice import Utterance
from voice_agent.testing.call_transcript import CallTranscript, Mismatch
from voice_agent.testing.script import BargeIn, Cancel, HandOffNow, HangUpNow, Truncate, Type
from voice_agent.testing.simulate import PLAIN, Surroundings, simulate, survives
from voice_agent.testing.spoken_words import WordEar, WordVoice, speech_of, words_in

AROUND = {"tool": Surroundings(session={"tools": [TOOL]})}
UNITS = ("input_tokens", "output_tokens", "cached_input_tokens", "input_audio_tokens", "output_audio_tokens")
EVERY = 17
"""Of so many moments one, where all would take too long."""


class Asking(Scripted):
    """Asks a model for each of its two sentences, once."""

    name = "asking"

    async def answer(self, turn: ScriptedTurn) -> Sentences:
        for n in range(2):

            async def ask(_: str) -> str:
                async with metered("models", "big") as request:
                    await asyncio.sleep(0.1)
                    request.tokens(input=5, output=1)
                return "One"

            yield f"{await turn.call.once(f'model {n}', ask)} {n}. "


def used(requests: int, unknown: int, **figures: int) -> dict[str, int | None]:
    """Of one model; what is not named is not known."""
    every = dict.fromkeys((*UNITS, "characters", "audio_ms"))
    return {"requests": requests, "unknown": unknown, **every, **figures}


class DoubtingEar(WordEar):
    """Is sure of nothing."""

    async def transcribe(self, clip: Clip) -> Transcript:
        return Transcript(words_in(clip.audio), certain=False, alternatives=("four",))


class AsksBack(Scripted):
    """Says what it was told of the caller's words, by both events."""

    name = "asks-back"

    async def _handle(self, call: Call, event: Event) -> None:
        if isinstance(event, Heard):
            call.state["heard"] = [event.text, event.uncertain, *event.alternatives]
        await super()._handle(call, event)

    async def answer(self, turn: ScriptedTurn) -> Sentences:
        yield f"Heard {turn.call.state['heard']}. "
        yield f"Asked {[turn.text, turn.uncertain, *turn.alternatives]}. "


def test_an_agent_is_told_what_its_ear_doubts_wherever_a_pod_dies() -> None:
    """With what was heard and with what is asked: the same, on whichever pod it is answered."""
    run = survives(AsksBack, ["for"], surroundings=Surroundings(ear=DoubtingEar), every=EVERY)
    assert "Heard ['for', True, 'four']. Asked ['for', True, 'four']." in " ".join(run.lines())


class LanguageEar(WordEar):
    """Understands which language it is told of."""

    async def transcribe(self, clip: Clip) -> str:
        return f"ear {clip.language}"


class LanguageVoice(WordVoice):
    """Says which language it is told of."""

    def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        return super().say(replace(utterance, text=f"{utterance.language} ".ljust(len(utterance.text))))


class Polyglot(Scripted):
    """Says which language it is told of."""

    name = "polyglot"
    language = "fr"

    async def answer(self, turn: ScriptedTurn) -> Sentences:
        yield f"{turn.text}, agent {turn.language}. "


@pytest.mark.parametrize(("named", "spoken"), [("de", "de"), (None, "fr")])
def test_ear_agent_and_voice_are_told_what_is_spoken(named: str | None, spoken: str) -> None:
    """As the session says it, else as the agent does."""
    transcription = {"model": "whisper-1"} | ({"language": named} if named else {})
    session = {"audio": {"input": {"transcription": transcription}}}
    run = simulate(
        Polyglot, ["bonjour"], surroundings=Surroundings(ear=LanguageEar, voice=LanguageVoice, session=session)
    )
    assert f"ear {spoken}, agent {spoken}." in " ".join(run.lines())
    assert words_in(run.audio).split() == [spoken]


def test_a_script_gives_a_transcript() -> None:
    """What was said to the caller, as text and audio; the conversation; side effects; how it ended."""
    run = simulate(Clerk, ["hello there", Type("more")])
    said = [f"1 booked {part} hello there. " for part in range(2)]
    assert [reply.text for reply in run.replies[:2]] == ["Good day. ", "".join(said)]
    assert run.replies[1].audio == b"".join(map(speech_of, said))
    assert [reply.status for reply in run.replies] == ["completed"] * 3
    assert run.items[1] == "user: hello there"
    assert run.items[3] == "user: more"
    assert run.side_effects == {"Asked 1: book": 1, "Asked 2: book": 1}
    assert run.ended == "hangup"
    assert run.event_types[0] == "response.created"
    assert not run.errors


def test_the_same_script_gives_the_same_transcript() -> None:
    """So a difference is one that a crash made."""
    assert str(simulate(Clerk, "hello")) == str(simulate(Clerk, "hello"))


def test_a_run_tells_what_requests_used_whenever_its_pod_dies() -> None:
    """What was asked and answered once is in it once; the request that was under way when the pod died is unknown."""
    unhurt = simulate(Asking, "hello")
    assert unhurt.usage == {"models/big": used(2, 0, input_tokens=10, output_tokens=2)}
    found = set()
    for moment in range(1, unhurt.awaits + 1):
        run = simulate(Asking, "hello", crash_at=moment)
        assert run.lines() == unhurt.lines()
        told = run.usage["models/big"]
        requests, unknown = told["requests"], told["unknown"]
        assert requests is not None
        assert unknown in (0, 1)
        assert told == used(requests, unknown, input_tokens=5 * (requests - unknown), output_tokens=requests - unknown)
        found.add((requests, unknown))
    assert {(2, 0), (3, 1)} <= found <= {(2, 0), (3, 0), (3, 1), (4, 1)}


async def test_it_can_be_used_where_a_loop_runs() -> None:
    """As in a test that is a coroutine."""
    assert simulate(Clerk, "hello").ended == "hangup"


@pytest.mark.parametrize("step", [BargeIn("stop", 900), Cancel(900), Truncate(900)])
def test_a_reply_can_be_cut_short(step: Any) -> None:
    """The caller has heard exactly so much of it, and the conversation says so."""
    run = simulate(Clerk, ["hello", step])
    assert run.replies[1].status == "cancelled"
    assert len(run.replies[1].audio) == PCM.size(900)
    assert run.replies[1].text == "1 booked 0"
    assert run.ended == "hangup"


def test_a_caller_can_leave_in_the_middle() -> None:
    """Nothing is waited for."""
    assert [reply.status for reply in simulate(Clerk, ["hello", HangUpNow(700)]).replies] == ["completed", ""]


@pytest.mark.parametrize("hand_off", [False, True], ids=["crash", "hand-off"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_whatever_moment_its_pod_leaves_at_the_call_is_the_same(name: str, hand_off: bool) -> None:
    """Killed, or handed off as for a release: timers, tools, two responses, barge-in, transfer, hang-up."""
    agent, script = SCRIPTS[name]
    run = survives(agent, script, hand_off=hand_off, surroundings=AROUND.get(name, PLAIN), every=EVERY)
    assert run.awaits > 25
    assert not run.errors


@pytest.mark.slow
@pytest.mark.parametrize("hand_off", [False, True], ids=["crash", "hand-off"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_at_no_moment_at_all_a_pod_that_leaves_changes_a_call(name: str, hand_off: bool) -> None:
    """As above, at each of them."""
    agent, script = SCRIPTS[name]
    survives(agent, script, hand_off=hand_off, surroundings=AROUND.get(name, PLAIN))


def test_a_script_that_never_ends_tells_nothing_and_is_refused() -> None:
    """What is typed is echoed in text: of it no 600 ms are ever heard, with a crash or without."""
    with pytest.raises(ValueError, match=r"waits for something that never comes(?s:.*)ended: stuck"):
        survives(Echo, ("hello", Type("again"), Truncate(600)), every=1_000)


def test_an_agent_in_twelve_lines_survives_a_crash_at_every_moment() -> None:
    """Text in, text out."""

    class Counter(Scripted):
        name = "counter"

        async def answer(self, turn: ScriptedTurn) -> Sentences:
            for n in range(1, 3):
                yield f"This is sentence number {n}. "

    run = survives(Counter, "hello")
    assert run.text == "This is sentence number 1. This is sentence number 2. "


def test_what_an_agent_forgets_is_found_and_shown() -> None:
    """Side by side, with the moment at which it happened."""
    with pytest.raises(Mismatch) as caught:
        survives(Forgetful, ["hello", "you"], every=EVERY)
    shown = str(caught.value)
    assert "with a crash at moment" in shown
    assert "That was turn 2" in shown
    assert any(line.startswith("! reply") and "That was turn 1" in line for line in shown.splitlines())


def test_another_version_may_take_over() -> None:
    """Each pod has its own; the transcript is that of all."""

    class Polite(Forgetful):
        async def answer(self, call: Call, asked: Asked) -> None:
            async with call.speak() as speech:
                await speech.text("Good evening. ")

    run = simulate(Forgetful, ["hello", HandOffNow(), "you"], versions=[Forgetful, Polite])
    assert [reply.text for reply in run.replies] == ["Good day. ", "That was turn 1. ", "Good evening. "]


def test_what_the_agent_raises_is_in_the_transcript() -> None:
    """And the call goes on."""

    class Broken(Clerk):
        async def answer(self, call: Call, asked: Asked) -> None:
            raise ValueError("no idea")

    run = simulate(Broken, ["hello", Type("you")])
    assert run.errors == ["ValueError: no idea"]
    assert run.faults == {"raised": 2}
    assert [reply.status for reply in run.replies] == ["completed", "failed", "failed"]
    assert run.ended == "hangup"


def test_an_agent_that_is_given_as_an_object_is_copied_for_each_pod() -> None:
    """Pods share nothing but the store."""
    agent = Forgetful()
    assert simulate(agent, ["hello", HandOffNow(), "you"]).text == "Good day. That was turn 1. That was turn 1. "
    assert agent.turns == 0


def test_two_transcripts_are_shown_side_by_side() -> None:
    """Lines that differ are marked; long ones are folded."""
    one = CallTranscript(items=["user: hello", "assistant: " + "la " * 40], ended="hangup")
    two = CallTranscript(items=["user: hello", "assistant: lo"], ended="hangup")
    lines = str(Mismatch("with a crash at moment 3 of 9", one, two)).splitlines()
    assert lines[0] == "The call is another one, with a crash at moment 3 of 9:"
    assert [line[0] for line in lines[1:]] == [" ", " ", " ", "!", "!", "!", " "]


class LateVoice(WordVoice):
    """Takes 600 ms to its first audio, as one far away does."""

    async def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        await asyncio.sleep(LATE_S)
        async for piece in super().say(utterance):
            yield piece


LATE_S = 0.6
SENTENCES = ("We are open from nine to five. ", "Come by any day of the week. ", "Bring your friends. ", "Bye. ")


class Reader(Agent):
    """Says sentences, each told before if it `prepares`; notes how long it takes until the caller has heard them."""

    name = "reader"
    took_s: ClassVar[list[float]] = []

    def __init__(self, *, prepares: bool = True) -> None:
        self.prepares = prepares

    async def run(self, call: Call) -> None:
        async for event in call.events():
            if isinstance(event, Asked):
                began_s = asyncio.get_running_loop().time()
                async with call.speak() as speech:
                    for sentence, then in zip(SENTENCES, (*SENTENCES[1:], ""), strict=True):
                        if self.prepares and sentence is SENTENCES[0]:
                            speech.prepare(sentence)
                        if self.prepares and then:
                            speech.prepare(then)
                        await speech.text(sentence)
                await speech.heard()
                self.took_s.append(asyncio.get_running_loop().time() - began_s)


@pytest.mark.parametrize("prepares", [True, False])
def test_between_sentences_that_are_prepared_there_is_no_silence(*, prepares: bool) -> None:
    """However long the voice takes to begin; without it, that is heard but for the lead of what was sent."""
    Reader.took_s.clear()
    run = simulate(partial(Reader, prepares=prepares), [Type("go")], surroundings=Surroundings(voice=LateVoice))
    [took_s] = Reader.took_s
    [reply] = run.replies
    assert reply.text == "".join(SENTENCES)
    silence_s = took_s - PCM.ms(len(reply.audio)) / 1000 - LATE_S
    assert silence_s < 0.05 if prepares else silence_s > 0.3


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("hand_off", [False, True])
def test_what_is_prepared_is_said_once_whenever_its_pod_is_gone(*, hand_off: bool, every: int) -> None:
    """As much of it as without preparing, to the sample."""
    around = Surroundings(voice=LateVoice)
    run = survives(Reader, [Type("go")], surroundings=around, hand_off=hand_off, every=every)
    plain = simulate(partial(Reader, prepares=False), [Type("go")], surroundings=around)
    assert [(reply.text, reply.audio) for reply in run.replies] == [
        (reply.text, reply.audio) for reply in plain.replies
    ]


class Eager(Agent):
    """Begins to think in a pause that may end the turn; throws that away if the caller goes on."""

    name = "eager"
    thought: ClassVar[list[str]] = []

    async def run(self, call: Call) -> None:
        listening = asyncio.create_task(self._listen(call))
        try:
            async for event in call.events():
                if isinstance(event, Asked):
                    async with call.speak() as speech:
                        await speech.text(f"You said {event.text}. ")
        finally:
            listening.cancel()

    async def _listen(self, call: Call) -> None:
        async for heard in call.hearing():
            self.thought.append(f"{heard.kind} {heard.text}")


def test_what_is_being_heard_is_told_in_a_simulation() -> None:
    """A call survives as it does without."""
    Eager.thought.clear()
    simulate(Eager, "hello there")
    assert Eager.thought == ["started None", "paused hello there", "stopped hello there"]
    survives(Eager, ["hello there", BargeIn("wait", 900)], every=EVERY)


class OwnEarAgent(Agent):
    """Understands its callers itself, once it is asked."""

    name = "understands"

    async def run(self, call: Call) -> None:
        async for event in call.events():
            if isinstance(event, Asked) and event.clip is not None:
                text = words_in(event.clip.audio)
                spoken = [item for item in event.items if item["role"] == "user"]
                async with call.speak() as speech:
                    await speech.text(f"You said {text}. ")
                    await call.transcribed(str(spoken[-1]["id"]), text)


def test_what_an_agent_understands_itself_is_kept_whenever_its_pod_is_gone() -> None:
    """The client is told once, and never that it was not understood."""
    wants = {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}
    around = Surroundings(ear=AgentEar, session=wants)
    run = survives(OwnEarAgent, ["hello there", "and more"], surroundings=around)
    assert [line for line in run.items if line.startswith("user")] == ["user: hello there", "user: and more"]
    told = [kind for kind in run.event_types if "transcription" in kind]
    assert [kind.rpartition(".")[2] for kind in told] == ["delta", "completed"] * 2
