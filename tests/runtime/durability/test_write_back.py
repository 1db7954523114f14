"""When a store that was given up is tried again, and what makes it count as back; time is the test's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.runtime.clocks import StoppedClock
from tests.runtime.faulty import NEVER, AnsweringStore
from tests.runtime.rig import CountingObserver
from tests.runtime.writers import NotedCall
from tests.waiting import until
from voice_agent.call.changes import CallWrite
from voice_agent.errors import StoreFull, StoreRefused, StoreUnavailable
from voice_agent.runtime.durability import write_back, writing
from voice_agent.runtime.durability.committer import Committer
from voice_agent.runtime.durability.write_back import ASK_S, MAX_PROBE_S, NO_MEMORY, PROBE_S
from voice_agent.runtime.durability.writing import MAX_ROUND_BYTES
from voice_agent.runtime.ports import StoreState
from voice_agent.stores.base import StoreMemory, WriteOutcome

COMMITTED, FULL = WriteOutcome.COMMITTED, WriteOutcome.FULL
AWAY = StoreUnavailable("away")


def made(*calls: NotedCall) -> tuple[Committer, AnsweringStore]:
    """A committer with these calls, and its store."""
    clock = StoppedClock()
    store = AnsweringStore(clock)
    return Committer(store, clock, CountingObserver(), lambda: list(calls)), store


@asynccontextmanager
async def trying(committer: Committer) -> AsyncIterator[None]:
    """The store is tried again beside the test; nobody writes rounds."""
    task = asyncio.create_task(committer.write_back.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def given_up(
    why: StoreState, *calls: NotedCall, answers: Sequence[Any] = ()
) -> AsyncIterator[tuple[AnsweringStore, Committer]]:
    """A committer that has just given up a store; the tries go on beside the test."""
    committer, store = made(*calls)
    store.answers += answers
    committer.write_back.give_up(why)
    committer.write_back.continue_unsaved(calls)
    committer.write_back.log_state()
    for call in calls:
        call.told.clear()
    async with trying(committer):
        yield store, committer


async def passed(store: AnsweringStore, seconds: float) -> None:
    """Wait until so much time has passed."""
    began_s = store.clock.now_s
    await until(lambda: store.clock.now_s > began_s + seconds)


async def test_a_full_store_is_tried_with_pauses_that_grow_to_a_bound() -> None:
    """Each try sends whole calls to a server that is in need."""
    async with given_up(StoreState.FULL, NotedCall("a"), answers=[FULL] * 9999) as (store, committer):
        began_s = store.clock.now_s
        await until(lambda: len(store.rounds) >= 8)
        times = [began_s, *store.round_at_s]
        pauses = [round(b - a, 6) for a, b in pairwise(times)]
        assert pauses[:6] == [PROBE_S, 2 * PROBE_S, 4 * PROBE_S, 8 * PROBE_S, MAX_PROBE_S, MAX_PROBE_S]
        assert committer.write_back.state is StoreState.FULL


@pytest.mark.parametrize(("times", "pause_s"), [(1, 2 * PROBE_S), (2, 4 * PROBE_S), (9, MAX_PROBE_S)])
async def test_a_store_that_was_full_again_after_some_writes_is_tried_later(times: int, pause_s: float) -> None:
    """And one that was back for good is tried soon again when it is full another time."""
    async with given_up(StoreState.FULL, NotedCall("a"), answers=[FULL]) as (store, committer):
        for _ in range(times):
            committer.write_back.give_up(StoreState.FULL)
        began_s = store.clock.now_s
        await until(lambda: committer.write_back.state is StoreState.OK)
        assert store.round_at_s[0] - began_s == pause_s
        store.round_at_s.clear()
        committer.write_back.give_up(StoreState.FULL)
        began_s = store.clock.now_s
        committer.write_back.continue_unsaved([NotedCall("b")])
        await until(lambda: store.round_at_s)
        assert store.round_at_s[0] - began_s == PROBE_S


@pytest.mark.parametrize("why", [StoreState.UNREACHABLE, StoreState.REFUSED])
async def test_without_calls_a_store_is_back_when_it_answers(why: StoreState) -> None:
    """Nothing is there to be written, so it is asked for a sign of life as often as it would be tried."""
    async with given_up(why) as (store, committer):
        store.ping_answer = AWAY
        await until(lambda: len(store.pings_at_s) >= 3)
        assert committer.write_back.state is why
        first_s, second_s, third_s, *_ = store.pings_at_s
        assert (second_s - first_s, third_s - second_s) == (PROBE_S, PROBE_S)
        store.ping_answer = None
        await until(lambda: committer.write_back.state is StoreState.OK)


@pytest.mark.parametrize(
    ("told", "has_room"),
    [
        (StoreMemory(10, 10), False),
        (StoreMemory(11, 10), False),
        (AWAY, False),
        (StoreMemory(9, 10), True),
        (StoreMemory(9, 0), True),
        (None, True),
    ],
)
async def test_without_calls_a_full_store_is_back_when_it_has_room(
    told: StoreMemory | Exception | None, has_room: bool
) -> None:
    """As far as it says how much it has; a ping proves nothing."""
    async with given_up(StoreState.FULL) as (store, committer):
        store.memory_answer = told
        if has_room:
            await until(lambda: committer.write_back.state is StoreState.OK)
        else:
            await passed(store, 4 * MAX_PROBE_S)
            assert committer.write_back.state is StoreState.FULL
        assert store.pings_at_s == []


async def test_a_store_that_hangs_is_not_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is asked: no answer is waited for without end."""
    for module in (writing, write_back):
        monkeypatch.setattr(module, "TRY_S", 0.005)
    committer, store = made()
    back = committer.write_back
    store.ping_answer = store.memory_answer = NEVER
    store.answers = [NEVER]
    back.give_up(StoreState.REFUSED)
    assert not await back.write_some()
    back.give_up(StoreState.FULL)
    assert not await back.write_some()
    back.unsaved[NotedCall("a")] = None
    assert not await back.write_some()
    assert back.state is StoreState.UNREACHABLE
    store.question_answers = [NEVER]
    await back._check_owners([NotedCall("a")])
    assert len(store.questions) == 1


