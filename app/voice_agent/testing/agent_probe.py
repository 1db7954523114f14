"""What an agent does in a simulation: each of its waits is counted, each act noted, at any wait its pod may be struck.

A wait has two moments: when the agent begins it, and when it is over and the agent does not know yet. At the first
nothing that the agent did since its last wait is durable; at the second what it waited for has happened.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from voice_agent.kit.events import CallEvent, Started, Timer
from voice_agent.kit.speech import SpeechInterrupted
from voice_agent.testing.virtual_loop import PROCESS, Process, drop

Result = TypeVar("Result")


@dataclass(slots=True)
class AgentConduct:
    """How an agent behaves, apart from what it says."""

    slow_steps: dict[int, float] = field(default_factory=dict)
    """Real seconds of the steps that took long, by the moment that they led to."""
    unfinished: list[str] = field(default_factory=list)
    """Acts that went on while the next event was asked for."""
    first_words_s: dict[str, float] = field(default_factory=dict)
    """By event: how long it took to the first words of a speech of more than one sentence."""
    ends_s: list[float] = field(default_factory=list)
    """How long each run took to end once it was cancelled."""
    not_ended: int = 0
    """How many runs were cancelled and did not end."""


@dataclass(slots=True)
class AgentProbe:
    """One for a whole run, whatever pods it has."""

    strike_at: int | None = None
    """At which moment to call `strike`, counted from 1."""
    strike: Callable[[], bool] = lambda: False
    """Something happens to the pod; True: it is dead."""
    moments: int = 0
    conduct: AgentConduct = field(default_factory=AgentConduct)
    errors: list[str] = field(default_factory=list)
    """What the agent raised."""
    side_effects: dict[str, Counter[str]] = field(default_factory=dict)
    """By the agent's own name for it: how often it was done, by idempotency key."""
    runs: list[Process] = field(default_factory=list)
    """Where coroutines of the agent are under way; once each."""
    _known: dict[int, CallEvent] = field(default_factory=dict)
    """What came, by number."""

    def came(self, event: CallEvent) -> str:
        """An event comes, perhaps again; what it is called, the same in every run of the same script."""
        known = self._known.get(event.number)
        if not event.number:
            return _kind(event)  # In no record.
        if known is None or _kind(known) != _kind(event):
            # What a pod told before it was durable comes again under another number.
            self._known = {number: one for number, one in self._known.items() if number < event.number}
            self._known[event.number] = event
        kind = _kind(event)
        return f"{kind} {sum(_kind(one) == kind for number, one in self._known.items() if number <= event.number)}"

    @property
    def timers(self) -> list[str]:
        """Names of those that came, each once."""
        return [event.name for event in self._known.values() if isinstance(event, Timer)]

    @property
    def is_running(self) -> bool:
        """Whether the agent has something to do on a pod that is alive."""
        return any(process.alive for process in self.runs)

    def did(self, name: str, key: str) -> None:
        """A side effect is done."""
        self.side_effects.setdefault(name, Counter())[key] += 1

    def moment(self) -> bool:
        """A wait begins or is over; True if the pod is dead now."""
        self.moments += 1
        return self.moments == self.strike_at and self.strike()


def _kind(event: CallEvent) -> str:
    return "Resumed" if isinstance(event, Started) and event.resumed else type(event).__name__


SLOW_STEP_S = 0.05
"""From here on a step is noted."""


class Probed(Generic[Result]):
    """`await Probed(work, probe)` is `await work`, moment by moment. Of a pod that is dead no line runs any more."""

    def __init__(self, work: Awaitable[Result], probe: AgentProbe) -> None:
        self._work = work
        self._probe = probe
        self._cancelled_at_s: float | None = None

    def __await__(self) -> Generator[Any, Any, Result]:
        steps = self._work.__await__()
        try:
            return (yield from self._take(steps))
        except GeneratorExit:
            # The simulation is over: what the work does about that is of no interest.
            drop(steps)
            raise

    def _take(self, steps: Generator[Any, Any, Result]) -> Generator[Any, Any, Result]:
        probe = self._probe
        resume: Any = steps.send
        value: Any = None
        while True:
            began_s = time.perf_counter()
            try:
                waits_for = resume(value)
            except StopIteration as over:
                self._ended()
                result: Result = over.value
                return result
            except BaseException:
                self._ended()
                raise
            finally:
                step_s = time.perf_counter() - began_s
                if step_s > SLOW_STEP_S:
                    probe.conduct.slow_steps[probe.moments] = step_s
            if probe.moment():
                yield from _never()
            try:
                value = yield waits_for
                resume = steps.send
            except GeneratorExit:
                raise
            except BaseException as error:  # noqa: BLE001 whatever is thrown in here is the work's, a cancellation too
                resume, value = steps.throw, error
                is_cancelled = isinstance(error, asyncio.CancelledError) and not isinstance(error, SpeechInterrupted)
                if is_cancelled and self._cancelled_at_s is None:
                    self._cancelled_at_s = asyncio.get_running_loop().time()
                    probe.conduct.not_ended += 1
            if probe.moment():
                yield from _never()

    def _ended(self) -> None:
        if self._cancelled_at_s is not None:
            self._probe.conduct.not_ended -= 1
            self._probe.conduct.ends_s.append(asyncio.get_running_loop().time() - self._cancelled_at_s)


def _never() -> Generator[Any, Any, None]:
    """What a dead pod goes on with."""
    yield from asyncio.get_running_loop().create_future()


async def probed(work: Coroutine[Any, Any, Result], probe: AgentProbe) -> Result:
    """As `Probed`; notes also what the work raises."""
    process = PROCESS.get()
    probe.runs.append(process)
    try:
        return await Probed(work, probe)
    except SpeechInterrupted:
        raise
    except Exception as error:
        probe.errors.append(f"{type(error).__name__}: {error}")
        raise
    finally:
        probe.runs.remove(process)


async def task_probed(work: Coroutine[Any, Any, Result], probe: AgentProbe) -> Result:
    """As `Probed`, of a task that the agent made."""
    return await Probed(work, probe)
