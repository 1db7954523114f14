"""Whom the sentinels are believed: also when some are silent, cut off, or ask for a password.

Tests of `redis_sentinels`, too.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from redis import exceptions
from redis.asyncio.sentinel import MasterNotFoundError

from tests.replicated import BUSY_S, SERVICE, sentinel_set
from tests.servers import free_port
from tests.waiting import PATIENCE_S, until
from voice_agent.call.changes import CallWrite
from voice_agent.errors import StoreUnavailable
from voice_agent.stores import redis_sentinels
from voice_agent.stores.base import WriteOutcome
from voice_agent.stores.factory import open_store
from voice_agent.stores.redis import RedisStore
from voice_agent.stores.redis_sentinels import Sentinels

ASKED_AT_ONCE = 16


@dataclass
class ScriptedSentinel:
    """Says of the service what it is told to say; says nothing at all while `silent`."""

    master_port: int = 1
    config_epoch: int = 0
    flags: str = "master"
    silent: bool = False
    port: int = field(default_factory=free_port)
    connected: int = 0
    """How often somebody connected."""
    connections: set[asyncio.Task[Any]] = field(default_factory=set)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer commands until the asker hangs up."""
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        self.connected += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                words = []
                for _ in range(int((await reader.readuntil())[1:])):
                    size_bytes = int((await reader.readuntil())[1:])
                    words.append((await reader.readexactly(size_bytes + 2))[:-2])
                if not self.silent:
                    writer.write(self.answer(words))
        writer.close()
        self.connections.discard(task)

    def answer(self, words: list[bytes]) -> bytes:
        """One reply of the protocol."""
        if words[0] == b"HELLO":
            return b"%1\r\n+proto\r\n:3\r\n"
        if words[:2] != [b"SENTINEL", b"MASTER"]:
            return b"+OK\r\n"
        if words[2] != SERVICE.encode():
            return b"-ERR No such master with that name\r\n"
        state = {"name": SERVICE, "ip": "127.0.0.1", "port": self.master_port, "flags": self.flags}
        state |= {"num-other-sentinels": 2, "config-epoch": self.config_epoch}
        flat = "".join(f"+{name}\r\n+{value}\r\n" for name, value in state.items())
        return f"%{len(state)}\r\n{flat}".encode()


@contextlib.asynccontextmanager
async def at_work(*sentinels: ScriptedSentinel) -> AsyncIterator[RedisStore]:
    """A store that asks these."""
    listening = [await asyncio.start_server(one.talk, "127.0.0.1", one.port) for one in sentinels]
    hosts = ",".join(f"127.0.0.1:{one.port}" for one in sentinels)
    store = open_store(f"redis+sentinel://{hosts}/{SERVICE}", ttl_s=10)
    assert isinstance(store, RedisStore)
    try:
        yield store
    finally:
        await store.close()
        for server in listening:
            server.close()
        for one in sentinels:
            for task in list(one.connections):
                task.cancel()
        await asyncio.gather(*(server.wait_closed() for server in listening))


async def named(store: RedisStore, service: str = SERVICE) -> int:
    """The port of the master that new connections go to."""
    sentinels: Any = store._redis.connection_pool
    _, port = await sentinels.sentinel_manager.discover_master(service)
    return int(port)