@pytest.mark.parametrize("meanwhile", ["claims", "has claimed", "nothing"])
async def test_an_answer_that_a_claim_of_this_pod_has_overtaken_is_none(meanwhile: str) -> None:
    """The store says that a newer epoch owns the call, and that is this pod's own: its caller came back here."""
    call = NotedCall("a")
    committer, store = made(call)
    store.question_answers = [WriteOutcome.SUPERSEDED]
    asked = store.commit

    async def commit(writes: Sequence[CallWrite]) -> list[WriteOutcome]:
        outcomes = await asked(writes)
        call.writes_paused, call.epoch = meanwhile == "claims", 2 if meanwhile == "has claimed" else 1
        return outcomes

    store.commit = commit  # type: ignore[method-assign]  # what happens while the answer is under way
    await committer.write_back._check_owners([call])
    assert call.told == (["superseded"] if meanwhile == "nothing" else [])


async def test_the_latest_reason_for_which_a_store_is_given_up_is_told() -> None:
    """A store that says that it is full gives no other reason."""
    committer, store = made()
    back, call = committer.write_back, NotedCall("a")
    back.failure = AWAY
    back.give_up(StoreState.UNREACHABLE)
    assert back.failure is AWAY
    back.give_up(StoreState.FULL)
    assert str(back.failure) == NO_MEMORY
    back.unsaved[call] = None
    refused = StoreRefused("no")
    for answer, state, reason in (
        (refused, StoreState.REFUSED, "no"),
        (FULL, StoreState.FULL, NO_MEMORY),
        (AWAY, StoreState.UNREACHABLE, "away"),
        (StoreFull("none left"), StoreState.FULL, "none left"),
    ):
        store.answers = [answer]
        assert not await back.write_some()
        assert (back.state, str(back.failure)) == (state, reason)


TOLD: dict[str, tuple[str, list[str]]] = {
    "a call that the store rejects": ("OK DEGRADED OK", ["back"]),
    "given up, and all written later": ("FULL FULL DEGRADED DEGRADED OK OK", ["full", "back"]),
    "given up again meanwhile": ("UNREACHABLE DEGRADED UNREACHABLE OK", ["unreachable", "back"]),
    "given up for another reason": ("UNREACHABLE FULL REFUSED OK", ["unreachable", "full", "refused", "back"]),
    "a call that it rejects, then given up": ("DEGRADED FULL OK FULL", ["full", "back", "full"]),
}


