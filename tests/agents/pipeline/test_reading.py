"""An answer that is read from providers that fail: `reading`, `answer`, `patience`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Self

import httpx
import pytest

from tests.doubles.counting import sentences
from tests.doubles.faults import Fault, Kind
from tests.doubles.in_process import InProcess
from tests.doubles.model import GoingOn
from tests.doubles.provider import Provider
from tests.waiting import until
from voice_agent.agents.pipeline.answer import FAILED, ModelAnswer, Sentences
from voice_agent.agents.pipeline.asking import Asking
from voice_agent.agents.pipeline.patience import FIRST_WORDS_S
from voice_agent.agents.pipeline.reading import AnswerReader
from voice_agent.agents.pipeline.settings import PipelineSettings
from voice_agent.providers.chat import ChatRequest
from voice_agent.providers.chat_chunks import MAX_TEXT_BYTES, ToolCall
from voice_agent.providers.client import ProviderClient
from voice_agent.providers.failover import Failover
from voice_agent.testing.virtual_loop import VirtualLoop

WORDS = sentences(range(1, 13), 4)
REQUEST = ChatRequest(messages=[{"role": "user", "content": "count from 1 to 12 in sentences of 4"}])


class Reading:
    """Readers of answers to one request, in virtual time."""

    def __init__(self, *providers: Provider, request: ChatRequest = REQUEST) -> None:
        self.providers = providers
        hosts = {f"model{n}": provider for n, provider in enumerate(providers)}
        addresses = ",".join(f"http://{host}/v1" for host in hosts)
        settings = PipelineSettings(model=addresses, model_name="counting")
        self.loop = VirtualLoop(Random(0))
        client = ProviderClient(httpx.AsyncClient(transport=InProcess(hosts)), now_s=self.loop.time)
        self.failover = Failover(client, settings.endpoints)
        self.asking = Asking(request, settings)
        self.gaps_s: list[float] = []
        """How long each piece was waited for."""
        self.pieces: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.loop.dispose()

    def read(self, said: str = "", speak: Callable[[str], Awaitable[Any]] | None = None) -> ModelAnswer:
        """The answer to the request; `speak`: what is done with each piece before the next is waited for."""

        async def reading() -> ModelAnswer:
            reader, given = AnswerReader(self.failover, self.asking, said), Sentences()
            reader.give_to(given, "resp_a")
            taking = asyncio.create_task(self._take(given, speak))
            answer = await reader.answer()
            given.close()
            await taking
            await reader.close()
            return answer

        task = self.loop.spawn(self.loop.world, reading())
        assert self.loop.run(task.done, deadline_s=self.loop.time() + 600)
        return task.result()

    async def _take(self, given: Sentences, speak: Callable[[str], Awaitable[Any]] | None) -> None:
        began_s = self.loop.time()
        while (piece := await given.get()) is not None:
            self.gaps_s.append(self.loop.time() - began_s)
            self.pieces.append(piece)
            if speak is not None:
                await speak(piece)
            began_s = self.loop.time()

    @property
    def open_requests(self) -> int:
        self.loop.run(lambda: False, deadline_s=self.loop.time() + 2)
        return sum(request.ended_at is None for provider in self.providers for request in provider.log.all)


def sent_bytes() -> int:
    """Of the whole answer."""
    with Reading(Provider()) as reading:
        reading.read()
        return reading.providers[0].log.all[0].sent_bytes


@pytest.mark.parametrize("every", [101, pytest.param(17, marks=pytest.mark.slow)])
@pytest.mark.parametrize("going_on", GoingOn)
@pytest.mark.parametrize("kind", ["cut", "short", "garbage", "stall"])
def test_an_answer_that_breaks_off_anywhere_is_whole_in_the_end(kind: Kind, going_on: GoingOn, every: int) -> None:
    """No word is missing or repeated, no request is left open, and the caller waits no longer than for a hedge."""
    size = sent_bytes()
    for at in range(0, size, every):
        with Reading(Provider(), Provider(going_on=going_on)) as reading:
            reading.providers[0].faults.add("chat", Fault(kind, after_bytes=at))
            answer = reading.read()
            assert answer.text.split() == WORDS.split(), at
            assert (answer.reason, answer.calls) == ("stop", ()), at
            assert answer.text.startswith("".join(reading.pieces))
            assert max(reading.gaps_s, default=0.0) <= 0.7, at
            assert reading.open_requests == 0


@pytest.mark.parametrize("kind", ["cut", "short"])
def test_one_provider_alone_is_asked_again(kind: Kind) -> None:
    """There is no other."""
    with Reading(Provider()) as reading:
        reading.providers[0].faults.add("chat", Fault(kind, after_bytes=2_000))
        assert reading.read().text.split() == WORDS.split()


def test_what_was_said_on_another_pod_is_part_of_the_answer() -> None:
    """And is not given again."""
    said = " ".join(WORDS.split()[:5]) + " "
    for going_on in GoingOn:
        with Reading(Provider(going_on=going_on)) as reading:
            answer = reading.read(said)
            assert answer.text.split() == WORDS.split()
            assert not "".join(reading.pieces).startswith(said)


def test_providers_that_all_fail_end_the_answer_where_it_is() -> None:
    """At a whole word, after a bounded number of tries."""
    first, second = Provider(), Provider()
    for provider in (first, second):
        provider.faults.always("chat", Fault("cut", after_bytes=600))
    with Reading(first, second) as reading:
        answer = reading.read()
        assert answer.reason == FAILED
        assert WORDS.startswith(answer.text.strip())
        assert answer.text.split() == WORDS.split()[: len(answer.text.split())]
        assert len(first.log.all) + len(second.log.all) <= 12
        assert reading.open_requests == 0


@pytest.mark.parametrize("fault", [Fault("timeout"), Fault("stall", after_bytes=100), Fault("status", status=500)])
def test_a_model_that_never_answers_is_given_up_in_time(fault: Fault) -> None:
    """Before the agent is taken for dead."""
    provider = Provider()
    provider.faults.always("chat", fault)
    with Reading(provider) as reading:
        assert reading.read() == ModelAnswer("", (), FAILED)
        assert reading.loop.time() <= FIRST_WORDS_S + 3
        assert reading.open_requests == 0


def test_a_pause_is_waited_through_while_the_caller_has_something_to_hear() -> None:
    """It is the caller's silence that counts."""
    with Reading(Provider(), Provider()) as reading:
        reading.providers[0].faults.add("chat", Fault("stall", after_bytes=3_300, seconds=3))
        # Virtual time: so long a piece takes to be said.
        answer = reading.read(speak=lambda piece: asyncio.sleep(4))
        assert answer.text == WORDS
        assert reading.providers[1].log.all == []


