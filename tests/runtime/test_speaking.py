"""A reply at the pace of speech, without a pod: what the agent yields, and when the call is told of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from app.agents.base import Audio, HangUp, ReplyPart, Text, Turn
from app.call import inputs, machine
from app.call.audio import PCM
from app.call.record import Call
from app.runtime.audio_pacer import CHUNK_MS
from app.runtime.speaking import Performance
from tests.call.calls import happen, new_call
from tests.runtime.clocks import StoppedClock
from tests.runtime.rig import CountingObserver, ScriptedAgent


class RecordingStage:
    """Feeds the call, and notes when."""

    def __init__(self, call: Call, clock: StoppedClock, *, finishes: bool = True) -> None:
        self.call = call
        self.clock = clock
        self.finishes = finishes
        """Whether it lives until the reply is over."""
        self.fed: list[tuple[inputs.Input, float]] = []
        self.waited_for: list[int] = []
        """How many chunks had come whenever the agent was to wait for the store."""

    def feed(self, happened: inputs.Input) -> None:
        if isinstance(happened, inputs.ReplyFinished) and not self.finishes:
            return
        self.fed.append((happened, self.clock.now_s))
        machine.step(self.call, happened, self.clock.wall_ms())

    async def wait_for_capacity(self) -> None:
        """Everything is durable at once."""
        self.waited_for.append(len(self.times(inputs.ReplyAudio)))

    async def durable(self) -> None:
        """Everything is durable at once."""

    def times(self, kind: type[inputs.Input]) -> list[float]:
        """When inputs of a kind came."""
        return [at_s for happened, at_s in self.fed if isinstance(happened, kind)]


class Leaving(ScriptedAgent):
    """Says so many chunks far ahead of their time, and may hang up then."""

    def __init__(self, *, hangs_up: bool, lead_ms: int) -> None:
        super().__init__(chunks=30)
        self.hangs_up = hangs_up
        self.lead_ms = lead_ms

    async def reply(self, turn: Turn) -> AsyncIterator[ReplyPart]:
        yield Text("goodbye")
        yield Audio(bytes(self.chunks * PCM.size(CHUNK_MS)), PCM)
        if self.hangs_up:
            yield HangUp()


async def spoken(*, hangs_up: bool, lead_ms: int, finishes: bool = True) -> RecordingStage:
    """A reply of three seconds, from its start to its end."""
    clock = StoppedClock()
    call = new_call()
    happen(call, inputs.CreateResponse({}), now_ms=clock.wall_ms())
    stage = RecordingStage(call, clock, finishes=finishes)
    await Performance(stage, Leaving(hangs_up=hangs_up, lead_ms=lead_ms), clock, CountingObserver()).run()
    return stage


async def test_an_agents_hang_up_waits_until_what_was_said_has_been_heard() -> None:
    """Sent ahead of its time, the goodbye would be cut off by the close of the connection."""
    stage = await spoken(hangs_up=True, lead_ms=60_000)
    first_s, *_, last_s = stage.times(inputs.ReplyAudio)
    (finished_s,) = stage.times(inputs.ReplyFinished)
    assert last_s == first_s
    assert finished_s - first_s == 3.0
    finished = stage.fed[-1][0]
    assert isinstance(finished, inputs.ReplyFinished)
    assert finished.hang_up


async def test_a_hang_up_waits_though_another_pod_has_said_all() -> None:
    """It died when all was made and little of it heard; its caller, who has come back meanwhile, hears the rest."""
    before = await spoken(hangs_up=False, lead_ms=60_000, finishes=False)
    clock, call = before.clock, before.call
    clock.now_s += 1.0
    stage = RecordingStage(call, clock)
    await Performance(stage, Leaving(hangs_up=True, lead_ms=60_000), clock, CountingObserver()).run()
    assert stage.times(inputs.ReplyAudio) == []
    (finished_s,) = stage.times(inputs.ReplyFinished)
    assert finished_s - before.times(inputs.ReplyAudio)[0] == 3.0


async def test_a_reply_without_a_hang_up_is_over_when_it_is_made() -> None:
    """The caller's next turn need not wait until it has been heard."""
    stage = await spoken(hangs_up=False, lead_ms=60_000)
    assert stage.times(inputs.ReplyFinished) == stage.times(inputs.ReplyAudio)[:1]


async def test_audio_is_let_out_as_far_ahead_as_the_agent_wants() -> None:
    """Each chunk so long before its time, and none later."""
    stage = await spoken(hangs_up=False, lead_ms=400)
    times = stage.times(inputs.ReplyAudio)
    due = [max(0.0, n * CHUNK_MS / 1000 - 0.4) for n in range(30)]
    assert [round(at_s - times[0], 6) for at_s in times] == [round(at_s, 6) for at_s in due]
    assert set(stage.waited_for) >= set(range(1, 31)), "no chunk comes before the store can bear it"
