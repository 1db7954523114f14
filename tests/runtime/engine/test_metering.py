"""What `metered` promises, in a live call: requests count for the call in whose tasks they are made (`metering`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import orjson
import pytest

from tests.runtime.alone import Alone, alone, turns_pass
from tests.runtime.durability.test_usage_counting import UsageObserver
from tests.runtime.engine.agents import Acting, SpellingVoice
from tests.runtime.engine.crashes import Tape, engine_call, settled, taken_over
from tests.waiting import until
from voice_agent.call.changes import Snapshot
from voice_agent.call.inputs import CancelResponse, CreateItem, CreateResponse, EndCall, UpdateSession
from voice_agent.call.usage import Settled, Sums, add, settled_since
from voice_agent.kit.call import Call
from voice_agent.kit.clip import Clip, VoicedAudio
from voice_agent.kit.ear import Ear
from voice_agent.kit.events import Asked, Ended, Event
from voice_agent.kit.usage import METER, metered
from voice_agent.kit.voice import Utterance

PAIR = "openai/gpt"


class Provider:
    """Notes which requests reach it; answers each with what it used, unless it fails."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def ask(self, model: str = "gpt") -> None:
        """One request, counted."""
        async with metered("openai", model) as request:
            self.asked.append(request.id)
            await self.may_answer.wait()
            request.tokens(input=10, output=3)


def when_asked(act: Callable[[Call], Awaitable[None]]) -> Acting:
    """An agent that does this when a reply is due."""

    async def handle(call: Call, event: Event) -> None:
        if isinstance(event, Asked):
            await act(call)

    return Acting(handle)


@asynccontextmanager
async def asked(agent: Acting, snapshot: Snapshot | None = None) -> AsyncIterator[Alone]:
    """A call that is asked for a reply."""
    async with alone(engine_call() if snapshot is None else taken_over(snapshot), agent) as its:
        its.attach()
        its.live.resume_work()
        its.live.feed(UpdateSession({"type": "realtime", "output_modalities": ["text"]}))
        if not its.call.ids.responses_made:
            its.live.feed(CreateResponse({}))
        yield its


def sums(its: Alone) -> Sums:
    """Of the requests that are over."""
    return its.call.usage.settled() if its.call.usage is not None else {}


def stored_open(snapshot: Snapshot | None) -> set[str]:
    """Ids of the requests that are open in the store."""
    return set() if snapshot is None else set(orjson.loads(snapshot.fields.get("usage", b'{"open":{}}'))["open"])


async def test_a_request_is_sent_once_it_is_durable_that_it_begins() -> None:
    """Of every request that reaches a provider the store knows at that moment."""
    known: list[bool] = []

    async def act(call: Call) -> None:
        for _ in range(3):
            async with metered("openai", "gpt") as request:
                known.append(request.id in stored_open(await its.store.load(its.call.call_id)))
                request.tokens(input=1)

    async with asked(when_asked(act)) as its:
        await settled(its)
    assert known == [True] * 3
    assert sums(its) == {PAIR: Settled(3, 0, {"input_tokens": 3})}


async def test_while_the_store_does_not_answer_no_request_is_sent() -> None:
    """It waits, and goes on with the store's answer."""
    provider = Provider()
    async with alone(engine_call(), when_asked(lambda _: provider.ask())) as its:
        its.store.gate.clear()
        its.attach()
        its.live.feed(CreateResponse({}))
        await until(lambda: its.call.usage is not None)
        await turns_pass()
        assert provider.asked == []
        its.store.gate.set()
        await settled(its)
    assert len(provider.asked) == 1
    assert sums(its) == {PAIR: Settled(1, 0, {"input_tokens": 10, "output_tokens": 3})}


async def test_a_request_that_is_interrupted_before_it_is_sent_is_not_counted() -> None:
    """The caller speaks while it waits for the store."""
    provider = Provider()
    async with alone(engine_call(), when_asked(lambda _: provider.ask())) as its:
        its.store.gate.clear()
        its.attach()
        its.live.feed(CreateResponse({}))
        await until(lambda: its.call.usage is not None)
        its.live.feed(CancelResponse())
        its.store.gate.set()
        await settled(its)
    assert provider.asked == []
    assert sums(its) == {}
    assert its.call.usage is not None
    assert its.call.usage.open == {}


