"""The parts of a pod, put together as they are run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import pytest
import redis.asyncio as redis

from voice_agent import bootstrap
from voice_agent.bootstrap import AGREED_SECRET, find_secret
from voice_agent.bootstrap_agents import PodAgents
from voice_agent.call.schema import SCHEMA
from voice_agent.errors import StoreRefused
from voice_agent.runtime.pod.naming import OwnName
from voice_agent.settings import Settings
from voice_agent.stores.memory import MemoryStore
from voice_agent.websocket.loop_scheduler import LoopScheduler


class Waiting:
    """A connection that waits for its first share; notes when it had it."""

    def __init__(self, order: list[str]) -> None:
        self.is_waiting = False
        self._order = order

    def work(self, until_s: float) -> bool:
        self._order.append("caller")
        return False


async def test_a_pod_is_as_late_as_its_callers_messages() -> None:
    """What tells it that it is overloaded waits in the same line as they."""
    order: list[str] = []
    async with bootstrap.build(Settings(store_url="memory://", agent="echo")) as parts:
        LoopScheduler.of(asyncio.get_running_loop()).queue_new(Waiting(order))
        await parts.pod.ports.next_turn()
        order.append("pod")
    assert order == ["caller", "pod"]


async def test_a_secret_that_is_too_short_to_be_agreed_on_is_refused() -> None:
    """Whoever wrote it, tokens signed with it could be guessed; the line says what to do."""
    store = MemoryStore(ttl_s=60)
    await store.get_or_set(AGREED_SECRET, b"")
    with pytest.raises(StoreRefused, match="has 0 bytes instead of 32: delete voice:agreed:secret"):
        await find_secret(Settings(secret=None), store)


@pytest.mark.parametrize("secret", [None, "s" * 32])
async def test_a_pod_tells_a_store_that_came_back_empty_its_schema(redis_url: str, secret: str | None) -> None:
    """Whether the pods have agreed on a secret or were given one: without it the store is taken for an old one."""
    async with (
        redis.Redis.from_url(redis_url) as client,
        bootstrap.build(Settings(store_url=redis_url, agent="echo", secret=secret)) as parts,
    ):
        assert await client.get("voice:agreed:schema") == b"%d" % SCHEMA
        await client.flushall()
        await parts.pod.heartbeat.heartbeat()
        assert await client.get("voice:agreed:schema") == b"%d" % SCHEMA
        assert (await client.get("voice:agreed:secret") is None) == (secret is not None)


async def test_a_name_is_chosen_when_all_else_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is kept for seconds, until a heartbeat shows it; an agent may take longer to open."""
    order: list[str] = []

    async def opened(self: PodAgents) -> None:
        order.append("agents")

    class Noted(OwnName):
        async def choose(self, wanted: str, parts: Callable[[str], Iterable[str]] = lambda name: (name,)) -> str:
            order.append("name")
            return await super().choose(wanted, parts)

    monkeypatch.setattr(PodAgents, "open", opened)
    monkeypatch.setattr(bootstrap, "OwnName", Noted)
    async with bootstrap.build(Settings(store_url="memory://", agent="echo"), own_name=True) as parts:
        assert order == ["agents", "name"]
        assert [heartbeat.name for heartbeat in await parts.store.pods()] == [parts.pod.name]
