"""The embedded store: a server that comes and goes with its processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

import pytest

from app.call.changes import CallWrite
from app.errors import SettingsError, StoreUnavailable
from app.stores import embedded
from app.stores.base import WriteOutcome
from app.stores.embedded import EmbeddedStore, Health
from tests.waiting import PATIENCE_S

POD = """
import asyncio, sys
from app.call.changes import CallWrite
from app.stores import child
from app.stores.embedded import EmbeddedStore
async def main():
    child.HAS_DEATH_SIGNAL = child.HAS_DEATH_SIGNAL and "watchdog" not in sys.argv
    store = EmbeddedStore("embedded://" + sys.argv[1], ttl_s=100)
    await store.open()
    await store.commit([CallWrite("call_a", 1, fields={"said": b"by the other"}, whole=True)])
    print("ready", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")


def start_pod(directory: Path, *options: str) -> subprocess.Popen[str]:
    """Another process that opens the store, writes a call and stays."""
    pod = subprocess.Popen([sys.executable, "-c", POD, str(directory), *options], stdout=subprocess.PIPE, text=True)
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


def is_running(pid: int) -> bool:
    """Whether a process is there and not merely waiting to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@LINUX
@pytest.mark.parametrize("how", ["death signal", "watchdog"])
async def test_the_server_dies_with_its_starter_and_loses_nothing(tmp_path: Path, how: str) -> None:
    """kill -9 of the starter ends the server; the other process starts it again with everything in it."""
    pod = start_pod(tmp_path, how)
    store = EmbeddedStore(f"embedded://{tmp_path}", ttl_s=100)
    await store.open()
    before = (await store._redis.info("server"))["process_id"]
    os.kill(pod.pid, signal.SIGKILL)
    pod.wait()
    async with asyncio.timeout(PATIENCE_S):
        while is_running(before):
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


def servers_of(directory: Path) -> list[int]:
    """The process ids of all servers that listen in a directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{directory}/valkey.sock".encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return [pid for pid in found if is_running(pid)]


@LINUX
async def test_a_server_that_hangs_is_not_replaced(tmp_path: Path) -> None:
    """Two servers on one file would ruin it: a silent one is an outage until it answers again."""
    starter, other, late = (EmbeddedStore(f"embedded://{tmp_path}", ttl_s=100) for _ in range(3))
    await starter.open()
    await other.open()
    assert starter._server is not None
    os.kill(starter._server.pid, signal.SIGSTOP)
    with pytest.raises(StoreUnavailable):
        await other.commit([CallWrite("call_a", 1, whole=True)])
    with pytest.raises(StoreUnavailable, match="running but does not answer"):
        await late.open()
    assert len(servers_of(tmp_path)) == 1
    os.kill(starter._server.pid, signal.SIGCONT)
    assert await other.commit([CallWrite("call_a", 1, whole=True)]) == [WriteOutcome.COMMITTED]
    for store in (late, other, starter):
        await store.close()
    assert servers_of(tmp_path) == []


@LINUX
async def test_a_start_that_is_given_up_leaves_no_server_behind(tmp_path: Path) -> None:
    """Whoever waits may stop waiting at any moment; there is one server, and it ends with its starter."""
    store = EmbeddedStore(f"embedded://{tmp_path}", ttl_s=100)
    for delay_s in (0, 0.001, 0.01, 0.03):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(store.open(), delay_s)
    other = EmbeddedStore(f"embedded://{tmp_path}", ttl_s=100)
    await other.open()
    assert len(servers_of(tmp_path)) == 1
    await other.close()
    await store.close()
    assert servers_of(tmp_path) == []


async def test_a_server_that_still_loads_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long its file is: it is not taken for dead."""
    store = EmbeddedStore(f"embedded://{tmp_path}", ttl_s=100)
    await store.open()
    await store.commit([CallWrite(f"call_{n}", 1, whole=True) for n in range(2000)])
    await store.close()
    # Microseconds between two commands of the file; the server looks up from it every 1 024 of them.
    slow = [*store._command(), "--key-load-delay", "200"]
    monkeypatch.setattr(store, "_command", lambda: slow)
    monkeypatch.setattr(embedded, "READY_S", 0.7)
    seen = []
    ask = store._health

    async def note() -> Health:
        seen.append(await ask())
        return seen[-1]

    monkeypatch.setattr(store, "_health", note)
    await store.open()
    assert Health.LOADING in seen
    assert await store.load("call_1999") is not None
    await store.close()


async def test_a_stopped_server_is_started_again_by_the_next_question(tmp_path: Path) -> None:
    """A process that attached goes on when the starter closes its store in good order."""
    starter, other = (EmbeddedStore(f"embedded://{tmp_path}", ttl_s=100) for _ in range(2))
    await starter.open()
    await other.open()
    await starter.commit([CallWrite("call_a", 1, whole=True)])
    await starter.close()
    questions = await asyncio.gather(*(other.load("call_a") for _ in range(8)))
    assert all(held is not None for held in questions)
    assert other._server is not None
    await other.close()
    await other.close()


@pytest.mark.parametrize("name", ["a b", "100%41", "what?", "#1", "@home"])
async def test_a_directory_may_have_any_name(tmp_path: Path, name: str) -> None:
    """Percent-encoded in the URL as in every URL."""
    store = EmbeddedStore(f"embedded://{tmp_path}/{quote(name)}", ttl_s=100)
    await store.open()
    assert (tmp_path / name / "appendonlydir").exists()
    await store.close()


async def test_a_directory_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    """One line that names the setting."""
    (tmp_path / "file").touch()
    store = EmbeddedStore(f"embedded://{tmp_path}/file", ttl_s=100)
    with pytest.raises(SettingsError, match="^VOICE_STORE_URL: cannot use [^\n]+$"):
        await store.open()
    await store.close()


async def test_a_socket_in_somebody_elses_hands_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a long name moves the socket to a place open to all, its directory has to be ours alone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = EmbeddedStore(f"embedded://{tmp_path}/{'d' * 120}", ttl_s=100)
    store._socket.parent.mkdir(mode=0o777)
    store._socket.parent.chmod(0o777)
    with pytest.raises(SettingsError, match="belongs to somebody else"):
        await store.open()
    await store.close()