async def test_a_request_that_is_interrupted_is_unknown() -> None:
    """Nobody knows what it used; that is not nothing."""
    provider = Provider()
    provider.may_answer.clear()
    async with asked(when_asked(lambda _: provider.ask())) as its:
        await until(lambda: len(provider.asked) == 1)
        its.live.feed(CancelResponse())
        await settled(its)
    assert sums(its) == {PAIR: Settled(0, 1, {})}
    assert its.call.usage is not None
    assert its.call.usage.unknown_ids == provider.asked


async def test_a_request_whose_agent_raises_is_unknown_and_the_error_is_its_agents() -> None:
    """Counting hides no fault."""

    async def act(call: Call) -> None:
        async with metered("openai", "gpt"):
            raise ValueError("no answer")

    async with asked(when_asked(act)) as its:
        await settled(its)
        assert its.observer.counts["agent_fault", "raised"] == 1
    assert sums(its) == {PAIR: Settled(0, 1, {})}


async def test_a_pod_that_has_lost_the_call_sends_nothing_and_counts_nothing() -> None:
    """Also in a task of the agent's own, which is not cancelled with its run."""
    provider, metrics = Provider(), UsageObserver()
    may_ask, tasks = asyncio.Event(), list[asyncio.Task[None]]()

    async def later() -> None:
        await may_ask.wait()
        await provider.ask()

    async def act(call: Call) -> None:
        await provider.ask()
        tasks.append(asyncio.create_task(later()))

    async with asked(when_asked(act)) as its:
        its.live.writer._usage._observer = metrics
        await settled(its)
        assert metrics.told == [("openai", "gpt", Settled(1, 0, {"input_tokens": 10, "output_tokens": 3}))]
        its.live.writer.superseded()
        may_ask.set()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        await its.committer.flush(its.live.writer)
    assert len(provider.asked) == len(metrics.told) == 1


async def test_what_a_lost_pod_is_told_after_its_loss_counts_nowhere() -> None:
    """Its request is unknown to the next owner already."""
    provider, metrics = Provider(), UsageObserver()
    provider.may_answer.clear()
    tasks = list[asyncio.Task[None]]()

    async def act(call: Call) -> None:
        tasks.append(asyncio.create_task(provider.ask()))
        await asyncio.sleep(0)

    async with asked(when_asked(act)) as its:
        its.live.writer._usage._observer = metrics
        await until(lambda: len(provider.asked) == 1)
        await settled(its)
        held = await its.store.load(its.call.call_id)
        its.live.writer.superseded()
        provider.may_answer.set()
        await tasks[0]
        await its.committer.flush(its.live.writer)
        assert held is not None
        assert (await its.store.load(its.call.call_id)) == held
    assert metrics.told == []
    elsewhere = taken_over(held)
    assert elsewhere.usage is not None
    assert elsewhere.usage.settled() == {PAIR: Settled(0, 1, {})}


async def test_a_response_is_told_what_the_agents_own_requests_used() -> None:
    """Not what its voice was asked for, which counts for the call alone."""

    class PaidVoice(SpellingVoice):
        async def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
            async with metered("voices", "tts") as request:
                request.characters(len(utterance.text))
                async for piece in super().say(utterance):
                    yield piece

    async def handle(call: Call, event: Event) -> None:
        if isinstance(event, Asked):
            await Provider().ask()
            async with call.speak() as speech:
                await speech.text("hello")
                await Provider().ask("small")

    tape = Tape()
    async with alone(engine_call(), Acting(handle, PaidVoice(ms_a_char=1))) as its:
        tape.listen(its)
        its.attach()
        its.live.feed(CreateResponse({}))
        await settled(its)
        [event] = [orjson.loads(entry.head) for entry in its.call.outbox.after(0) if b'"response.done"' in entry.head]
    assert event["response"]["usage"]["total_tokens"] == 26
    assert sums(its)["voices/tts"] == Settled(1, 0, {"characters": 5})


