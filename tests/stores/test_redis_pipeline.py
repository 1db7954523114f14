"""The thin pipeline says what redis-py would say, hears what it would hear, and leaves no connection in between."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis.asyncio as redis
from hypothesis import given
from hypothesis import strategies as st
from redis import exceptions
from redis._parsers.base import AsyncPushNotificationsParser
from redis.asyncio.connection import Connection

from voice_agent.stores.redis_pipeline import ask_all, pack

WORDS = st.one_of(st.text(max_size=20), st.binary(max_size=60), st.integers(-(2**63), 2**63))


@given(st.lists(st.lists(WORDS, max_size=12).map(lambda words: ("EVALSHA", *words)), max_size=5))
def test_commands_are_packed_as_redis_py_packs_them(commands: list[tuple[Any, ...]]) -> None:
    """Byte for byte."""
    connection = Connection()
    assert pack(commands) == b"".join(b"".join(connection.pack_command(*command)) for command in commands)


@pytest.mark.parametrize("protocol", [2, 3])
async def test_answers_come_in_order_with_errors_among_them(redis_url: str, protocol: int) -> None:
    """Large, small, nested and wrong ones; and the connection is good for more."""
    async with redis.Redis.from_url(redis_url, protocol=protocol) as client:
        commands: list[tuple[str | int | bytes, ...]] = [("SET", "a-string", b"x" * 300_000)]
        commands += [("LPUSH", "a-string", "y"), ("ECHO", "z"), ("EVAL", "return {1,{'two'}}", 0)] * 300
        for _ in range(2):
            answers = await ask_all(client, [*commands, ("GET", "a-string")])
            assert answers[0] == b"OK"
            assert answers[-1] == b"x" * 300_000
            assert answers[2:-1:3] == [b"z"] * 300
            assert answers[3:-1:3] == [[1, [b"two"]]] * 300
            assert all("WRONGTYPE" in str(error) for error in answers[1:-1:3])
        wrong, right = await ask_all(client, [("LPUSH", "a-string", "y"), ("ECHO", "z")])
        assert ("WRONGTYPE" in str(wrong), right) == (True, b"z")
        assert await client.get("a-string") == b"x" * 300_000


async def test_most_answers_pass_by_the_slow_reader(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a thousand answers few go through `read_response`: it notices when redis-py's parser has changed."""
    slow = 0
    read = Connection.read_response

    async def counted(self: Connection, *arguments: Any, **options: Any) -> Any:
        nonlocal slow
        slow += 1
        return await read(self, *arguments, **options)

    async with redis.Redis.from_url(redis_url) as client:
        await client.ping()
        monkeypatch.setattr(Connection, "read_response", counted)
        assert await ask_all(client, [("ECHO", n) for n in range(1000)]) == [b"%d" % n for n in range(1000)]
    assert slow < 100


async def test_without_that_parser_every_answer_takes_the_slow_way(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same answers."""
    async with redis.Redis.from_url(redis_url) as client:
        connection: Any = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        parser = connection._parser

        class Hidden:
            """A parser that shows nothing."""

            def __getattr__(self, name: str) -> Any:
                if name == "_reader":
                    raise AttributeError(name)
                return getattr(parser, name)

        monkeypatch.setattr(connection, "_parser", Hidden())
        await client.connection_pool.release(connection)
        assert await ask_all(client, [("ECHO", n) for n in range(50)]) == [b"%d" % n for n in range(50)]


async def test_a_cancelled_question_leaves_no_answers_to_the_next(redis_url: str) -> None:
    """The connection is given up: its answers would be taken for those of whoever asks next."""
    pool = redis.ConnectionPool.from_url(redis_url, max_connections=1)
    async with redis.Redis(connection_pool=pool) as client:
        await client.ping()
        slow = ("BLPOP", "nobody-pushes-here", "0.1")
        asking = asyncio.create_task(ask_all(client, [slow, ("ECHO", "stale")]))
        while not pool._in_use_connections:
            await asyncio.sleep(0)
        await asyncio.sleep(0.02)  # The question is on its way; whether it has arrived does not matter.
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await ask_all(client, [("ECHO", "fresh")]) == [b"fresh"]
        assert await client.echo("again") == b"again"
    await pool.disconnect()


async def test_a_server_that_goes_in_the_middle_is_an_error(redis_url: str) -> None:
    """And nothing half-read stays behind."""
    async with redis.Redis.from_url(redis_url) as client:
        me = await client.client_id()
        with pytest.raises((exceptions.ConnectionError, OSError)):
            await ask_all(client, [("ECHO", 1), ("CLIENT", "KILL", "ID", me, "SKIPME", "no"), ("ECHO", 2)])
        assert await ask_all(client, [("ECHO", 3)]) == [b"3"]


async def test_an_answer_that_is_about_the_connection_is_no_answer_of_one_command(redis_url: str) -> None:
    """A server that loads, or takes no more clients, says so to all: it is raised, wherever it comes."""
    async with redis.Redis.from_url(redis_url) as client:
        loading = ("EVAL", "return redis.error_reply('LOADING the dataset')", 0)
        for commands in ([loading, ("ECHO", 1)], [("ECHO", 1), loading, ("ECHO", 2)]):
            with pytest.raises(exceptions.BusyLoadingError):
                await ask_all(client, commands)
        assert await ask_all(client, [("ECHO", 3)]) == [b"3"]


async def test_what_a_server_says_unasked_is_no_answer(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes where redis-py takes it, wherever among the answers it comes."""
    unasked = []

    async def heard(_: Any, response: Any, **__: Any) -> None:
        unasked.append(response)

    monkeypatch.setattr(AsyncPushNotificationsParser, "handle_push_response", heard)
    async with redis.Redis.from_url(redis_url, protocol=3) as client:
        rounds: list[tuple[str | int | bytes, ...]] = []
        for n in range(20):
            rounds += [("GET", "a-key"), ("SET", "a-key", n), ("ECHO", n)]
        answers = await ask_all(client, [("CLIENT", "TRACKING", "ON"), *rounds])
    assert answers[0] == b"OK"
    assert answers[2::3] == [b"OK"] * 20
    assert answers[3::3] == [b"%d" % n for n in range(20)]
    assert unasked == [[b"invalidate", [b"a-key"]]] * 20


class StuckConnection:
    """A connection, and a pool of it, that fails while it sends."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def get_connection(self) -> StuckConnection:
        """Itself."""
        return self

    async def send_packed_command(self, _: Any) -> None:
        """Fail."""
        raise OSError("stuck")

    async def disconnect(self, *, nowait: bool = False) -> None:
        """Note whether it is waited for."""
        self.seen.append(nowait)

    async def release(self, connection: Any) -> None:
        """Take it back."""
        self.seen.append(connection)


async def test_nobody_waits_for_a_connection_that_is_given_up() -> None:
    """Its server may never take what was sent; it goes back to the pool all the same, to be connected anew."""
    stuck = StuckConnection()
    client: Any = type("Client", (), {"connection_pool": stuck})
    with pytest.raises(OSError, match="stuck"):
        await ask_all(client, [("ECHO", 1)])
    assert stuck.seen == [True, stuck]
