"""Asking another one as well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from functools import partial

import pytest

from tests.waiting import until
from voice_agent.providers.answer_times import ENOUGH, FEW_UNUSUAL, AnswerTimes
from voice_agent.providers.errors import FailureKind, ProviderFailed
from voice_agent.providers.hedging import NoneAnswered, first_to_answer

LONG_S = 60.0


class Asked:
    """Generators that do as they are told, and are counted."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.closed: list[str] = []
        self.may_go = asyncio.Event()

    def start(self, name: str, *items: str | Exception | None) -> Callable[[], AsyncGenerator[str, None]]:
        """`items`: what it gives; None: it waits until it may go; an error: it raises that."""
        return partial(self._give, name, items)

    async def _give(self, name: str, items: tuple[str | Exception | None, ...]) -> AsyncGenerator[str, None]:
        self.began.append(name)
        try:
            for item in items:
                if item is None:
                    await self.may_go.wait()
                elif isinstance(item, str):
                    yield item
                else:
                    raise item
        finally:
            self.closed.append(name)


def after(seconds: float) -> list[AnswerTimes]:
    """Of each the same, whatever it did before."""
    return [AnswerTimes.fixed(seconds)] * 3


def failure() -> ProviderFailed:
    """One."""
    return ProviderFailed("a", FailureKind.FAILING, "answered 500")


async def test_one_that_answers_in_time_is_the_only_one_asked() -> None:
    """And all that it gives comes, in order."""
    asked = Asked()
    async with first_to_answer([asked.start("a", "1", "2"), asked.start("b", "x")], after(LONG_S)) as answer:
        assert [item async for item in answer.items] == ["1", "2"]
        assert (answer.index, answer.overtaken, answer.failed) == (0, {}, {})
    assert (asked.began, asked.closed) == (["a"], ["a"])


async def test_the_next_is_asked_when_the_first_does_not_begin_and_the_loser_is_closed() -> None:
    """At once, and not when the winner has ended."""
    asked = Asked()
    starts = [asked.start("a", None, "1"), asked.start("b", None, "2"), asked.start("c", "x", "y")]
    async with first_to_answer(starts, after(0.01)) as answer:
        assert (answer.index, list(answer.overtaken)) == (2, [0, 1])
        await until(lambda: sorted(asked.closed) == ["a", "b"])
        assert [item async for item in answer.items] == ["x", "y"]
    assert asked.began == ["a", "b", "c"]


async def test_the_first_may_still_win() -> None:
    """Once the second has been asked both are waited for."""
    asked = Asked()

    async def second() -> AsyncGenerator[str, None]:
        asked.may_go.set()
        await asyncio.Event().wait()
        yield "never"

    async with first_to_answer([asked.start("a", None, "1"), second], after(0.01)) as answer:
        assert (answer.index, answer.overtaken) == (0, {})


async def test_one_that_fails_makes_way_at_once() -> None:
    """However long a hedge would wait."""
    asked = Asked()
    error = failure()
    async with first_to_answer([asked.start("a", error), asked.start("b", "x")], after(LONG_S)) as answer:
        assert (answer.index, answer.overtaken, answer.failed) == (1, {}, {0: error})


async def test_all_that_fail_are_told_and_another_error_is_raised_as_it_is() -> None:
    """A mistake in our own code is not a provider's."""
    asked = Asked()
    one, other = failure(), failure()
    with pytest.raises(NoneAnswered) as none:
        async with first_to_answer([asked.start("a", one), asked.start("b", other)], after(LONG_S)):
            pass
    assert none.value.failed == {0: one, 1: other}
    with pytest.raises(KeyError):
        async with first_to_answer([asked.start("c", None), asked.start("d", KeyError())], after(0.01)):
            pass
    assert sorted(asked.closed) == ["a", "b", "c", "d"]


async def test_one_that_ends_without_anything_has_answered() -> None:
    """Nothing is an answer too."""
    asked = Asked()
    async with first_to_answer([asked.start("a"), asked.start("b", "x")], after(LONG_S)) as answer:
        assert [item async for item in answer.items] == []


async def test_what_fails_after_its_first_item_is_the_readers() -> None:
    """Only the reader knows what it has."""
    asked = Asked()
    error = failure()
    found = []
    with pytest.raises(ProviderFailed):
        async with first_to_answer([asked.start("a", "1", error), asked.start("b", "x")], after(LONG_S)) as answer:
            found += [item async for item in answer.items]
            found += ["unreached"]
    assert asked.began == ["a"]


@pytest.mark.parametrize("cancels", [1, 2, 3])
async def test_cancelled_at_any_turn_all_are_closed(cancels: int) -> None:
    """However often."""
    for turns in range(30):
        asked = Asked()

        async def ask(asked: Asked = asked) -> None:
            starts = [asked.start("a", None), asked.start("b", "x", "y"), asked.start("c", "x")]
            async with first_to_answer(starts, after(0.0)) as answer:
                async for _ in answer.items:
                    pass
                await asyncio.Event().wait()

        task = asyncio.ensure_future(ask())
        for _ in range(turns):
            await asyncio.sleep(0)
        for _ in range(cancels):
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait((task,))
        await until(lambda asked=asked: sorted(asked.closed) == sorted(asked.began))


async def test_a_provider_that_is_known_to_be_quick_is_soon_overdue_and_what_was_overtaken_is_learned() -> None:
    """Times are told of those that answered, and of those that had not when another one did."""
    quick, other = AnswerTimes(LONG_S, most_s=LONG_S, least_s=0.01), AnswerTimes(LONG_S)
    for _ in range(ENOUGH):
        quick.add(0.001)
    asked = Asked()
    for _ in range(FEW_UNUSUAL + 1):
        async with first_to_answer([asked.start("a", None, "1"), asked.start("b", "x")], [quick, other]) as answer:
            assert (answer.index, list(answer.overtaken)) == (1, [0])
            assert answer.overtaken[0] >= 0.01
    assert quick.limit_s() >= 0.02
    for _ in range(ENOUGH):
        async with first_to_answer([asked.start("b", "x")], [other]) as answer:
            pass
    assert other.limit_s() < 10
