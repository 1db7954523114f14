"""What the URL of a store may say, what of it stops the start, and how connections are made."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from redis import exceptions

from voice_agent.errors import SettingsError
from voice_agent.stores.factory import open_store
from voice_agent.stores.redis import RedisStore
from voice_agent.stores.redis_cluster import ClusterStore
from voice_agent.stores.redis_connections import Tuning, one_server, read_place
from voice_agent.stores.redis_sentinels import sentinel_master

KINDS = ["redis://h:1?", "redis+sentinel://h:1/voice?", "redis+cluster://h:1?"]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        *((f"{kind}timeout_s=", "timeout_s must be a number above 0") for kind in KINDS),
        *(
            (f"{kind}timeout_s={value}", "timeout_s must be a number above 0")
            for kind in KINDS
            for value in ("nan", "inf")
        ),
        *((f"{kind}connections=0.5", "connections must be a number above 0") for kind in KINDS),
        *((f"{kind}health_check_s=0", "health_check_s must be a number above 0") for kind in KINDS),
        *((f"{kind}nonsense=", "nonsense") for kind in KINDS[1:]),
        *((f"{kind.replace('redis', 'rediss')}ssl_cert_reqs=maybe", "maybe") for kind in KINDS),
        ("redis://h?nonsense=1", "unknown parameter 'nonsense'"),
        ("redis://h:1/zero", "the database is not a number"),
        ("redis://:12?horse@host", "an @ after the host"),
        ("redis+cluster://:1", "host:port"),
        ("redis+cluster://h", "host:port"),
        ("redis+cluster://h:x", "host:port"),
        ("redis+cluster://h:0", "host:port"),
        ("redis+cluster://h:65536", "host:port"),
        ("redis+cluster://h:1?ssl_check_hostname=yes", "rediss"),
        ("redis+sentinel://h:1/voice/-1", "database"),
        ("redis+sentinel://h:1/voice/1/2", "database"),
        ("redis+sentinel://h:1/", "service"),
    ],
)
def test_what_a_url_cannot_say_stops_the_start(url: str, says: str) -> None:
    """On the start, and not with the first connection; in one line that names what is wrong."""
    with pytest.raises(SettingsError, match="^VOICE_STORE_URL: [^\n]+$") as refusal:
        open_store(url, ttl_s=10)
    assert says in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://h/",
        "redis://h/3",
        "unix:///run/redis.sock",
        "unix:///home/me@work/redis.sock?db=1",
        *(f"{kind}connections=1" for kind in KINDS),
        "redis+cluster://h:1,h:65535/",
        "rediss+cluster://h:1",
    ],
)
def test_what_a_url_may_say(url: str) -> None:
    """The least and the most of it."""
    open_store(url, ttl_s=10)


@pytest.mark.parametrize(("value", "is_checked"), [("yes", True), ("TRUE", True), ("1", True), ("no", False)])
def test_whether_a_certificate_must_name_the_host_is_a_word(value: str, is_checked: bool) -> None:
    """As redis-py reads it in the URL of one server."""
    assert read_place(f"rediss+cluster://h:1?ssl_check_hostname={value}").tls == {
        "ssl": True,
        "ssl_check_hostname": is_checked,
    }


@pytest.mark.parametrize(("path", "database"), [("voice", 0), ("voice/0", 0), ("voice/3", 3)])
def test_behind_sentinels_the_database_comes_after_the_service(path: str, database: int) -> None:
    """The first one unless it is named."""
    client, _ = sentinel_master(f"redis+sentinel://h:1/{path}")
    pool: Any = client.connection_pool
    assert (pool.service_name, pool.connection_kwargs["db"]) == ("voice", database)


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_knows_how_its_connections_are_tuned(kind: str) -> None:
    """By the URL; it says how long a question may take."""
    store = open_store(f"{kind}timeout_s=0.5&connections=3", ttl_s=10)
    assert isinstance(store, RedisStore)
    assert store.tuning == Tuning(timeout_s=0.5, connections=3)
    pool: Any = store._node("h:1").connection_pool if isinstance(store, ClusterStore) else store._redis.connection_pool
    assert (pool.max_connections, pool.timeout, pool.connection_kwargs["socket_timeout"]) == (3, 0.5, 0.5)


async def test_a_question_is_asked_once_on_a_connection() -> None:
    """Whether to ask again is for the asker, who knows if it may take effect twice."""
    asked = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while word := await reader.readline():
            if word.strip() == b"PING":
                asked.append(word)
                break
            if word.strip() == b"SETINFO":
                writer.write(b"+OK\r\n")
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    client, _ = one_server(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}?protocol=2")
    with pytest.raises((exceptions.ConnectionError, OSError)):
        await client.ping()
    assert len(asked) == 1
    await client.connection_pool.disconnect()
    server.close()
    await server.wait_closed()


async def test_a_connection_that_is_given_up_forgets_what_it_has_not_sent(redis_url: str) -> None:
    """Else a claim would arrive when a broken network heals, long after its asker was told that nobody answers."""
    client, _ = one_server(redis_url)
    await client.ping()
    pool: Any = client.connection_pool
    [connection] = pool._available_connections
    endpoint = connection._writer.get_extra_info("socket")
    assert endpoint.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == (1).to_bytes(4, "little") + bytes(4)
    await client.connection_pool.disconnect()