@pytest.mark.parametrize("case", TOLD)
def test_the_log_has_one_line_when_a_store_is_given_up_and_one_when_all_is_written(case: str) -> None:
    """Nothing of what is in between, however often it is looked at."""
    states, told = TOLD[case]
    back = made()[0].write_back
    with capture_logs() as lines:
        for state in [StoreState[name] for name in states.split()]:
            back.unsaved = {} if state is StoreState.OK else {NotedCall("a"): None}
            back.given_up = None if state in {StoreState.OK, StoreState.DEGRADED} else state
            assert back.state is state
            back.log_state()
    assert [line.get("state", "back") for line in lines] == told


async def test_that_a_store_is_back_is_told_by_whoever_finds_it_back() -> None:
    """Without a change of any call, too."""
    with capture_logs() as lines:
        async with given_up(StoreState.UNREACHABLE) as (_, committer):
            await until(lambda: committer.write_back.state is StoreState.OK)
    assert lines[-1]["event"].startswith("store is back")


def test_a_call_whose_write_is_rejected_is_tried_again_later_and_later() -> None:
    """It goes on from memory, and is unsaved; once it was written, all is as before."""
    committer, store = made()
    call, other, back = NotedCall("a"), NotedCall("b"), committer.write_back
    for _ in range(2):
        for at, pause_s in enumerate((PROBE_S, 2 * PROBE_S, 4 * PROBE_S, 8 * PROBE_S, MAX_PROBE_S, MAX_PROBE_S)):
            call.told.clear()
            assert back.reject(call) == (at == 0)
            assert call.told == ["released unsaved"]
            assert committer.lacks(call)
            assert back.defers(call)
            store.clock.now_s += pause_s / 2
            assert back.defers(call)
            store.clock.now_s += pause_s / 2
            assert not back.defers(call)
        assert not back.defers(other)
        back.written(call)
        assert not committer.lacks(call)
    back.reject(call)
    back.written(call)
    assert not back.defers(call)


async def test_nothing_is_asked_of_a_store_that_is_not_given_up() -> None:
    """No write, no question, no sign of life."""
    committer, store = made(NotedCall("a"))
    async with trying(committer):
        await passed(store, 10 * PROBE_S)
    assert (store.rounds, store.questions, store.pings_at_s) == ([], [], [])
    assert committer.write_back.state is StoreState.OK


