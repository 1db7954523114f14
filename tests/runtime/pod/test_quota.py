"""Calls of an API key: which count, over which pods, and who is refused for them."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.runtime.clocks import LeapingClock
from tests.runtime.faulty import FaultyStore, until
from tests.runtime.rig import Caller, Rig, rig
from voice_agent.errors import ConnectionRefused
from voice_agent.runtime.pod.other_pods import HEARTBEAT_TTL_S
from voice_agent.runtime.pod.pod import Pod
from voice_agent.runtime.pod.quota import KEY_DIGITS, KeyQuota
from voice_agent.runtime.ports import ResumeCall, StartCall
from voice_agent.stores.base import PodHeartbeat
from voice_agent.stores.memory import MemoryStore

KEY = "a" * 64
OTHER = "b" * 64
CALL_KEY = "c" * 64


async def start(its: Rig, pod: Pod, key: str = KEY, **request: object) -> Caller:
    """A call of a key, greeted."""
    caller = Caller(await pod.start(StartCall("scripted", key, **request)))  # type: ignore[arg-type]
    await caller.greeting()
    return caller


async def refusal(pod: Pod, key: str = KEY, **request: object) -> ConnectionRefused:
    """Why a call of a key is not taken."""
    with pytest.raises(ConnectionRefused) as refused:
        await pod.start(StartCall("scripted", key, **request))  # type: ignore[arg-type]
    return refused.value


def counted(pod: Pod) -> Counter[str]:
    """Calls that a pod has, one by one."""
    return Counter(live.call.identity.api_key_hash[:KEY_DIGITS] for live in pod.owned.by_id.values())


async def test_a_key_may_have_so_many_calls_and_another_key_does_not_suffer() -> None:
    """Attached calls count; 429 names both numbers; an ended call counts no more."""
    async with rig() as its:
        pod = await its.pod(calls_per_key=2)
        first, _ = await start(its, pod), await start(its, pod)
        refused = await refusal(pod)
        assert (refused.status, refused.code, refused.retry_after_s) == (429, "too_many_calls", 1)
        assert "has 2 calls" in refused.message
        assert "2 is its limit" in refused.message
        await start(its, pod, OTHER)
        await first.gone(1000)
        await start(its, pod)


async def test_a_parked_call_counts() -> None:
    """Connecting and dropping in a loop makes no more calls than connecting and staying."""
    async with rig() as its:
        pod = await its.pod(calls_per_key=2)
        for _ in range(2):
            await (await start(its, pod)).gone()
        assert pod.status().active_calls == 0
        assert (await refusal(pod)).status == 429


async def test_a_parked_call_counts_after_it_has_left_the_memory_until_its_window_is_over() -> None:
    """A full pod keeps few parked calls in memory; the others are resumable all the same."""
    clock = LeapingClock()
    async with rig() as its:
        pod = await its.pod(calls_per_key=3, capacity=1, clock=clock, resume_window_s=120)
        parked = []
        for _ in range(3):
            caller = await start(its, pod)
            await caller.gone()
            parked.append(caller.call_id)
        await pod.upkeep.look_after_calls()
        assert len(pod.view.calls()) == 1
        assert (await refusal(pod)).status == 429
        back = await its.resume(pod, parked[0], 0)
        await back.greeting()
        assert pod.admission.quota.calls_of(KEY) == 3
        await back.gone(1000)
        assert pod.admission.quota.calls_of(KEY) == 2
        clock.leap(121)
        await pod.upkeep.look_after_calls()
        await pod.heartbeat.heartbeat()
        assert pod.admission.quota.calls_of(KEY) == 0


async def test_a_resume_counts_against_the_key_in_its_record_and_is_never_refused_for_it() -> None:
    """The pod that takes over has more calls of the key than it may, and takes no new one."""
    async with rig() as its:
        one, two = await its.pod("a"), await its.pod("b", calls_per_key=1)
        first, second = await start(its, one), await start(its, one)
        for caller in (first, second):
            await (await its.resume(two, caller.call_id, 0)).greeting()
        assert two.admission.quota.calls_of(KEY) == 2
        assert (await refusal(two)).status == 429


async def test_the_calls_of_other_pods_count_as_of_their_last_heartbeat() -> None:
    """Of every color, attached and parked; this pod's own at once."""
    async with rig() as its:
        one, two, three = [await its.pod(name, color, calls_per_key=3) for name, color in ("ab", "bb", "cg")]
        await start(its, one)
        await (await start(its, two)).gone()
        for pod in (one, two, three):
            await pod.heartbeat.heartbeat()
        await start(its, three)
        refused = await refusal(three)
        assert "has 3 calls" in refused.message
        assert (await start(its, three, OTHER)).call_id