def test_models_that_are_all_slow_are_not_asked_in_turns_for_ever() -> None:
    """After two changes the third is heard out."""
    first, second = Provider(), Provider()
    first.token_s = second.token_s = 0.6
    with Reading(first, second) as reading:
        assert reading.read().text.split() == WORDS.split()
        assert len(first.log.all) + len(second.log.all) <= 6


def test_a_slow_end_of_the_stream_holds_nothing_up() -> None:
    """What it cost is waited for a moment, behind the answer."""
    provider = Provider()
    with Reading(provider) as reading:
        provider.faults.add("chat", Fault("stall", after_bytes=sent_bytes() - 20))
        assert reading.read().reason == "stop"
        assert reading.loop.time() <= 2
        assert reading.open_requests == 0


async def test_a_reader_that_is_closed_leaves_no_request_open() -> None:
    """Wherever it is."""
    provider = Provider()
    provider.first_s["chat"] = 60
    http = httpx.AsyncClient(transport=InProcess({"model0": provider}))
    settings = PipelineSettings(model="http://model0/v1", model_name="counting")
    reader = AnswerReader(Failover(ProviderClient(http), settings.endpoints), Asking(REQUEST, settings))
    await until(lambda: provider.log.open)
    await reader.close()
    with pytest.raises(asyncio.CancelledError):
        await reader.answer()
    await asyncio.sleep(0)
    assert all(request.ended_at is not None for request in provider.log.all)


def test_an_answer_is_kept_as_it_was() -> None:
    """On another pod it is the same."""
    answer = ModelAnswer("We are open. ", (ToolCall("a", "look", "{}"),), "tool_calls")
    assert ModelAnswer.unpacked(answer.packed()) == answer


def test_an_answer_without_end_ends() -> None:
    """However many providers it comes from: it is kept as one act."""
    words = MAX_TEXT_BYTES // 4
    asked = ChatRequest(messages=[{"role": "user", "content": f"count from 1 to {words} in sentences of 4"}])
    with Reading(Provider(), request=asked) as reading:
        answer = reading.read()
        assert answer.reason == "length"
        assert len(answer.text.encode()) <= MAX_TEXT_BYTES


async def test_who_is_cancelled_while_a_reader_is_closed_is_cancelled() -> None:
    """An interruption comes as a cancellation: none is lost, and the reader is closed all the same."""
    provider = Provider()
    provider.first_s["chat"] = 60
    http = httpx.AsyncClient(transport=InProcess({"model0": provider}))
    settings = PipelineSettings(model="http://model0/v1", model_name="counting")
    reader = AnswerReader(Failover(ProviderClient(http), settings.endpoints), Asking(REQUEST, settings))
    await until(lambda: provider.log.open)
    closing = asyncio.create_task(reader.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await until(lambda: not provider.log.open)
