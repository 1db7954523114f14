"""`simulate`: a call with an agent from its beginning to its end, without sockets and without waiting.

Pods, their calls and what they write are the real ones. Time is virtual, the store is in memory, the caller follows a
script, and the pod that has the call can be made to die, or to leave, at any moment at which the agent waits::

    run = simulate(Counter(), ["hello"])
    for k in range(1, run.awaits + 1):
        assert simulate(Counter(), ["hello"], crash_at=k).lines() == run.lines()

`survives` does just this, and shows the first difference.
"""

from __future__ import annotations

import asyncio
import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from random import Random
from typing import Any

import structlog.testing

from voice_agent.kit.agent import Agent, Kit
from voice_agent.kit.ear import Ear
from voice_agent.kit.voice import Voice
from voice_agent.testing.agent_probe import AgentProbe
from voice_agent.testing.call_transcript import CallTranscript, Mismatch, line_of, replies_of
from voice_agent.testing.observed_agent import ObservedAgent
from voice_agent.testing.script import Script, steps_of
from voice_agent.testing.simulated_caller import SimulatedCaller
from voice_agent.testing.simulated_pods import SimulatedPods
from voice_agent.testing.spoken_words import WordEar, WordVoice
from voice_agent.testing.virtual_loop import VirtualLoop

END_S = 3600.0
"""A call that is not over after so much virtual time goes no further."""
STUCK = "stuck"
OWN_EVENTS = ("agent.", "call.transfer", "rate_limits.updated")
SETTLE_S = 10.0
"""How long an agent may take to learn that the call is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What an agent is given in a simulation."""

    settings: Any = field(default_factory=dict)
    """See `Kit.settings`: an instance of the agent's class `Settings`, or a mapping of which one is made."""
    session: Mapping[str, Any] = field(default_factory=dict)
    """What the caller's first ``session.update`` says, as the protocol has it: ``{"tools": […]}``."""
    ear: Callable[[], Ear] = WordEar
    """Hears what the caller says; one is made for each pod."""
    voice: Callable[[], Voice] = WordVoice


PLAIN = Surroundings()


def simulate(
    agent: Agent | Callable[[], Agent],
    script: Script,
    *,
    crash_at: int | None = None,
    hand_off_at: int | None = None,
    versions: Sequence[Agent | Callable[[], Agent]] = (),
    surroundings: Surroundings = PLAIN,
) -> CallTranscript:
    """One call; what came of it.

    `agent`: a class, something that makes one, or an object, of which each pod gets a deep copy, for pods share
    nothing but the store. `crash_at`: the pod dies at this moment of the agent, counted from 1 to `awaits` of a run
    without; no line behind it runs, and what is not in the store is gone. `hand_off_at`: it begins to leave then, as
    for a release. `versions`: agents of the pods in the order in which they start, the last one of all later ones.

    What the agent raises stands in the transcript. Raises `RuntimeError` for a fault that is none of the agent's.
    """
    work = partial(_run, versions or (agent,), script, crash_at, hand_off_at, surroundings)
    if not _is_in_a_loop():
        return work()
    # A thread runs one loop at a time.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def survives(
    agent: Agent | Callable[[], Agent],
    script: Script,
    *,
    versions: Sequence[Agent | Callable[[], Agent]] = (),
    surroundings: Surroundings = PLAIN,
    hand_off: bool = False,
    every: int = 1,
) -> CallTranscript:
    """The call as it is when nothing goes wrong; raises `Mismatch` for the first moment at which a crash changes it.

    `hand_off`: the pod leaves instead. `every`: only at so many-th moments, for long scripts. With a voice that is
    not deterministic, words are compared and audio is not. Raises `ValueError` for a script that comes to no end even
    without a crash, as one that cuts a reply of which nothing is heard: two such calls are equal however they went.
    """
    runs = partial(simulate, agent, script, versions=versions, surroundings=surroundings)
    expected = simulate(versions[0] if versions else agent, script, surroundings=surroundings)
    if expected.ended == STUCK:
        raise ValueError(f"the script waits for something that never comes:\n{expected}")
    with_audio = surroundings.voice().deterministic
    for moment in range(1, expected.awaits + 1, every):
        got = runs(hand_off_at=moment) if hand_off else runs(crash_at=moment)
        if got.lines(with_audio=with_audio) != expected.lines(with_audio=with_audio):
            what = f"{'handed off' if hand_off else 'with a crash'} at moment {moment} of {expected.awaits}"
            raise Mismatch(what, expected, got, with_audio=with_audio)
    return expected


def _is_in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run(
    agents: Sequence[Agent | Callable[[], Agent]],
    script: Script,
    crash_at: int | None,
    hand_off_at: int | None,
    around: Surroundings,
) -> CallTranscript:
    with structlog.testing.capture_logs():
        loop = VirtualLoop(Random(0))  # noqa: S311 the same order in every run
        probe = AgentProbe(crash_at if hand_off_at is None else hand_off_at)

        def make_agent(number: int) -> Agent:
            made = _made(agents[min(number, len(agents) - 1)])
            return ObservedAgent(made, probe, around.ear(), around.voice())

        pods = SimulatedPods(loop, make_agent, lambda: Kit(settings=around.settings))
        probe.strike = pods.kill_current if hand_off_at is None else pods.leave_current
        caller = SimulatedCaller("", steps_of(script), pods, dict(around.session))
        try:
            pods.begin()
            process = loop.process("caller")
            calling = loop.spawn(process, caller.run())
            is_done = loop.run(calling.done, deadline_s=END_S)
            if is_done:
                calling.result()
                loop.run(lambda: pods.has_ended and not probe.is_running, deadline_s=loop.time() + SETTLE_S)
            if failures := [*pods.failures(), *loop.faults]:
                raise RuntimeError(failures[0])
            return _transcript(caller, pods, probe, is_done=is_done)
        finally:
            loop.dispose()


def _made(agent: Agent | Callable[[], Agent]) -> Agent:
    return copy.deepcopy(agent) if isinstance(agent, Agent) else agent()


def _transcript(caller: SimulatedCaller, pods: SimulatedPods, probe: AgentProbe, *, is_done: bool) -> CallTranscript:
    items = [] if pods.call is None else [dict(item) for item in pods.call.conversation.items()]
    texts = {item["id"]: line_of(item).partition(": ")[2] for item in items}
    own = [event for event in caller.hearing.events if event["type"].startswith(OWN_EVENTS)]
    left = {reply.item_id for reply in caller.hearing.replies.values() if not reply.status}
    return CallTranscript(
        replies=replies_of(list(caller.hearing.replies.values()), texts),
        items=[line_of(item) for item in items if item["id"] not in left],
        event_types=[kind for kind, _ in groupby(event["type"] for event in caller.hearing.events)],
        agent_events=[{name: value for name, value in event.items() if name != "event_id"} for event in own],
        timers=probe.timers,
        usage={} if pods.call is None or pods.call.usage is None else pods.call.usage.described(),
        side_effects={name: len(keys) for name, keys in probe.side_effects.items()},
        ended=_ended(caller, pods) if is_done else STUCK,
        errors=list(dict.fromkeys(probe.errors)),
        faults=Counter(pods.notes.faults),
        conduct=probe.conduct,
        awaits=probe.moments,
    )


def _ended(caller: SimulatedCaller, pods: SimulatedPods) -> str:
    return pods.notes.outcomes[-1] if pods.has_ended else f"closed with {caller.close_code}"
