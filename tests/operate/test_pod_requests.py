"""Asking single pods by way of the store, and whom a name stands for."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from tests.operate.test_drain import heartbeat
from voice_agent.operate.fleet import Fleet, FleetError
from voice_agent.operate.pod_requests import TRIES, ask, check_version, named, new_id, withdraw
from voice_agent.runtime.pod.pod_request import PodRequest, request_of, value_name
from voice_agent.stores.memory import MemoryStore

REQUEST = PodRequest("4f", 1, 60, evacuates=True)


class HastyStore(MemoryStore):
    """Somebody else writes just before this tool does, so often."""

    def __init__(self, times: int) -> None:
        super().__init__(ttl_s=60)
        self._times = times

    async def compare_and_set(self, name: str, old: bytes | None, new: bytes | None, *, ttl_s: int) -> bool:
        if self._times:
            self._times -= 1
            other = replace(REQUEST, request_id=f"other-{self._times}").packed()
            await super().compare_and_set(name, old, other, ttl_s=60)
        return await super().compare_and_set(name, old, new, ttl_s=ttl_s)


def instead(request: PodRequest, standing: PodRequest | None) -> PodRequest:
    return request


def test_a_name_is_that_of_a_pod_or_of_a_node() -> None:
    """No pod is named twice; what begins like a name is another one."""
    one, two = replace(heartbeat("one"), node="node-a"), replace(heartbeat("two"), node="node-a")
    fleet = Fleet([heartbeat("one-1"), one, two])
    assert named(fleet, ["two", "node-a"]) == [one, two]
    assert named(fleet, ["one"]) == [one]
    with pytest.raises(FleetError, match=r"^there is no pod and no node node; there is: one-1, one, two\.$"):
        named(fleet, ["node"])
    with pytest.raises(FleetError, match="no pod at all"):
        named(Fleet([]), ["node"])


def test_a_pod_of_an_older_version_is_named() -> None:
    """It would never learn that it is asked."""
    with pytest.raises(FleetError, match=r"^one is of a version that cannot be asked .*--url\)\.$"):
        check_version([heartbeat("one"), replace(heartbeat("two"), applied_request="")])
    check_version([replace(heartbeat("two"), applied_request="")])


async def test_what_is_asked_takes_the_place_of_what_was() -> None:
    """Whoever asks sees what that is, also if it was written a moment ago."""
    store = HastyStore(2)
    seen: list[str | None] = []

    def make(standing: PodRequest | None) -> PodRequest:
        seen.append(None if standing is None else standing.request_id)
        return REQUEST

    await ask(store, "one", make, 60)
    assert request_of(await store.get(value_name("one"))) == REQUEST
    assert seen == [None, "other-1", "other-0"]


async def test_a_pod_that_is_asked_by_others_all_the_time_is_given_up() -> None:
    """In one line."""
    with pytest.raises(FleetError, match="somebody else"):
        await ask(HastyStore(TRIES), "one", partial(instead, REQUEST), 60)
    with pytest.raises(FleetError, match="somebody else"):
        store = HastyStore(TRIES)
        await MemoryStore.compare_and_set(store, value_name("one"), None, REQUEST.packed(), ttl_s=60)
        await withdraw(store, "one")


async def test_an_evacuation_is_taken_back() -> None:
    """As are moves, and what cannot be read."""
    store = MemoryStore(ttl_s=60)
    assert not await withdraw(store, "one")
    for asked in (REQUEST.packed(), replace(REQUEST, evacuates=False).packed(), b"?"):
        await store.compare_and_set(value_name("one"), None, asked, ttl_s=60)
        assert await withdraw(store, "one")
        assert await store.get(value_name("one")) is None


def test_no_two_requests_have_one_id() -> None:
    """A pod takes each up once."""
    assert len({new_id() for _ in range(100)}) == 100
