"""Calls with a pipeline in virtual time: pods, their store and the providers are on one loop, and pods die at random.

Without sockets and without waiting a thousand calls take minutes. What is asked over HTTP is what a pod would ask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx
import structlog.testing

from tests.doubles.counting import Count, count
from tests.doubles.in_process import InProcess
from tests.doubles.provider import Provider
from tests.doubles.request_log import Request
from tests.doubles.tones import words_in
from tests.models.providers import FIRST_S, TOKEN_S, VOICE_PACE
from voice_agent.call.usage import UsageLedger
from voice_agent.kit.agent import Agent, Kit, _SharedClient
from voice_agent.testing.script import ScriptStep
from voice_agent.testing.simulated_caller import SimulatedCaller
from voice_agent.testing.simulated_pods import SimulatedPods
from voice_agent.testing.virtual_loop import PROCESS, VirtualLoop

END_S = 600.0
SETTLE_S = 10.0
"""Until all that was asked of providers is over."""
Plan = Callable[[Random, Mapping[str, Provider]], None]
"""What goes wrong with providers, by their hosts."""


@dataclass
class SimulatedCall:
    """What came of one."""

    heard: list[list[str]]
    """The words of each reply."""
    statuses: list[str]
    usage: UsageLedger
    requests: dict[str, list[Request]]
    """What each provider was asked, by its host."""
    kills: int
    is_done: bool
    silences_s: list[float] = field(default_factory=list)

    def counts(self, due: Sequence[range]) -> list[Count]:
        """The words of each reply against those that were due."""
        return [count(heard, numbers) for heard, numbers in zip(self.heard, due, strict=True)]


class Killer:
    """Has the pod that has the call die at moments of virtual time."""

    def __init__(self, loop: VirtualLoop, pods: SimulatedPods, times_s: Sequence[float]) -> None:
        self.kills = 0
        self._loop = loop
        self._pods = pods
        for time_s in times_s:
            loop.at(time_s, self._strike)

    def _strike(self) -> None:
        process = self._pods.serving
        if process is not None and process.alive and not self._pods.has_ended:
            self.kills += 1
            self._loop.kill(process)


def simulated_call(
    make_agent: Callable[[], Agent],
    settings: Mapping[str, Any],
    script: Sequence[ScriptStep],
    *,
    seed: int,
    hosts: Sequence[str] = ("first", "second"),
    kills_at_s: Sequence[float] = (),
    plan: Plan = lambda random, providers: None,
    session: Mapping[str, Any] | None = None,
) -> SimulatedCall:
    """One call from its beginning to its end. `settings`: of the agent, whose providers are at `hosts`."""
    random = Random(seed)
    with structlog.testing.capture_logs():
        loop = VirtualLoop(random)
        providers = {host: Provider(now_s=loop.time) for host in hosts}
        for provider in providers.values():
            provider.first_s, provider.token_s, provider.voice_pace = dict(FIRST_S), TOKEN_S, VOICE_PACE
        plan(random, providers)
        pods = SimulatedPods(loop, lambda _: make_agent(), lambda: _kit(loop, providers, settings))
        caller = SimulatedCaller("", list(script), pods, dict(session or {}))
        killer = Killer(loop, pods, kills_at_s)
        try:
            pods.begin()
            calling = loop.spawn(loop.process("caller"), caller.run())
            is_done = loop.run(calling.done, deadline_s=END_S)
            if is_done:
                calling.result()
                open_requests = [provider.log for provider in providers.values()]
                loop.run(
                    lambda: pods.has_ended and not any(log.open for log in open_requests),
                    deadline_s=loop.time() + SETTLE_S,
                )
            # A request that failed has been seen to by who waited for it.
            failed = [each for each in pods.failures() if "ProviderFailed" not in each]
            if failures := [*failed, *loop.faults]:
                raise RuntimeError(f"seed {seed}: {failures[0]}")
            assert pods.call is not None
            replies = caller.hearing.replies.values()
            return SimulatedCall(
                heard=[words_in(reply.audio) for reply in replies],
                statuses=[reply.status for reply in replies],
                usage=pods.call.usage or UsageLedger(),
                requests={host: provider.log.all for host, provider in providers.items()},
                kills=killer.kills,
                is_done=is_done,
            )
        finally:
            loop.dispose()


def _kit(loop: VirtualLoop, providers: Mapping[str, Provider], settings: Mapping[str, Any]) -> Kit:
    """Of the pod whose process runs this."""
    transport = InProcess(providers, loop.world.context)
    process = PROCESS.get()
    died = process.on_death

    def on_death() -> None:
        died()
        transport.client_died()

    process.on_death = on_death
    return Kit(settings=settings, _http=_InProcessClient(transport))


class _InProcessClient(_SharedClient):
    """What the agents of a pod share, over another transport."""

    def __init__(self, transport: InProcess) -> None:
        super().__init__()
        self._client = httpx.AsyncClient(transport=transport)
