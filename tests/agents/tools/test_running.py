"""Tools within an event of a call: what is durable of them, what is said meanwhile, and who may interrupt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.agents.tools.booking import Booking, Desk, Tables
from tests.kit.recording_call import RecordingCall
from voice_agent.agents.tools.running import ToolInterrupted, ToolRequest, run_tool, run_tools
from voice_agent.kit.call import KeyReused, SideEffect
from voice_agent.kit.speech import SpeechInterrupted
from voice_agent.kit.voice import VoiceFailed
from voice_agent.testing.call_transcript import CallTranscript
from voice_agent.testing.script import BargeIn, Cancel, HangUpNow, Script, Type
from voice_agent.testing.simulate import simulate

SAYS = "One moment, please. "
ONE: Script = [Type("us")]


def talk(tools: Callable[[Tables], list[Any]], script: Script, **how: Any) -> tuple[CallTranscript, Tables]:
    """A call, and what its tools have done."""
    tables = Tables()
    return simulate(lambda: Desk(*tools(tables)), script, **how), tables


def slow(tables: Tables, wait_s: float = 1.0, **options: Any) -> list[Any]:
    """One tool, which takes twice as long."""
    return [Booking(tables, wait_s, says=SAYS, **options)]


def test_what_a_tool_gave_is_said() -> None:
    """A tool that is quick has nothing said meanwhile."""
    run, tables = talk(lambda tables: [Booking(tables, 0.1, says=SAYS)], ONE)
    assert [reply.text for reply in run.replies] == ["You have table 1. "]
    assert list(tables.asked.values()) == [1]
    assert not run.errors


def test_while_a_slow_tool_runs_something_is_said() -> None:
    """In an item of its own, of the same response; and once, whatever number of tools runs."""
    run, _ = talk(lambda tables: [*slow(tables), Booking(tables, 1.5, "other", says="Hm. ")], ONE)
    assert [line for line in run.items if line.startswith("assistant")] == [
        f"assistant: {SAYS}",
        "assistant: You have table 1. You have table 2. ",
    ]
    assert run.event_types.count("response.created") == 1


EVERY = 12
"""Of so many moments one, where all would take too long."""


@pytest.mark.parametrize("hand_off", [False, True], ids=["crash", "hand-off"])
@pytest.mark.parametrize("wait_s", [0.0, 1.0])
def test_a_pod_that_is_gone_at_a_moment_changes_neither_words_nor_what_is_done(wait_s: float, hand_off: bool) -> None:
    """What is said while the tool runs is said once and to its end, and nothing is booked twice."""
    compared(wait_s, hand_off, EVERY)


@pytest.mark.slow
@pytest.mark.parametrize("hand_off", [False, True], ids=["crash", "hand-off"])
@pytest.mark.parametrize("wait_s", [0.0, 1.0])
def test_whatever_moment_a_pod_is_gone_at(wait_s: float, hand_off: bool) -> None:
    """As above, at each of them."""
    compared(wait_s, hand_off, 1)


def compared(wait_s: float, hand_off: bool, every: int) -> None:
    """Try a pod that is gone at every so-manieth moment."""
    tables = Tables()
    two = [Type("us"), Type("them")]

    def desk() -> Desk:
        return Desk(Booking(tables, wait_s, says=SAYS), Booking(tables, 0.2, "other"))

    expected = simulate(desk, two)
    assert "table 4" in str(expected)
    for moment in range(1, expected.awaits + 1, every):
        tables = Tables()
        got = simulate(desk, two, crash_at=None if hand_off else moment, hand_off_at=moment if hand_off else None)
        assert got.replies == expected.replies, f"at moment {moment}"
        assert not got.faults, f"at moment {moment}"
        assert len(tables.given) == 4, f"at moment {moment}"


def test_a_caller_who_interrupts_does_not_undo_what_is_being_done() -> None:
    """What the tool gave is there for the next reply, and it is not asked for again."""
    run, tables = talk(lambda tables: slow(tables, 3.0), ["us", BargeIn("hm", 300)])
    first, *_ = run.replies
    assert first.status == "cancelled"
    assert SAYS.startswith(first.text)
    assert len(tables.given) == 2
    assert not run.errors


def test_a_tool_that_only_reads_is_given_up_when_the_caller_interrupts() -> None:
    """Who asks for something else need not wait for it."""
    run, tables = talk(lambda tables: slow(tables, 3.0, read_only=True), ["us", Cancel(300)])
    assert run.replies[0].status == "cancelled"
    assert not tables.given
    assert not run.errors


def test_whenever_a_pod_is_gone_a_tool_that_was_interrupted_is_not_run_twice() -> None:
    """The caller interrupted what was said meanwhile; what the tool gave is remembered all the same."""
    script: Script = ["us", BargeIn("hm", 300)]
    expected = simulate(lambda: Desk(*slow(Tables(), 2.0)), script)
    for moment in range(1, expected.awaits + 1, EVERY):
        run, tables = talk(lambda tables: slow(tables, 2.0), script, crash_at=moment)
        assert len(tables.given) == 2, f"at moment {moment}"
        assert [reply.status for reply in run.replies] == [reply.status for reply in expected.replies]
        assert run.replies[1].text.endswith("You have table 2. "), f"at moment {moment}"
        assert not run.errors, f"at moment {moment}"


def test_a_caller_who_hangs_up_leaves_nothing_behind() -> None:
    """The call ends while its tool runs."""
    run, _ = talk(lambda tables: slow(tables, 10.0), ["us", HangUpNow(300)])
    assert run.ended == "hangup"
    assert not run.errors


@pytest.mark.parametrize("error", [KeyReused("tool 0"), SpeechInterrupted()], ids=repr)
async def test_a_tool_that_fails_leaves_the_others_to_their_ends(error: Exception) -> None:
    """What the engine raises is raised when all of them have ended; an interruption with what they gave."""

    class Refusing(RecordingCall):
        async def once(self, key: str, run: SideEffect) -> Any:
            if key == "tool 0":
                raise error
            return await super().once(key, run)

    tables = Tables()
    requests = [ToolRequest(Booking(tables, 0.01), str(number), '{"guests": "us"}') for number in range(2)]
    with pytest.raises((KeyReused, ToolInterrupted)) as raised:
        await run_tools(Refusing(), requests)
    assert len(tables.given) == 1
    if isinstance(raised.value, ToolInterrupted):
        assert raised.value.outputs == [None, '{"table":1,"for":"us"}']


async def test_a_voice_that_fails_meanwhile_does_not_cost_what_the_tool_gave() -> None:
    """It matters more."""

    class Mute(RecordingCall):
        def speak(self, key: str = "reply", *, interruptible: bool = True) -> Any:
            raise VoiceFailed("mute", "raised", "is mute")

    with capture_logs() as logs:
        assert await run_tool(Mute(), Booking(Tables(), says=SAYS), "1", '{"guests": "us"}') == '{"table":1,"for":"us"}'
    assert [line["log_level"] for line in logs] == ["error"]
