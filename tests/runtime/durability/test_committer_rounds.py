"""One round of writes after the other: what a call is told, what a store is asked and when; time is the test's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.runtime.clocks import StoppedClock
from tests.runtime.faulty import NEVER, AnsweringStore
from tests.runtime.rig import CountingObserver
from tests.runtime.writers import NotedCall
from tests.waiting import until
from voice_agent.errors import StoreFull, StoreRefused, StoreUnavailable
from voice_agent.runtime.durability import committer as rounds
from voice_agent.runtime.durability import writing
from voice_agent.runtime.durability.committer import LONGEST_TICK_S, SPREAD, TICK_S, Committer
from voice_agent.runtime.durability.writing import MAX_ROUND_BYTES
from voice_agent.runtime.ports import StoreState
from voice_agent.stores.base import WriteOutcome

COMMITTED, FULL, UNKNOWN, REJECTED = (
    WriteOutcome.COMMITTED,
    WriteOutcome.FULL,
    WriteOutcome.UNKNOWN,
    WriteOutcome.REJECTED,
)
AWAY = StoreUnavailable("away")
RETRY_S = 0.125
"""Of a second an exact share, so that sums of it are exact."""


class TimingObserver(CountingObserver):
    """Notes how long answers took."""

    def __init__(self) -> None:
        super().__init__()
        self.took_s: list[float] = []

    def store_call(self, op: str, seconds: float) -> None:
        self.took_s.append(seconds)


def made(*answers: Any) -> tuple[Committer, AnsweringStore, TimingObserver]:
    """A committer whose store answers so."""
    clock, observer = StoppedClock(), TimingObserver()
    store = AnsweringStore(clock, *answers)
    return Committer(store, clock, observer, list), store, observer


@asynccontextmanager
async def running(committer: Committer) -> AsyncIterator[None]:
    """The committer writes rounds; nothing tries a store again that it gave up."""
    task = asyncio.create_task(committer.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_a_store_that_was_never_given_up_lacks_nothing() -> None:
    """Nothing is behind, and there is no time at which it was given up."""
    committer, _, _ = made()
    call = NotedCall("a")
    assert (committer.write_back.state, committer.degraded, committer.write_back.is_behind) == (
        StoreState.OK,
        False,
        False,
    )
    assert not committer.lacks(call)
    assert not committer.has_pending(call)
    assert committer.write_back.given_up_at_ms == 0


def test_a_store_that_is_given_up_lacks_every_call_and_one_that_is_not_those_that_are_unsaved() -> None:
    """Either keeps the pod behind."""
    committer, store, _ = made()
    call, other = NotedCall("a"), NotedCall("b")
    committer.write_back.unsaved[call] = None
    assert (committer.write_back.state, committer.degraded, committer.write_back.is_behind) == (
        StoreState.DEGRADED,
        False,
        True,
    )
    assert (committer.lacks(call), committer.lacks(other)) == (True, False)
    committer.write_back.unsaved.clear()
    store.clock.now_s = 7.0
    committer.write_back.give_up(StoreState.REFUSED)
    assert (committer.write_back.state, committer.degraded, committer.write_back.is_behind) == (
        StoreState.REFUSED,
        True,
        True,
    )
    assert committer.lacks(other)
    assert committer.write_back.given_up_at_ms == 7000


OUTCOMES: dict[str, tuple[list[Any], list[str], StoreState, int]] = {
    "committed": ([COMMITTED], ["committed 1"], StoreState.OK, 0),
    "full": ([FULL], ["lost 1", "released unsaved"], StoreState.FULL, 0),
    "rejected": ([REJECTED], ["lost 1", "released unsaved"], StoreState.DEGRADED, 1),
    "lost": ([UNKNOWN, COMMITTED], ["lost 1", "committed 1"], StoreState.OK, 0),
    "lost though whole": ([UNKNOWN, UNKNOWN], ["lost 1", "lost 1", "released unsaved"], StoreState.DEGRADED, 1),
    "another pod's": ([WriteOutcome.SUPERSEDED], ["superseded"], StoreState.OK, 0),
    "erased": ([WriteOutcome.ENDED], ["erased"], StoreState.OK, 0),
    "another pod's, of a whole write": ([WriteOutcome.SUPERSEDED], ["superseded"], StoreState.OK, 0),
    "erased, of a whole write": ([WriteOutcome.ENDED], ["erased"], StoreState.OK, 0),
    "refused": ([StoreRefused("no")], ["lost 1", "released unsaved"], StoreState.REFUSED, 1),
    "full for all": ([StoreFull("no")], ["lost 1", "released unsaved"], StoreState.FULL, 1),
}


@pytest.mark.parametrize("case", OUTCOMES)
async def test_what_became_of_a_write_is_told_to_its_call(case: str) -> None:
    """Its event is let out, waits again or goes with the call; unsaved calls are known; each answer is waited for once.

    The call was unsaved before, and is written in its round as any other.
    """
    answers, told, state, failures = OUTCOMES[case]
    committer, store, observer = made(*answers)
    call = NotedCall("a")
    call.is_whole = "of a whole write" in case
    committer.write_back.unsaved[call] = None
    async with running(committer):
        await committer.flush(call)
    assert call.told == told
    assert store.rounds == [["a"]] * len(answers)
    assert committer.write_back.state is state
    assert committer.lacks(call) == (state is not StoreState.OK)
    assert not committer.has_pending(call)
    counts = observer.counts
    assert counts.get(("store_failed", "commit"), 0) == failures
    assert counts.get(("write_fenced", None), 0) == ("superseded" in told)
    assert counts.get(("limit_reached", "store_full"), 0) == (state is StoreState.FULL)


async def test_a_call_that_the_store_lost_and_that_is_gone_is_not_written_again() -> None:
    """It was claimed elsewhere meanwhile."""
    committer, store, _ = made(UNKNOWN)
    call = NotedCall("a")
    store.meanwhile.append(lambda: setattr(call, "is_empty", True))
    async with running(committer):
        await committer.flush(call)
    assert store.rounds == [["a"]]
    assert call.told == ["lost 1"]


async def test_that_the_store_rejects_a_call_is_told_once() -> None:
    """However often its write is tried."""
    committer, store, _ = made(*[REJECTED] * 3)
    call = NotedCall("a")
    with capture_logs() as lines:
        async with running(committer):
            for _ in range(3):
                await committer.flush(call)
                store.clock.now_s += 60
    assert len(store.rounds) == 3
    assert [line["log_level"] for line in lines].count("error") == 1


@pytest.mark.parametrize("answer", [[UNKNOWN, FULL], AWAY, StoreRefused("no")], ids=["full", "away", "refused"])
async def test_all_that_is_left_of_a_round_is_let_go_with_what_failed(answer: Any) -> None:
    """What is to be written again, what found no room and what was not tried yet; none of it is sent any more."""
    committer, store, _ = made(*[answer] * 99)
    calls = [NotedCall("a"), NotedCall("b", MAX_ROUND_BYTES - 1), NotedCall("c", MAX_ROUND_BYTES)]
    with capture_logs() as lines:
        async with running(committer):
            for call in calls:
                committer.mark(call)
            await until(lambda: committer.degraded)
            assert not any(map(committer.has_pending, calls))
    assert store.rounds == [["a", "b"]] * len(store.rounds)
    assert isinstance(answer, StoreUnavailable) or len(store.rounds) == 1
    for call in calls:
        assert call.told[-2:] == ["lost 1", "released unsaved"]
        assert call.is_whole
        assert committer.lacks(call)
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["store given up for now"]


async def test_a_store_that_does_not_answer_is_given_up_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same batch is tried until then, and nothing is let out before."""
    monkeypatch.setattr(rounds, "RETRY_S", RETRY_S)
    committer, store, observer = made(*[AWAY] * 99)
    call = NotedCall("a")
    began_s = store.clock.now_s
    async with running(committer):
        await committer.flush(call)
    tries = int(rounds.GIVE_UP_S / RETRY_S)
    assert [at_s - began_s for at_s in store.round_at_s] == [n * RETRY_S for n in range(tries)]
    assert call.told == ["lost 1", "released unsaved"]
    assert committer.write_back.failure is AWAY
    assert observer.counts["store_failed", "commit"] == tries
    assert observer.took_s == []


