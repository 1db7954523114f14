"""A pipeline says all that its model has to say, once, whatever becomes of pods and providers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.doubles.counting import count, number
from tests.doubles.model import GoingOn
from tests.doubles.request_log import Request
from tests.doubles.serving import Served
from tests.doubles.tones import sound_of, words_of
from tests.e2e.listener import Listener, listening
from tests.e2e.pods import Pods, pods
from tests.e2e.test_takeover import colors
from tests.models.hearing import replies
from tests.models.providers import AGENT, counting, providers, settings

WORDS = 24
SENTENCE = 6
TYPED = {"audio": {"input": {"turn_detection": None}}}
MOMENTS = 10


def due(caller: int) -> range:
    """The numbers that a caller is to hear: of no other."""
    return range(100 * caller, 100 * caller + WORDS)


def asks(caller: int) -> str:
    numbers = due(caller)
    return counting(numbers[0], numbers[-1], SENTENCE)


def requests_of(doubles: Sequence[Served], caller: int) -> list[Request]:
    """What models were asked for a caller, in order."""
    found = [
        request
        for double in doubles
        for request in double.provider.log.of("chat")
        if asks(caller) in request.was_asked_for
    ]
    return sorted(found, key=lambda request: request.began_at)


def was_told(request: Request) -> list[int]:
    """The numbers of the words of which a model was told that they were said."""
    said = "".join(each["content"] or "" for each in request.asked["messages"] if each["role"] == "assistant")
    return [found for found in map(number, words_of(said)) if found is not None]


@pytest.fixture
def doubles() -> Iterator[list[Served]]:
    with providers() as found:
        yield found


@pytest_asyncio.fixture
async def its(redis_url: str, doubles: list[Served]) -> AsyncIterator[Pods]:
    async with pods(redis_url) as found:
        found.settings = settings(doubles)
        yield found


async def test_a_spoken_conversation_by_three_addresses_and_a_key(its: Pods, doubles: list[Served]) -> None:
    """What is said goes to the ear, what it understood to the model, and the model's words are heard."""
    pod = await its.start()
    async with listening(pod.url, model=AGENT, session=TYPED) as caller:
        await caller.speak(sound_of(asks(1)))
        await caller.replies(1)
        await caller.speak(sound_of(asks(2)))
        await caller.replies(2)
    first, second = replies(caller)
    assert first.count(due(1)).is_exact, first.words
    assert second.count(due(2)).is_exact
    assert count(first.text, due(1)).is_exact
    assert (first.status, second.status) == ("completed", "completed")
    log = doubles[0].provider.log
    assert [request.heard for request in log.of("hear")] == [" ".join(words_of(asks(n))) for n in (1, 2)]
    assert len(log.of("chat")) == 2
    assert doubles[1].provider.log.all == []
    # One connection each is enough for requests that follow one another.
    assert len({request.connection for request in log.of("chat")}) == 1


@pytest.mark.parametrize(
    "going_on",
    [GoingOn.LAST_WORDS, *(pytest.param(it, marks=pytest.mark.slow) for it in GoingOn if it is not GoingOn.LAST_WORDS)],
)
async def test_a_reply_is_finished_wherever_its_pod_is_killed(
    its: Pods, doubles: list[Served], going_on: GoingOn
) -> None:
    """kill -9 while ten callers are at ten moments of their replies: each hears every word once.

    The model is asked for what is missing: it is told what was said, all of which the caller had, and more it need
    not say. Whether it says it nevertheless is up to the model.
    """
    for double in doubles:
        double.provider.going_on = going_on
    async with AsyncExitStack() as stack:
        blue, green, switch = await stack.enter_async_context(colors(its))
        callers: list[Listener] = []
        for at in range(MOMENTS):
            if callers:
                await callers[0].hears(at * WORDS * 16_000 // (MOMENTS + 1))
            callers.append(await stack.enter_async_context(listening(switch.url, model=AGENT, session=TYPED)))
            await callers[-1].type(asks(at))
        await callers[-1].until(lambda: callers[-1].audio)
        heard_before = [words_of(caller.words) for caller in callers]
        switch.target = green.port
        blue.kill()
        for caller in callers:
            await caller.replies(1)
    assert sum(len(words) < WORDS for words in heard_before) > MOMENTS // 2
    for at, caller in enumerate(callers):
        [reply] = replies(caller)
        assert count(reply.text, due(at)).is_exact, (at, reply.text)
        found = reply.count(due(at))
        assert found.is_complete, (at, found, reply.words)
        assert len(found.resaid) <= 1
        assert reply.status == "completed"
        caller.check_numbers()
        first, *later = requests_of(doubles, at)
        assert was_told(first) == []
        for request in later:
            told = was_told(request)
            assert told == list(due(at))[: len(told)]
            assert len(told) >= len(heard_before[at])
            if going_on is GoingOn.EXACT:
                assert not set(told) & set(map(number, words_of(request.answer)))