async def test_a_call_that_was_taken_over_counts_once_when_its_old_owner_has_learned_of_it() -> None:
    """The pod that is fenced forgets it."""
    async with rig() as its:
        one, two = await its.pod("a", calls_per_key=1), await its.pod("b", calls_per_key=1)
        first = await start(its, one)
        await first.gone()
        second = await its.resume(two, first.call_id, 0)
        await second.greeting()
        live = one.owned.by_id[first.call_id]
        one.committer.mark(live.writer)
        await until(lambda: not one.view.calls())
        for pod in (one, two, one):
            await pod.heartbeat.heartbeat()
        assert [pod.admission.quota.calls_of(KEY) for pod in (one, two)] == [1, 1]


async def test_a_pod_that_died_counts_for_nothing_once_its_heartbeat_has_run_out() -> None:
    """Nobody is refused for calls that nobody serves."""
    clock = LeapingClock()
    async with rig(MemoryStore(ttl_s=60, now_s=clock.monotonic_s)) as its:
        pod = await its.pod(calls_per_key=1)
        dead = PodHeartbeat("dead", "blue", "1", "ok", 1, 0, 10, 0, 0, keys={KEY[:KEY_DIGITS]: 1})
        await its.store.heartbeat(dead, ttl_s=HEARTBEAT_TTL_S)
        await pod.heartbeat.heartbeat()
        assert (await refusal(pod)).status == 429
        clock.leap(HEARTBEAT_TTL_S)
        await pod.heartbeat.heartbeat()
        await start(its, pod)


async def test_what_others_had_is_forgotten_when_the_store_is_silent_for_longer_than_a_heartbeat_lasts() -> None:
    """An outage refuses nobody for calls that may have ended since."""
    clock, store = LeapingClock(), FaultyStore()
    async with rig(store) as its:
        pod = await its.pod(calls_per_key=1, clock=clock)
        await store.heartbeat(
            PodHeartbeat("b", "blue", "1", "ok", 1, 0, 10, 0, 0, keys={KEY[:KEY_DIGITS]: 1}), ttl_s=600
        )
        await pod.heartbeat.heartbeat()
        store.is_away = True
        await pod.heartbeat.heartbeat()
        assert (await refusal(pod)).status == 429
        clock.leap(HEARTBEAT_TTL_S + 1)
        await pod.heartbeat.heartbeat()
        assert not pod.admission.quota.is_used_up(KEY)


async def test_a_start_by_call_key_that_is_a_resume_is_not_refused() -> None:
    """Neither for the quota, nor because the pod is overloaded or full; a key that is new is."""
    async with rig() as its:
        pod = await its.pod(calls_per_key=1, capacity=1)
        first = await start(its, pod, call_key_hash=CALL_KEY)
        again = await start(its, pod, call_key_hash=CALL_KEY)
        assert again.call_id == first.call_id
        await first.task
        pod.admission.overloaded = True
        once_more = await start(its, pod, call_key_hash=CALL_KEY)
        assert once_more.call_id == first.call_id
        await again.task
        assert (await refusal(pod, call_key_hash="d" * 64)).code == "at_capacity"
        await once_more.gone()
        assert (await refusal(pod, call_key_hash="d" * 64)).code == "overloaded"
        pod.admission.overloaded = False
        assert (await refusal(pod, call_key_hash="d" * 64)).status == 429
        assert pod.status().active_calls == 0


async def test_a_call_key_that_two_wanted_first_counts_once() -> None:
    """The loser of the race gives its own call back."""
    async with rig() as its:
        pods = [await its.pod(name, calls_per_key=5) for name in "ab"]
        request = StartCall("scripted", KEY, call_key_hash=CALL_KEY)
        callers = [Caller(it) for it in await asyncio.gather(*(pod.start(request) for pod in pods))]
        for caller in callers:
            await caller.greeting()
        for pod in pods:
            for live in pod.owned.by_id.values():
                pod.committer.mark(live.writer)
        await until(lambda: sum(pod.admission.quota.told().get(KEY[:KEY_DIGITS], 0) for pod in pods) == 1)


async def test_starts_at_once_do_not_pass_the_limit() -> None:
    """However many are under way: what is being made counts."""
    async with rig() as its:
        pod = await its.pod(calls_per_key=3)
        requests = [StartCall("scripted", KEY, call_key_hash=None if n % 2 else f"{n:064d}") for n in range(12)]
        taken = await asyncio.gather(*(pod.start(request) for request in requests), return_exceptions=True)
        assert Counter(getattr(it, "code", "taken") for it in taken) == {"taken": 3, "too_many_calls": 9}
        assert pod.admission.active == 3
        assert pod.admission.quota.told() == counted(pod) == {KEY[:KEY_DIGITS]: 3}


