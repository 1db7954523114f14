"""All callers of a rehearsal: what each of them is, and its calls, one after the other."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from enum import StrEnum
from typing import TypeAlias
from urllib.parse import urlencode
from uuid import uuid4

from openai import AsyncOpenAI

from voice_agent.rehearse.caller import RehearsedCaller
from voice_agent.rehearse.clients import AGENT, BrowserClient, SdkClient
from voice_agent.rehearse.environment import RehearsalEnvironment
from voice_agent.rehearse.figures import CallResult, RehearsalRecording
from voice_agent.rehearse.plain_call import HABITS, PlainCall
from voice_agent.rehearse.rehearsed_call import RehearsedCall
from voice_agent.rehearse.timeline import CallLine
from voice_agent.runtime.ports import Clock

MEDIUM_CALL_S = (30.0, 60.0)
"""Of a browser, and of every other caller who cannot resume and need not."""
BETWEEN_CALLS_S = (0.2, 1.0)
CONNECTS = 5
"""So often a caller tries to begin a call."""
CONNECT_AGAIN_S = 1.0
ARRIVING_S = 4.0
"""Callers come spread over this long, as in real life."""
LAST_CALLS_S = 90.0
LOOK_S = 0.1

AnyCall: TypeAlias = RehearsedCall | PlainCall


class Clients(StrEnum):
    """Which clients callers have."""

    MIXED = "mixed"
    PLAIN = "plain"
    RESUMING = "resuming"


KINDS: dict[Clients, tuple[tuple[str, bool], ...]] = {
    Clients.MIXED: (("sdk", False), ("browser", False), ("sdk", True), ("plain", True)),
    Clients.PLAIN: (("plain", True),),
    Clients.RESUMING: (("sdk", False), ("browser", False), ("sdk", True), ("browser", True)),
}
"""What callers are, in turn, and whether an edge holds them where there are edges."""


class Callers:
    """`talk` is to be a task for as long as they call; what they found goes to the recording."""

    def __init__(
        self,
        clients: Clients,
        count: int,
        environment: RehearsalEnvironment,
        recording: RehearsalRecording,
        clock: Clock,
        now_s: Callable[[], float],
        *,
        short_call_s: tuple[float, float],
    ) -> None:
        """`now_s`: since the rehearsal began. `short_call_s`: how long a call lasts that would be lost with its pod."""
        self.live: dict[int, RehearsedCaller[AnyCall]] = {}
        """Calls under way, by the number of their caller."""
        self.dropped = 0
        self._clients = clients
        self._count = count
        self._environment = environment
        self._recording = recording
        self._clock = clock
        self._now_s = now_s
        self._short_call_s = short_call_s
        self._lines: dict[str, CallLine] = {}
        """Of the calls that edges hold, by id."""
        self._sdks: dict[str, AsyncOpenAI] = {}
        self._enough = asyncio.Event()
        self._chance = random.Random(0)  # noqa: S311  # who talks when, not a secret

    async def talk(self) -> None:
        """Call again and again until `finish`."""
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            for address in {self._address(number) for number in range(self._count)}:
                base_url = address.replace("ws:", "http:").removesuffix("/realtime")
                self._sdks[address] = await stack.enter_async_context(AsyncOpenAI(base_url=base_url, api_key="unused"))
            for number in range(self._count):
                tasks.create_task(self._call_again(number))

    def finish(self) -> None:
        """Nobody begins another turn."""
        self._enough.set()

    # --- what is known of them --------------------------------------------------------

    @property
    def moves(self) -> int:
        """How often any call changed its connection to a pod so far."""
        self.follow_edges()
        lines = [call.line for call in self._recording.calls] + [caller.call.line for caller in self.live.values()]
        return sum(len(line.gaps_s) for line in lines)

    def on_pods(self) -> Counter[str]:
        """How many calls that edges hold each pod serves."""
        self.follow_edges()
        lines = [caller.call.line for caller in self.live.values()]
        return Counter(line.is_on for line in lines if line.edge and line.is_on)

    def follow_edges(self) -> None:
        """Take in what the edges say of the calls they hold."""
        for caller in self.live.values():
            if caller.call.line.edge and caller.call.line.call_id:
                self._lines[caller.call.line.call_id] = caller.call.line
        began_s = self._clock.monotonic_s() - self._now_s()
        for move in self._environment.edges.new_moves(began_s):
            if (line := self._lines.get(move.call_id)) is not None:
                line.moved(move)

    async def until_all_talk(self) -> None:
        """Wait until each has had an answer, or is dropped."""
        while any(caller.talk.turns < 2 and not caller.found.dropped for caller in self.live.values()):
            await self._clock.sleep(LOOK_S)

    async def until_only_resumable(self, pod: str) -> None:
        """Wait until a pod has no caller that would lose its call with it."""
        while any(_is_lost_with(pod, caller.call.line) for caller in self.live.values()):
            await self._clock.sleep(LOOK_S)

    # --- one caller -------------------------------------------------------------------

    async def _call_again(self, number: int) -> None:
        """One caller's calls, until it is enough. After a dropped call he gives up."""
        kind, _ = self._kind(number)
        cookies: dict[str, str] = {}
        tries = 0
        await self._clock.sleep(number / self._count * ARRIVING_S)
        while not self._enough.is_set():
            call = self._call(number, cookies)
            caller = RehearsedCaller(
                f"{kind}-{number}", call, self._environment.record, self._clock, self._chance.randrange(2**32)
            )
            self.live[number] = caller
            until_s = self._clock.monotonic_s() + self._longest_s(call.line)
            try:
                await caller.run(self._is_enough(until_s))
            finally:
                del self.live[number]
            tries += 1
            if caller.found.dropped and call.call_id is None and tries < CONNECTS:
                self._recording.connects_again += 1
                await self._clock.sleep(CONNECT_AGAIN_S)
                continue
            self._recording.calls.append(_result(caller))
            if caller.found.dropped:
                self.dropped += 1
                return
            tries = 0
            await self._clock.sleep(self._chance.uniform(*BETWEEN_CALLS_S))

    def _is_enough(self, until_s: float) -> Callable[[], bool]:
        return lambda: self._enough.is_set() or self._clock.monotonic_s() > until_s

    def _longest_s(self, line: CallLine) -> float:
        """How long this call is to last."""
        if line.kind == "sdk" or (line.edge and self._chance.random() < 0.5):
            return math.inf
        cannot_resume = line.kind == "plain" and not line.edge
        return self._chance.uniform(*(self._short_call_s if cannot_resume else MEDIUM_CALL_S))

    def _kind(self, number: int) -> tuple[str, bool]:
        kinds = KINDS[self._clients]
        return kinds[number % len(kinds)]

    def _edge(self, number: int) -> int | None:
        """Which edge holds a caller."""
        edges = len(self._environment.edges.all)
        return number // len(KINDS[self._clients]) % edges if edges and self._kind(number)[1] else None

    def _address(self, number: int) -> str:
        edge = self._edge(number)
        return self._environment.balancer.calls if edge is None else self._environment.edges.all[edge].calls

    def _call(self, number: int, cookies: dict[str, str]) -> AnyCall:
        kind, _ = self._kind(number)
        edge, address = self._edge(number), self._address(number)
        line = CallLine(f"{kind}-{number}", kind, edge="" if edge is None else self._environment.edges.all[edge].name)
        if kind == "plain":
            url = f"{address}?{urlencode({'model': AGENT})}"
            return PlainCall(url, line, self._now_s, HABITS[number % len(HABITS)])
        if kind == "sdk":
            return RehearsedCall(SdkClient(self._sdks[address]), line, self._now_s)
        # Every other one by key, which needs no code for a resume; the rest by the cookie and the call's id.
        call_key = uuid4().hex if number % 8 == 1 else None
        return RehearsedCall(BrowserClient(address, self._clock, cookies, call_key), line, self._now_s)


def _is_lost_with(pod: str, line: CallLine) -> bool:
    return line.kind == "plain" and not line.edge and line.is_on == pod


def _result(caller: RehearsedCaller[AnyCall]) -> CallResult:
    call = caller.call
    silence_s = call.playback.longest_silence_s if isinstance(call, PlainCall) else 0.0
    return CallResult(call.line, caller.found, caller.talk.turns, call.tally.events, silence_s)