async def test_a_store_that_answers_in_the_end_was_not_given_up() -> None:
    """How long its answer took is told, and not how long it was away."""
    committer, store, observer = made(AWAY, AWAY)
    store.takes_s = 0.25
    call = NotedCall("a")
    async with running(committer):
        await committer.flush(call)
    assert call.told == ["committed 1"]
    assert observer.took_s == [0.25]


@pytest.mark.parametrize(
    ("answers", "tries", "told"), [([AWAY], 2, "committed 1"), ([AWAY] * 3, 2, "released unsaved")]
)
async def test_a_store_is_given_up_after_two_tries_at_least_and_no_more_than_there_is_time_for(
    answers: list[Exception], tries: int, told: str
) -> None:
    """A process that was stopped and wakes up has lost the first answer, whatever it was; it may be fenced."""
    committer, store, _ = made(*answers)
    store.takes_s = 2 * rounds.GIVE_UP_S
    call = NotedCall("a")
    async with running(committer):
        await committer.flush(call)
    assert len(store.rounds) == tries
    assert call.told[-1] == told


async def test_a_store_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer is waited for without end."""
    monkeypatch.setattr(writing, "TRY_S", 0.005)
    monkeypatch.setattr(rounds, "GIVE_UP_S", 0.0)
    committer, store, _ = made(NEVER, NEVER)
    call = NotedCall("a")
    async with running(committer):
        await committer.flush(call)
    assert len(store.rounds) == 2
    assert committer.write_back.state is StoreState.UNREACHABLE


@pytest.mark.parametrize(
    ("size_bytes", "ping", "state"),
    [
        (MAX_ROUND_BYTES + 1, None, StoreState.DEGRADED),
        (MAX_ROUND_BYTES + 1, AWAY, StoreState.UNREACHABLE),
        (MAX_ROUND_BYTES, None, StoreState.UNREACHABLE),
    ],
    ids=["one call too heavy", "one call too heavy for a store that is away", "away for writes"],
)
async def test_what_is_too_much_for_a_store_that_answers_is_one_calls_trouble(
    size_bytes: int, ping: Exception | None, state: StoreState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round of ordinary weight that it does not take is everybody's."""
    monkeypatch.setattr(rounds, "GIVE_UP_S", 0.0)
    committer, store, _ = made(AWAY, AWAY)
    store.ping_answer = ping
    call = NotedCall("a", size_bytes)
    async with running(committer):
        await committer.flush(call)
    assert committer.write_back.state is state
    assert call.told == ["lost 1", "released unsaved"]