@pytest.mark.parametrize("streams", [False, True])
async def test_an_ear_counts_for_the_call_that_it_hears(*, streams: bool) -> None:
    """Whichever of its methods is asked; and for no response."""

    class PaidEar(Ear):
        async def transcribe(self, clip: Clip) -> str | None:
            async with metered("ears", "stt") as request:
                request.audio_ms(clip.format.ms(len(clip.audio)))
            return "hello"

    agent = Acting()
    agent.ear = PaidEar()
    agent.ear.streams = streams
    async with alone(engine_call(), agent) as its:
        its.attach()
        audio = {"type": "message", "role": "user", "content": [{"type": "input_audio"}]}
        its.live.feed(CreateItem(audio, b"\x01\x00" * 2400))
        its.live.feed(CreateResponse({}))
        await settled(its)
        await until(lambda: bool(sums(its)) and its.call.response is None)
    assert sums(its) == {"ears/stt": Settled(1, 0, {"audio_ms": 100})}


async def test_what_is_asked_at_the_end_of_a_call_is_in_its_record() -> None:
    """A summary that an agent has made when it learns that the call is over."""
    provider = Provider()

    async def handle(call: Call, event: Event) -> None:
        if isinstance(event, Ended):
            await provider.ask()

    async with alone(engine_call(), Acting(handle)) as its:
        its.attach()
        await settled(its)
        its.live.feed(EndCall("admin"))
        its.live.responder.ended("admin")
        await until(lambda: bool(sums(its)))
        await its.committer.flush(its.live.writer)
        held = await its.store.load(its.call.call_id)
    assert held is not None
    assert b'"input_tokens":10' in held.fields["usage"]
    assert held.fields["status"] == b"ended"


async def test_outside_of_the_tasks_of_a_call_nothing_is_counted() -> None:
    """That of a test, while a call goes on."""
    async with asked(when_asked(lambda _: Provider().ask())) as its:
        await settled(its)
        assert METER.get() is None
        await Provider().ask()
    assert sums(its)[PAIR].known == 1


async def test_two_calls_of_one_agent_are_counted_apart() -> None:
    """Though their tasks are on one loop, and take turns."""

    async def act(call: Call) -> None:
        for _ in range(3):
            await Provider().ask(call.caller.id)

    agent = when_asked(act)
    async with asked(agent) as one, asked(agent) as other:
        await settled(one)
        await settled(other)
    assert sums(one) == sums(other)
    assert [settled.known for settled in sums(one).values()] == [3]


@pytest.mark.parametrize("voice_fails", [False, True])
async def test_after_each_write_the_pod_is_gone_and_no_request_counts_twice(*, voice_fails: bool) -> None:
    """Record and metrics have those that reached the provider, and those of which only the beginning is known."""
    figures = {"input_tokens": 10, "output_tokens": 3}

    def agent(provider: Provider) -> Acting:
        async def act(call: Call) -> None:
            await provider.ask()
            async with call.speak() as speech:
                await speech.text("one two ")
                await provider.ask()
                if voice_fails:
                    raise ValueError("broken")
                await speech.text("three four ")
            await provider.ask()

        return when_asked(act)

    tape, first = Tape(), Provider()
    async with alone(engine_call(), agent(first)) as its:
        tape.listen(its)
        its.attach()
        its.live.resume_work()
        await settled(its)
        its.live.feed(CreateResponse({}))
        await settled(its)
    assert len(tape.snapshots) > 5
    for snapshot in tape.snapshots:
        before = taken_over(snapshot).usage
        second, told = Provider(), UsageObserver()
        async with asked(agent(second), snapshot) as again:
            again.live.writer._usage._observer = told
            await settled(again)
        counted = sums(again).get(PAIR, Settled(0, 0, {}))
        was = before.settled().get(PAIR, Settled(0, 0, {})) if before is not None else Settled(0, 0, {})
        stored = before.stored.get(PAIR, Settled(0, 0, {})) if before is not None else Settled(0, 0, {})
        opened = stored_open(snapshot)
        assert counted.known == was.known + len(second.asked)
        assert counted.unknown == was.unknown == stored.unknown + len(opened)
        assert counted.figures == {unit: figure * counted.known for unit, figure in figures.items() if counted.known}
        assert opened <= set(first.asked)
        shown: dict[str, int] = {}
        for _, _, more in told.told:
            add(shown, {**more.figures, "known": more.known, "unknown": more.unknown})
        grown = dict(settled_since({PAIR: stored}, {PAIR: counted})).get(PAIR, Settled(0, 0, {}))
        assert shown.get("known", 0) == grown.known
        assert shown.get("unknown", 0) == grown.unknown == len(opened)
        assert shown.get("input_tokens", 0) == grown.figures.get("input_tokens", 0)