async def test_a_rejected_call_is_marked_when_it_is_due_and_its_owner_asked_for_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Others that are unsaved are marked with the next look; the store is asked about those alone that it rejects."""
    rejected, other, moved = NotedCall("a"), NotedCall("b"), NotedCall("c")
    committer, store = made(rejected, other)
    began_s, marked = store.clock.now_s, dict[str, list[float]]()
    monkeypatch.setattr(
        committer, "mark", lambda call: marked.setdefault(call.name, []).append(store.clock.now_s - began_s)
    )
    for _ in range(3):
        committer.write_back.reject(rejected)
    committer.write_back.reject(moved)
    moved.told.clear()
    committer.write_back.unsaved[other] = None
    store.question_answers = [[COMMITTED, WriteOutcome.SUPERSEDED]]
    async with trying(committer):
        await until(lambda: "a" in marked and len(store.questions) > 1)
    assert marked["a"][0] == 4 * PROBE_S
    assert marked["b"][:2] == [PROBE_S, 2 * PROBE_S]
    assert marked["c"] == [PROBE_S]
    assert store.questions[:2] == [["a", "c"], ["a"]]
    assert moved.told == ["superseded"]
    assert not committer.lacks(moved)
    assert store.rounds == []


async def test_a_full_store_is_asked_each_second_whose_the_calls_are() -> None:
    """From the first look on; of those that may be written, and however the last answer was."""
    calls = [NotedCall(name) for name in "abcd"]
    calls[0].writes_paused = True
    committer, store = made(*calls)
    store.clock.now_s = 0.0
    committer.write_back.give_up(StoreState.FULL)
    for _ in range(9):
        committer.write_back.give_up(StoreState.FULL)
        committer.write_back.log_state()
    store.question_answers = [AWAY, [WriteOutcome.SUPERSEDED, COMMITTED, WriteOutcome.ENDED]]
    async with trying(committer):
        await until(lambda: len(store.questions) >= 3)
    assert store.question_at_s[:3] == [PROBE_S, PROBE_S + ASK_S, PROBE_S + 2 * ASK_S]
    assert store.questions[:3] == [["b", "c", "d"]] * 3
    assert [call.told for call in calls] == [[], ["superseded"], [], ["erased"]]


async def test_a_store_that_does_not_answer_is_not_asked_whose_the_calls_are() -> None:
    """The write of a whole call asks that, too."""
    async with given_up(StoreState.UNREACHABLE, NotedCall("a"), answers=[AWAY] * 999) as (store, _):
        await until(lambda: len(store.rounds) > 5)
        assert store.questions == []


async def test_a_full_store_takes_the_ends_of_calls_before_it_is_tried_again() -> None:
    """Nothing else is written then; and it is not back for that."""
    calls = [NotedCall("a"), NotedCall("b")]
    async with given_up(StoreState.FULL, *calls) as (store, committer):
        for _ in range(5):
            committer.write_back.give_up(StoreState.FULL)
        calls[0].has_ended = True
        began_s = store.clock.now_s
        await until(lambda: len(store.rounds) == 2)
        assert store.rounds == [["a"], ["b"]]
        assert [at_s - began_s for at_s in store.round_at_s] == [PROBE_S, MAX_PROBE_S]


async def test_a_store_that_was_away_may_have_come_back_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call is written whole: some with the try, and those that were too much for it are marked at once."""
    calls = [NotedCall("a", MAX_ROUND_BYTES), NotedCall("b", MAX_ROUND_BYTES), NotedCall("c")]
    async with given_up(StoreState.UNREACHABLE, answers=[AWAY]) as (store, committer):
        committer.all_calls = lambda: calls
        marked: dict[NotedCall, float] = {}
        monkeypatch.setattr(committer, "mark", lambda call: marked.setdefault(call, store.clock.now_s))
        await until(lambda: not committer.degraded)
        assert store.rounds == [["a"], ["b"]]
        assert committer.write_back.state is StoreState.DEGRADED
        assert calls[1].told[-1] == "committed 1"
        assert [committer.lacks(call) for call in calls] == [True, False, True]
        assert marked == dict.fromkeys((calls[0], calls[2]), store.round_at_s[1])
        assert calls[0].is_whole
        assert calls[2].is_whole


TRIED = ["lost 0", "committed 1"]
BACK: dict[str, tuple[StoreState, Any, bool, bool, list[str]]] = {
    "written": (StoreState.UNREACHABLE, COMMITTED, True, False, TRIED),
    "written while full": (StoreState.FULL, COMMITTED, True, False, TRIED),
    "full yet": (StoreState.UNREACHABLE, FULL, False, True, [*TRIED, "lost 0"]),
    "away yet": (StoreState.UNREACHABLE, AWAY, False, True, [*TRIED, "lost 0"]),
    "away, once full": (StoreState.FULL, AWAY, False, True, [*TRIED, "lost 0"]),
    "rejected": (StoreState.UNREACHABLE, WriteOutcome.REJECTED, True, True, [*TRIED, "lost 0"]),
    "rejected while full": (StoreState.FULL, WriteOutcome.REJECTED, False, True, [*TRIED, "lost 0"]),
    "superseded": (StoreState.UNREACHABLE, WriteOutcome.SUPERSEDED, True, False, [*TRIED, "superseded"]),
    "erased": (StoreState.UNREACHABLE, WriteOutcome.ENDED, True, False, [*TRIED, "erased"]),
}


@pytest.mark.parametrize("case", BACK)
async def test_what_a_try_with_a_whole_call_proves(case: str) -> None:
    """Its events are let out at once, and what was not written is unsaved again, whole."""
    why, answer, is_back, is_unsaved, told = BACK[case]
    committer, store = made()
    back, call = committer.write_back, NotedCall("a")
    back.give_up(why)
    back.unsaved[call] = None
    store.answers = [answer]
    assert await back.write_some() == is_back
    assert call.told == told
    assert (call in back.unsaved) == is_unsaved
    assert (store.rounds, store.pings_at_s) == ([["a"]], [])
    assert not committer.under_way