@pytest.mark.parametrize(
    ("takes_s", "pause_s"), [(0.0, TICK_S), (0.002, 0.002 * SPREAD), (LONGEST_TICK_S / 2, LONGEST_TICK_S)]
)
@pytest.mark.parametrize("begins_s", [0.0, 1000.0])
async def test_the_first_change_is_written_at_once_and_others_after_a_pause_that_grows_with_the_rounds(
    takes_s: float, pause_s: float, begins_s: float
) -> None:
    """From round to round a tick at least, a frame of audio at most."""
    committer, store, _ = made()
    store.clock.now_s, store.takes_s = begins_s, takes_s
    call = NotedCall("a")
    store.meanwhile.append(lambda: committer.mark(call))
    async with running(committer):
        committer.mark(call)
        await until(lambda: len(store.rounds) == 2)
    assert store.round_at_s[0] == begins_s
    assert store.round_at_s[1] - begins_s == pytest.approx(pause_s, abs=1e-9)


async def test_a_pod_in_which_nothing_changes_does_nothing() -> None:
    """Neither before the first round nor after one."""
    committer, store, _ = made()
    call = NotedCall("a")
    async with running(committer):
        for written in (0, 1):
            before_s = store.clock.now_s
            for _ in range(20):
                await asyncio.sleep(0)
            assert (len(store.rounds), store.clock.now_s) == (written, before_s)
            committer.mark(call)
            await until(lambda: call.told)
            await committer.settle(call)


@pytest.mark.parametrize(("first_bytes", "expected"), [(MAX_ROUND_BYTES - 1, ["ab"]), (MAX_ROUND_BYTES, ["a", "b"])])
async def test_a_round_is_full_once_it_has_so_many_bytes(first_bytes: int, expected: list[str]) -> None:
    """What it does not carry goes with the next, without being marked again."""
    committer, store, _ = made()
    async with running(committer):
        committer.mark(NotedCall("a", first_bytes))
        committer.mark(NotedCall("b"))
        await until(lambda: sum(map(len, store.rounds)) == 2)
    assert ["".join(names) for names in store.rounds] == expected


async def test_the_longest_marked_call_goes_first_then_what_is_waited_for_then_others_by_age() -> None:
    """All of it in one round."""
    committer, store, _ = made()
    calls = {name: NotedCall(name) for name in "abcdef"}
    for name in "abc":
        committer.mark(calls[name])
    waiting = [asyncio.create_task(committer.flush(calls[name])) for name in "def"]
    await asyncio.sleep(0)
    async with running(committer):
        await asyncio.gather(*waiting)
    assert store.rounds == [["a", "d", "e", "f", "b", "c"]]