async def test_silent_sentinels_hold_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of five say nothing: who the master is, is known as soon as the three others have said it."""
    monkeypatch.setattr(redis_sentinels, "SENTINEL_ANSWER_S", 2 * PATIENCE_S)
    silent = [ScriptedSentinel(silent=True) for _ in range(2)]
    async with at_work(*silent, *(ScriptedSentinel(7) for _ in range(3))) as store:
        async with asyncio.timeout(PATIENCE_S):
            assert await named(store) == 7


async def test_a_sentinel_that_was_cut_off_is_outvoted() -> None:
    """It answers first and names the master of before a failover; the newer configuration counts."""
    async with at_work(ScriptedSentinel(7), ScriptedSentinel(8, 1), ScriptedSentinel(8, 1)) as store:
        for _ in range(20):
            assert await named(store) == 8


async def test_a_minority_is_believed_when_the_others_say_nothing() -> None:
    """Two of three are lost, and the master is as well as before."""
    async with at_work(ScriptedSentinel(7), *(ScriptedSentinel(silent=True) for _ in range(2))) as store:
        assert await named(store) == 7


async def test_sentinels_that_all_say_nothing_name_no_master() -> None:
    """That is told in about the time that one of them is given: all are asked at once, each once."""
    silent = [ScriptedSentinel(silent=True) for _ in range(3)]
    async with at_work(*silent) as store:
        with pytest.raises(MasterNotFoundError, match="0 of 3 sentinels answered"):
            await named(store)
    assert [one.connected for one in silent] == [1, 1, 1]


async def test_a_newer_master_that_is_down_is_not_replaced_by_an_older() -> None:
    """While the newest master is being replaced there is none."""
    down = [ScriptedSentinel(8, 1, "master,s_down") for _ in range(2)]
    async with at_work(ScriptedSentinel(7), *down) as store:
        with pytest.raises(MasterNotFoundError):
            await named(store)


async def test_a_service_that_nobody_watches_is_named() -> None:
    """A typo in the URL is seen in the message."""
    async with at_work(*(ScriptedSentinel(7) for _ in range(3))) as store:
        with pytest.raises(MasterNotFoundError, match="'voise'"):
            await named(store, "voise")


async def test_many_connections_at_once_lose_no_sentinel() -> None:
    """After a failover each connection asks; all sentinels are still known when it is over."""
    sentinels = [ScriptedSentinel(7, silent=True), *(ScriptedSentinel(7) for _ in range(3))]
    async with at_work(*sentinels) as store:
        assert set(await asyncio.gather(*(named(store) for _ in range(ASKED_AT_ONCE)))) == {7}
        pool: Any = store._redis.connection_pool
        known = {one.connection_pool.connection_kwargs["port"] for one in pool.sentinel_manager.sentinels}
        assert known == {one.port for one in sentinels}


async def test_a_store_that_is_closed_has_no_connection_to_a_sentinel() -> None:
    """Nor to a server."""
    sentinel = ScriptedSentinel(7)
    async with at_work(sentinel) as store:
        await named(store)
        assert sentinel.connections
        await store.close()
        await until(lambda: not sentinel.connections)


class Answers(Sentinels):
    """Sentinels that answer when the test says so."""

    def __init__(self, count: int) -> None:
        super().__init__([], sentinel_kwargs={})  # type: ignore[no-untyped-call]
        self.answers = [asyncio.get_running_loop().create_future() for _ in range(count)]
        self.sentinels = list[Any](self.answers)

    async def _state(self, sentinel: Any, service_name: str) -> dict[str, Any]:
        assert service_name == SERVICE
        try:
            found: dict[str, Any] = await sentinel
        except asyncio.CancelledError:
            for _ in range(9):
                await asyncio.sleep(0)  # As a connection that is closed.
            raise
        return found


def master(port: int, config_epoch: int = 0) -> dict[str, Any]:
    """What a sentinel knows."""
    state = {"ip": "h", "port": port, "config-epoch": config_epoch, "num-other-sentinels": 2}
    return state | {"is_master": True, "is_sdown": False, "is_odown": False}


@pytest.mark.parametrize(("first", "count"), [(1, 2), (1, 3), (2, 4), (2, 5)])
async def test_half_of_the_sentinels_are_not_believed(first: int, count: int) -> None:
    """One more than half is; whoever has not answered by then is asked no longer."""
    sentinels = Answers(count)
    asking = asyncio.create_task(sentinels.discover_master(SERVICE))
    before = asyncio.all_tasks()
    for answer in sentinels.answers[:first]:
        answer.set_result(master(7))
    for _ in range(9):
        await asyncio.sleep(0)
    assert not asking.done()
    sentinels.answers[first].set_result(master(8, 1))
    if 2 * (first + 1) <= count:
        sentinels.answers[first + 1].set_result(master(8, 1))
    assert await asking == ("h", 8)
    assert asyncio.all_tasks() == before - {asking}


WRONG = exceptions.AuthenticationError("wrong password")
LOST = exceptions.ConnectionError("lost")


@pytest.mark.parametrize(
    ("answers", "failure", "says"),
    [
        ([WRONG], exceptions.AuthenticationError, "wrong password"),
        ([WRONG, WRONG], exceptions.AuthenticationError, "wrong password"),
        ([WRONG, {}], MasterNotFoundError, "1 of 2 sentinels answered"),
        ([LOST, LOST], MasterNotFoundError, "0 of 2 sentinels answered"),
        ([{}, {}, {}], MasterNotFoundError, "3 of 3 sentinels answered"),
    ],
)
async def test_why_no_master_is_named(answers: list[Any], failure: type[Exception], says: str) -> None:
    """A refusal counts as one where all of them refuse: else somebody may still learn who the master is."""
    sentinels = Answers(len(answers))
    for future, answer in zip(sentinels.answers, answers, strict=True):
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
    with pytest.raises(failure, match=says):
        await sentinels.discover_master(SERVICE)


async def test_one_that_refuses_or_knows_nothing_leaves_the_word_to_the_others() -> None:
    """What it answers is no state of the service."""
    sentinels = Answers(3)
    sentinels.answers[0].set_exception(WRONG)
    sentinels.answers[1].set_result({})
    sentinels.answers[2].set_result(master(7))
    assert await sentinels.discover_master(SERVICE) == ("h", 7)


class Refusing:
    """A sentinel that answers with an error."""

    def __init__(self, words: str) -> None:
        self._words = words

    async def sentinel_master(self, _: str) -> Any:
        """Refuse."""
        raise exceptions.ResponseError(self._words)


async def test_only_a_sentinel_that_watches_no_such_service_has_answered() -> None:
    """Any other error is a refusal."""
    sentinels = Sentinels([], sentinel_kwargs={})  # type: ignore[no-untyped-call]
    known: Any = Refusing("ERR No such master with that name")
    assert await sentinels._state(known, SERVICE) == {}
    refused: Any = Refusing("NOPERM")
    with pytest.raises(exceptions.ResponseError, match="NOPERM"):
        await sentinels._state(refused, SERVICE)


async def test_a_master_without_replicas_is_not_clung_to() -> None:
    """Cut off from all but this pod, it refuses every write: the next try asks the sentinels who the master is now."""
    with sentinel_set(replicas=1, sentinels=1, lost_after_s=BUSY_S) as real:
        old, new = real.servers
        write = CallWrite("call_a", 1, whole=True)
        sentinels = [ScriptedSentinel(old.port) for _ in range(3)]
        async with at_work(*sentinels) as store:
            assert await store.commit([write]) == [WriteOutcome.COMMITTED]
            for sentinel in real.sentinels:
                sentinel.kill()  # They would mend what follows.
            with real.client(new) as told:
                told.config_set("min-replicas-to-write", 0)
                told.replicaof("NO", "ONE")
            await asyncio.to_thread(real.await_alone, old)
            with pytest.raises(StoreUnavailable, match="NOREPLICAS"):
                await store.commit([write])
            for scripted in sentinels:
                scripted.master_port, scripted.config_epoch = new.port, 1
            assert await store.commit([write]) == [WriteOutcome.COMMITTED]
            with real.client(new) as told:
                assert told.exists("call:{call_a}")