@pytest.mark.parametrize("waits_in", ["commit", "bind_call_key"])
async def test_a_start_that_is_broken_off_leaves_no_call(waits_in: str) -> None:
    """Wherever it waits, what was made until then counts for nobody, and its record has ended."""
    store = MemoryStore(ttl_s=60)
    waiting, call_ids = asyncio.Event(), list[str]()

    async def never(call_id: str) -> None:
        call_ids.append(call_id)
        waiting.set()
        await asyncio.Event().wait()

    async with rig(store) as its:
        pod = await its.pod(calls_per_key=1)
        with pytest.MonkeyPatch.context() as patched:
            if waits_in == "commit":
                patched.setattr(pod.committer, "flush", lambda writer: never(writer.call.call_id))
            else:
                patched.setattr(store, "bind_call_key", lambda key, call_id, **_: never(call_id))
            starting = asyncio.create_task(pod.start(StartCall("scripted", KEY, call_key_hash=CALL_KEY)))
            await waiting.wait()
            assert (await refusal(pod)).status == 429
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting
        assert pod.view.calls() == []
        assert pod.admission.quota.calls_of(KEY) == 0
        assert pod.status().active_calls == 0
        (call_id,) = call_ids

        async def has_ended() -> bool:
            record = await store.load(call_id)
            return record is not None and record.fields["status"] == b"ended"

        await until(has_ended)


async def test_a_heartbeat_tells_the_keys_only_where_there_is_a_quota() -> None:
    """And then only keys that have calls."""
    async with rig() as its:
        with_quota, without = await its.pod("a", calls_per_key=9), await its.pod("b")
        await (await start(its, with_quota)).gone(1000)
        await start(its, with_quota, OTHER)
        await start(its, without)
        for pod in (with_quota, without):
            await pod.heartbeat.heartbeat()
        assert [dict(heartbeat.keys) for heartbeat in await its.store.pods()] == [{OTHER[:KEY_DIGITS]: 1}, {}]


async def test_nobody_takes_up_a_call_of_a_revoked_key() -> None:
    """401, and the call has ended, on whichever pod it was attached; other keys' calls go on."""
    async with rig() as its:
        old, new = await its.pod("old"), await its.pod("new", revoked=frozenset({KEY}))
        bad, good = await start(its, old), await start(its, old, OTHER)
        with pytest.raises(ConnectionRefused) as refused:
            await new.resume(ResumeCall(bad.call_id, 0))
        assert (refused.value.status, refused.value.code) == (401, "revoked_api_key")
        assert new.view.calls() == []
        assert new.status().active_calls == 0
        snapshot = await its.store.load(bad.call_id)
        assert snapshot is not None
        assert snapshot.fields["status"] == b"ended"
        old.committer.mark(old.owned.by_id[bad.call_id].writer)
        assert (await bad.transport.until(lambda it: it.closed))[0] == 4409
        await (await its.resume(new, good.call_id, 0)).greeting()


def test_a_call_counts_once_wherever_it_is() -> None:
    """In memory, and unloaded until its window is over to the millisecond; however often it comes and goes."""
    quota = KeyQuota(3)
    quota.add("one", KEY)
    quota.unload("one", KEY, until_ms=10)
    quota.remove(KEY)
    assert quota.calls_of(KEY) == 1
    quota.unload("one", KEY, until_ms=20)
    assert quota.calls_of(KEY) == 1
    quota.expire(19)
    assert quota.calls_of(KEY) == 1
    quota.add("one", KEY)
    assert quota.told() == {KEY[:KEY_DIGITS]: 1}
    quota.add("two", KEY)
    quota.remove(KEY)
    quota.remove(KEY)
    assert quota.told() == {}
    quota.unload("two", KEY, until_ms=20)
    quota.expire(20)
    assert quota.told() == {}


@pytest.mark.parametrize(("limit", "key"), [(0, KEY), (3, "")])
def test_without_a_limit_or_a_key_nothing_is_counted(limit: int, key: str) -> None:
    """And nobody is refused."""
    quota = KeyQuota(limit)
    for number in range(5):
        quota.add(f"call_{number}", key)
    quota.unload("call_0", key, until_ms=10)
    assert (quota.told(), quota.calls_of(key), quota.is_used_up(key)) == ({}, 0, False)
    assert quota._unloaded.keys() <= ({"call_0"} if limit else set())


def test_a_key_is_used_up_at_its_limit() -> None:
    """By this pod's calls and the others'; what they say replaces what they said."""
    quota = KeyQuota(2)
    quota.add("one", KEY)
    assert not quota.is_used_up(KEY)
    for calls in (1, 1, 0):
        quota.learn([PodHeartbeat("b", "blue", "1", "ok", 1, 0, 10, 0, 0, keys={KEY[:KEY_DIGITS]: calls})])
        assert quota.calls_of(KEY) == 1 + calls
        assert quota.is_used_up(KEY) == (calls == 1)
