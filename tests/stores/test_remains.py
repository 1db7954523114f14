"""What the files of a store still hold of a call that was erased, and until when: docs/store.md says it."""

from __future__ import annotations

from pathlib import Path

import redis.asyncio

from tests.servers import RedisServer, binaries, free_port
from tests.waiting import until
from voice_agent.call.changes import CallWrite, OutboxEntry
from voice_agent.stores.base import WriteOutcome
from voice_agent.stores.redis import RedisStore

SAID = b"what-was-said"
WRITTEN_AT_ONCE = ("--appendonly", "yes", "--appendfsync", "always")


def holds(folder: Path) -> bool:
    """Whether any file of the server has it."""
    return any(SAID in file.read_bytes() for file in folder.rglob("*") if file.is_file())


async def test_erased_words_are_in_the_append_only_file_until_it_is_written_anew(tmp_path: Path) -> None:
    """In memory they are gone at once; BGREWRITEAOF takes them from the disk."""
    server = RedisServer(binaries()["valkey"], tmp_path, free_port(), options=WRITTEN_AT_ONCE)
    server.start()
    store = RedisStore(server.url, ttl_s=100)
    try:
        made = CallWrite("call_a", 1, 1, "made", items={"item_1": SAID}, events=[OutboxEntry(1, SAID, b"")], whole=True)
        assert await store.commit([made]) == [WriteOutcome.COMMITTED]
        assert await store.erase("call_a", 7)
        assert holds(tmp_path)
        async with redis.asyncio.Redis.from_url(server.url) as client:
            await client.bgrewriteaof()

            async def rewritten() -> bool:
                told = await client.info("persistence")
                return not told["aof_rewrite_in_progress"] and not told["aof_rewrite_scheduled"]

            await until(rewritten)
            await until(lambda: not holds(tmp_path))
    finally:
        await store.close()
        server.stop()


async def test_erased_words_are_in_a_snapshot_until_the_next(tmp_path: Path) -> None:
    """BGSAVE, or SAVE, replaces the file; copies of it elsewhere are nobody's business but their keeper's."""
    server = RedisServer(binaries()["valkey"], tmp_path, free_port(), options=("--rdbcompression", "no"))
    server.start()
    store = RedisStore(server.url, ttl_s=100)
    try:
        await store.commit([CallWrite("call_a", 1, 1, "made", items={"item_1": SAID}, whole=True)])
        async with redis.asyncio.Redis.from_url(server.url) as client:
            await client.save()
            assert await store.erase("call_a", 7)
            assert holds(tmp_path)
            await client.save()
            assert not holds(tmp_path)
    finally:
        await store.close()
        server.stop()
