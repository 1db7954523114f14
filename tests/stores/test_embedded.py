"""The embedded store: a server that comes and goes with its processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.call.changes import CallWrite
from app.stores.base import WriteOutcome
from app.stores.embedded import EmbeddedStore

POD = """
import asyncio, sys
from app.call.changes import CallWrite
from app.stores.embedded import EmbeddedStore
async def main():
    store = EmbeddedStore("embedded://" + sys.argv[1], ttl_s=100)
    await store.open()
    await store.commit([CallWrite("call_a", 1, fields={"said": b"by the other"}, whole=True)])
    print("ready", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def start_pod(directory: Path) -> subprocess.Popen[str]:
    """Another process that opens the store, writes a call and stays."""
    pod = subprocess.Popen([sys.executable, "-c", POD, str(directory)], stdout=subprocess.PIPE, text=True)
    assert pod.stdout is not None
    assert pod.stdout.readline() == "ready\n"
    pod.stdout.close()
    return pod


async def test_processes_with_one_directory_share_one_store(tmp_path: Path) -> None:
    """The second attaches to the first one's server."""
    pod = start_pod(tmp_path)
    store = EmbeddedStore(f"embedded://{tmp_path}", ttl_s=100)
    await store.open()
    held = await store.load("call_a")
    assert held is not None
    assert store._server is None
    await store.close()
    pod.terminate()
    pod.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
async def test_the_server_dies_with_its_starter_and_loses_nothing(tmp_path: Path) -> None:
    """kill -9 of the starter ends the server; the other process starts it again with everything in it."""
    pod = start_pod(tmp_path)
    store = EmbeddedStore(f"embedded://{tmp_path}", ttl_s=100)
    await store.open()
    before = (await store._redis.info("server"))["process_id"]
    os.kill(pod.pid, signal.SIGKILL)
    pod.wait()
    async with asyncio.timeout(10):
        while Path(f"/proc/{before}").exists():
            await asyncio.sleep(0.01)
    outcome = await store.commit([CallWrite("call_a", 1, fields={"more": b"1"})])
    assert outcome == [WriteOutcome.COMMITTED]
    held = await store.load("call_a")
    assert held is not None
    assert held.fields["said"] == b"by the other"
    assert (await store._redis.info("server"))["process_id"] != before
    await store.close()


async def test_two_starts_at_once_make_one_server(tmp_path: Path) -> None:
    """A lock in the directory settles who starts it."""
    stores = [EmbeddedStore(f"embedded://{tmp_path}", ttl_s=100) for _ in range(3)]
    await asyncio.gather(*(store.open() for store in stores))
    assert sum(store._server is not None for store in stores) == 1
    for store in stores:
        await store.close()


async def test_a_long_directory_name_still_works(tmp_path: Path) -> None:
    """A unix socket's path is bounded; the directory's is not."""
    directory = tmp_path / ("d" * 120)
    store = EmbeddedStore(f"embedded://{directory}", ttl_s=100)
    await store.open()
    assert (directory / "appendonlydir").exists()
    await store.close()


async def test_data_survives_a_restart(tmp_path: Path) -> None:
    """Closed and opened again, the call is still there."""
    for outcome in (None, "kept"):
        store = EmbeddedStore(f"embedded://{tmp_path}", ttl_s=100)
        await store.open()
        held = await store.load("call_a")
        assert (held is None) is (outcome is None)
        await store.commit([CallWrite("call_a", 1, whole=True)])
        await store.close()