@pytest.mark.parametrize(
    ("answer", "has_ended", "is_back"),
    [
        ([COMMITTED, WriteOutcome.REJECTED], False, True),
        ([COMMITTED, COMMITTED], True, True),
        ([COMMITTED, FULL], True, False),
        ([COMMITTED, WriteOutcome.REJECTED], True, False),
    ],
)
async def test_a_full_store_is_back_after_one_write_that_needs_memory(
    answer: list[WriteOutcome], has_ended: bool, is_back: bool
) -> None:
    """That of an end frees some."""
    committer, store = made()
    back, calls = committer.write_back, [NotedCall("a"), NotedCall("b")]
    calls[0].has_ended = has_ended
    back.give_up(StoreState.FULL)
    back.unsaved = dict.fromkeys(calls)
    store.answers = [answer]
    assert await back.write_some() == is_back


@pytest.mark.parametrize(("first_bytes", "written"), [(MAX_ROUND_BYTES - 1, ["a", "b"]), (MAX_ROUND_BYTES, ["a"])])
async def test_a_try_carries_what_a_round_may(first_bytes: int, written: list[str]) -> None:
    """The rest is unsaved as before, and was not touched."""
    committer, store = made()
    back, calls = committer.write_back, [NotedCall("a", first_bytes), NotedCall("b", 1), NotedCall("c")]
    back.give_up(StoreState.UNREACHABLE)
    back.unsaved = dict.fromkeys(calls)
    assert await back.write_some()
    assert store.rounds == [written]
    left = [call for call in calls if call in back.unsaved]
    assert [call.name for call in left] == [name for name in "abc" if name not in written]
    assert not any(call.told for call in left)


async def test_calls_that_may_not_be_written_keep_no_other_from_it() -> None:
    """Held back they are unsaved; gone to another pod they are not."""
    committer, store = made()
    back, (held, gone, other) = committer.write_back, (NotedCall("a"), NotedCall("b"), NotedCall("c"))
    held.writes_paused = gone.is_empty = True
    back.give_up(StoreState.UNREACHABLE)
    back.reject(gone)
    back.unsaved = dict.fromkeys((held, gone, other))
    assert await back.write_some()
    assert store.rounds == [["c"]]
    assert list(back.unsaved) == [held]
    assert not back.defers(gone)
    assert not await back.write_some()
    assert store.pings_at_s == []


async def test_a_call_that_changes_while_it_is_written_back_is_unsaved_once_more() -> None:
    """What is written is what it was before."""
    committer, store = made()
    back, call = committer.write_back, NotedCall("a")
    back.give_up(StoreState.UNREACHABLE)
    back.unsaved[call] = None
    store.meanwhile.append(lambda: back.continue_unsaved([call]))
    assert await back.write_some()
    assert list(back.unsaved) == [call]


async def test_a_call_is_told_that_it_is_stored_once_the_store_took_its_write() -> None:
    """Its events are let out sooner; what must not be told before it is durable is not."""
    call = NotedCall("a")
    async with given_up(StoreState.UNREACHABLE, call, answers=[AWAY, WriteOutcome.SUPERSEDED]) as (store, _):
        await until(lambda: "superseded" in call.told)
        assert len(store.rounds) == 2
        assert "committed 1" in call.told
        assert call.stored_times == 0
    other = NotedCall("b")
    async with given_up(StoreState.UNREACHABLE, other, answers=[AWAY, COMMITTED]) as (store, _):
        await until(lambda: other.stored_times == 1)
        assert len(store.rounds) == 2


async def test_a_call_that_was_rejected_and_then_written_back_is_written_like_any_other() -> None:
    """It was spared until the pause was over, its changes in no store and counted by nobody as unsaved."""
    committer, _ = made()
    back, call = committer.write_back, NotedCall("a")
    for _ in range(5):
        back.reject(call)
    back.give_up(StoreState.UNREACHABLE)
    assert await back.write_some()
    back.given_up = None
    assert not committer.lacks(call)
    committer.mark(call)
    assert [one for one, *_ in committer._gather()] == [call]
