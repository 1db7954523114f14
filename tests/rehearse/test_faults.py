"""What is done to pods strikes the one that serves most callers, and lasts until another one serves them."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import pytest

from tests.rehearse.scripted import QuickClock
from voice_agent.operate.ports import CutoverError
from voice_agent.rehearse.callers import Callers
from voice_agent.rehearse.environment import RehearsalEnvironment
from voice_agent.rehearse.faults import MOVED_S, PodFaults


class ScriptedCallers:
    """Callers whom edges hold; those on a pod that is struck are moved by the look that follows `stays_for` others."""

    def __init__(self, stays_for: float, **on: int) -> None:
        self.on = Counter(on)
        self.struck = ""
        self._looks_left = stays_for

    def on_pods(self) -> Counter[str]:
        if self.struck and self._looks_left <= 0:
            self.on["other"] += self.on.pop(self.struck, 0)
        if self.struck:
            self._looks_left -= 1
        return self.on


class ScriptedPods:
    """Notes what is done to pods."""

    def __init__(self, callers: ScriptedCallers) -> None:
        self.done: list[str] = []
        self.pods = {name: name for name in callers.on}
        self._callers = callers

    def __getattr__(self, what: str) -> Any:
        def note(pod: str) -> Any:
            self.done.append(f"{what} {pod}")
            self._callers.struck = pod

        async def wait(pod: str) -> None:
            note(pod)

        return note if what in ("pause", "unpause") else wait


def faults(callers: ScriptedCallers) -> tuple[PodFaults, ScriptedPods, list[str]]:
    """What is to be done, what it does it to, and what it puts on the timeline."""
    pods, marks = ScriptedPods(callers), list[str]()
    made = PodFaults(
        cast("RehearsalEnvironment", pods),
        cast("Callers", callers),
        QuickClock(),
        lambda kind, text: marks.append(text),
    )
    return made, pods, marks


@pytest.mark.parametrize(
    ("what", "done"),
    [
        ("kill", ["kill busy", "start busy"]),
        ("stop", ["pause busy", "unpause busy"]),
        ("drain", ["drain busy", "start busy"]),
    ],
)
async def test_the_busiest_pod_is_struck_and_comes_back(what: str, done: list[str]) -> None:
    """Once nobody is on it any more: that is what is timed."""
    made, pods, marks = faults(ScriptedCallers(3, idle=1, busy=4))
    await getattr(made, what)()
    assert pods.done == done
    (fault,) = made.done
    assert (fault.pod, fault.calls) == ("busy", 4)
    assert fault.moved_s
    assert marks == [f"{fault.what} busy"]


async def test_callers_who_are_not_moved_are_told() -> None:
    """And the pod goes on, so that the rehearsal comes to its end."""
    made, pods, _ = faults(ScriptedCallers(float("inf"), busy=4))
    await made.stop()
    assert pods.done == ["pause busy", "unpause busy"]
    assert made.done[0].moved_s is None


async def test_without_callers_behind_edges_there_is_nothing_to_show() -> None:
    """Nobody waits for them without end."""
    made, _, _ = faults(ScriptedCallers(1))
    with pytest.raises(CutoverError, match="no caller of an edge"):
        await made.kill()
    assert MOVED_S <= 120