async def test_a_call_whose_write_is_rejected_goes_on_from_memory_until_it_is_tried_again() -> None:
    """Also where it is first in line, and somebody waits for the one behind it."""
    committer, store, _ = made()
    rejected, other = NotedCall("a"), NotedCall("b")
    committer.write_back.reject(rejected)
    rejected.told.clear()
    committer.mark(rejected)
    waiting = asyncio.create_task(committer.flush(other))
    await asyncio.sleep(0)
    async with running(committer):
        await waiting
        assert store.rounds == [["b"]]
        assert rejected.told == ["released unsaved"]
        assert committer.lacks(rejected)


@pytest.mark.parametrize("writes_paused", [False, True])
async def test_a_call_that_may_not_be_written_is_unsaved_only_while_it_may_be_this_pods(writes_paused: bool) -> None:
    """Held back it will be written; else it was claimed elsewhere."""
    committer, store, _ = made()
    call = NotedCall("a")
    call.writes_paused, call.is_empty = writes_paused, not writes_paused
    committer.write_back.unsaved[call] = None
    async with running(committer):
        await committer.flush(call)
    assert (store.rounds, call.told) == ([], [])
    assert committer.lacks(call) == writes_paused


async def test_a_call_that_cannot_be_put_into_words_is_given_up_and_the_others_are_written() -> None:
    """A fault of ours in one call is no other's trouble."""
    committer, store, _ = made()
    broken, other = NotedCall("a"), NotedCall("b")
    broken.is_broken = True
    async with running(committer):
        committer.mark(broken)
        await committer.flush(other)
    assert broken.told == ["unwritable"]
    assert store.rounds == [["b"]]


async def test_while_the_store_is_given_up_changes_are_let_go_and_nobody_waits() -> None:
    """The store is not asked for each of them."""
    committer, store, _ = made()
    marked, awaited = NotedCall("a"), NotedCall("b")
    committer.write_back.give_up(StoreState.UNREACHABLE)
    async with running(committer):
        committer.mark(marked)
        await committer.flush(awaited)
        assert marked.told == awaited.told == ["released unsaved"]
        assert not committer.has_pending(marked)
        assert not committer.has_pending(awaited)
    assert store.rounds == []
    assert committer.lacks(marked)
    assert committer.lacks(awaited)


async def test_a_write_is_under_way_from_the_change_until_its_answer() -> None:
    """Meanwhile the store lacks what it lacked, the call has a write pending, and whoever settles it waits."""
    committer, store, _ = made()
    call, other = NotedCall("a"), NotedCall("b")
    committer.write_back.unsaved[call] = None
    store.gate.clear()
    async with running(committer):
        committer.mark(call)
        assert committer.has_pending(call)
        await until(lambda: store.rounds)
        assert committer.has_pending(call)
        assert committer.lacks(call)
        await committer.settle(other)
        settled = asyncio.create_task(committer.settle(call))
        flushed = asyncio.create_task(committer.flush(other))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not settled.done()
        assert not flushed.done()
        assert committer.has_pending(other)
        store.gate.set()
        await settled
        assert call.told == ["committed 1"]
        assert not committer.has_pending(call)
        await flushed
        assert other.told == ["committed 1"]


async def test_a_round_while_the_store_is_given_up_settles_no_write_back() -> None:
    """It writes nothing itself, and knows nothing of what is being written."""
    committer, store, _ = made()
    call, other = NotedCall("a"), NotedCall("b")
    committer.write_back.give_up(StoreState.UNREACHABLE)
    committer.write_back.unsaved[call] = None
    store.gate.clear()
    writing_back = asyncio.create_task(committer.write_back.write_some())
    await until(lambda: store.rounds)
    async with running(committer):
        settled = asyncio.create_task(committer.settle(call))
        await committer.flush(other)
        assert other.told == ["released unsaved"]
        assert committer.has_pending(call)
        assert not settled.done()
        store.gate.set()
        await settled
        assert await writing_back


async def test_who_settles_a_call_waits_for_its_write_back_too() -> None:
    """That is another round trip than the committer's own."""
    committer, store, _ = made()
    call = NotedCall("a")
    committer.write_back.give_up(StoreState.UNREACHABLE)
    committer.write_back.unsaved[call] = None
    store.gate.clear()
    writing_back = asyncio.create_task(committer.write_back.write_some())
    await until(lambda: store.rounds)
    settled = asyncio.create_task(committer.settle(call))
    for _ in range(5):
        await asyncio.sleep(0)
    assert committer.has_pending(call)
    assert not settled.done()
    store.gate.set()
    await settled
    assert not committer.has_pending(call)
    assert await writing_back
