"""What is special about the Redis store: failing servers, scripts, secrets."""

from __future__ import annotations

import pytest

from app.call.changes import CallWrite
from app.errors import SettingsError, StoreRefused, StoreUnavailable
from app.stores.base import WriteOutcome
from app.stores.factory import open_store
from app.stores.redis import RedisStore, without_password
from tests.servers import redis_server

MAKE = CallWrite("call_a", 1, whole=True)


async def test_a_store_that_went_away_is_unavailable_and_works_again_once_back() -> None:
    """No reconnect by hand, no script loaded by hand."""
    with redis_server() as server:
        store = RedisStore(server.url, ttl_s=10)
        await store.open()
        assert await store.commit([MAKE]) == [WriteOutcome.COMMITTED]
        server.stop()
        with pytest.raises(StoreUnavailable):
            await store.commit([MAKE])
        server.start()
        assert await store.commit([MAKE]) == [WriteOutcome.COMMITTED]
        await store.close()


async def test_scripts_are_loaded_again_when_the_server_forgot_them(redis_url: str) -> None:
    """SCRIPT FLUSH in mid-flight goes unnoticed."""
    store = RedisStore(redis_url, ttl_s=10)
    await store.commit([MAKE])
    await store._redis.script_flush()
    assert await store.commit([MAKE, CallWrite("call_b", 1)]) == [WriteOutcome.COMMITTED, WriteOutcome.UNKNOWN]
    await store.close()


async def test_a_wrong_password_is_refused_and_never_shown() -> None:
    """`StoreRefused` names the server without the secret."""
    with redis_server(password="correct-horse") as server:
        store = RedisStore(server.url.replace("correct-horse", "wrong-horse"), ttl_s=10)
        with pytest.raises(StoreRefused) as refusal:
            await store.open()
        assert "horse" not in str(refusal.value)
        await store.close()
        right = RedisStore(server.url, ttl_s=10)
        await right.open()
        await right.close()


def test_passwords_are_masked() -> None:
    """Whatever is shown of a URL has no user, password or query in it."""
    assert without_password("rediss://me:secret@host:6379/0?x=secret") == "rediss://***@host:6379/0"


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "redis://host:notaport/0"])
def test_a_bad_url_stops_the_start_with_one_line(url: str) -> None:
    """The line names the setting."""
    with pytest.raises(SettingsError, match="^VOICE_STORE_URL: [^\n]+$"):
        open_store(url, ttl_s=10)


def test_each_scheme_has_its_store() -> None:
    """By URL alone."""
    kinds = {url: open_store(url, ttl_s=10).kind for url in ("memory://", "embedded://", "redis://h", "rediss://h")}
    assert kinds == {"memory://": "memory", "embedded://": "embedded", "redis://h": "redis", "rediss://h": "redis"}
