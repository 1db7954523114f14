"""The generator against servers that really listen: the bare echo's own script, and servers that misbehave."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from loadtest.peers import venvs
from loadtest.peers.contenders import BASELINE, NO_OUTBOX, Contender, Ours, Peer, chosen
from loadtest.peers.dialects import DIFFERENT, MASK, dialect, masked, protobuf
from loadtest.peers.environment import NotStarted, Server, opened
from loadtest.peers.holding import Refused, silent_calls
from loadtest.peers.load import Load, find_most, percentile, run_load
from loadtest.peers.ports import free_port
from loadtest.peers.processor import cores, cpu_s, on_core, pss_kb
from tests.waiting import PATIENCE_S

SECONDS = 1.0


def contender(name: str) -> Contender:
    return next(one for one in chosen([name]) if one.name == name)


@pytest.fixture
def this_venv(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the bare echo with the packages of the tests, which have all it needs: nothing is installed."""
    monkeypatch.setattr("loadtest.peers.environment.python_of", lambda one: sys.executable)


@pytest.mark.parametrize(
    "name", [BASELINE, *(pytest.param(name, marks=pytest.mark.slow) for name in (NO_OUTBOX, "voice-agent"))]
)
async def test_every_frame_comes_back(name: str, this_venv: None) -> None:
    """The bare echo and this server, with a key asked for, give back what was sent, and their CPU is seen."""
    async with opened() as environment:
        server = await environment.start(contender(name))
        seen = await run_load(server, environment.store, 5, SECONDS)
    assert (seen.wrong, seen.missing, seen.lost) == (0, 0, 0)
    assert seen.us_per_frame > 1
    assert seen.pss_kb > 5_000
    assert (seen.store_us is not None) is isinstance(server.contender, Ours)


async def test_server_and_callers_have_a_core_each(this_venv: None) -> None:
    """Also when the generator is on its own already: else both would be measured fighting for one."""
    first, last = cores()
    with on_core(last):
        async with opened() as environment:
            server = await environment.start(contender(BASELINE))
            assert os.sched_getaffinity(server.process.pid) == {first}
            assert os.sched_getaffinity(0) == {last}
    assert len(os.sched_getaffinity(0)) > 1 or first == last


async def test_a_call_without_the_key_is_refused(this_venv: None) -> None:
    """The comparison is with the server as it is run: it asks for keys."""
    async with opened() as environment:
        server = await environment.start(contender(NO_OUTBOX))
        with pytest.raises(Refused, match="401"):
            async with silent_calls(server.url, {}, 1):
                pass
        async with silent_calls(server.url, server.headers, 25):
            pass


async def test_a_server_that_does_not_start_is_told_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is gone with the environment, so the error has to say it; no venv of a peer is needed for this."""
    monkeypatch.setattr("loadtest.peers.environment.python_of", lambda peer: Path(sys.executable))
    broken = Peer("broken", "broken", "no_such_file.py", "uvicorn", ())
    async with opened() as environment:
        with pytest.raises(NotStarted, match=r"broken ended with status \d+: .*no_such_file"):
            await environment.start(broken)


@dataclass
class Mischief:
    """What a server does to the second frame of each call."""

    kind: str

    def answer(self, number: int, frame: bytes) -> bytes:
        if number != 1:
            return frame
        return {"lose": b"", "repeat": frame * 2, "damage": frame[:-1] + b"!", "keep": frame}[self.kind]


@pytest.mark.parametrize(
    ("kind", "fault"), [("keep", ""), ("lose", "swapped"), ("repeat", "swapped"), ("damage", "1 d")]
)
async def test_the_generator_sees_what_a_server_gets_wrong(
    kind: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame that is lost, repeated or damaged makes the run unsound, and the fault is named."""
    # That the machine is busy is a fault, too, but not the one that is looked for here.
    monkeypatch.setattr("loadtest.peers.load.LAG_LIMIT_S", PATIENCE_S)
    monkeypatch.setattr("loadtest.peers.load.DRAIN_S", 0.1 if kind == "lose" else PATIENCE_S)
    size = len(dialect("raw").frames[0])
    mischief = Mischief(kind)
    hung_up = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        number = 0
        while True:
            try:
                frame = await reader.readexactly(size)
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            writer.write(mischief.answer(number, frame))
            number += 1
        writer.close()
        await writer.wait_closed()
        hung_up.set()

    port = free_port()
    async with await asyncio.start_server(serve, "127.0.0.1", port):
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stand_in:
            seen = await run_load(Server(contender("raw"), stand_in, port), None, 1, SECONDS)
            stand_in.kill()
        await asyncio.wait_for(hung_up.wait(), PATIENCE_S)
    assert fault in seen.fault
    assert bool(fault) is bool(seen.wrong)


def test_a_masked_frame_unmasks_to_what_was_sent() -> None:
    """RFC 6455: each byte by the key's, the key repeated."""
    payload = bytes(range(256)) * 3
    frame = masked(0x82, payload)
    assert frame[:4] == bytes((0x82, 0x80 | 126)) + len(payload).to_bytes(2)
    assert frame[4:8] == MASK
    assert bytes(byte ^ MASK[n % 4] for n, byte in enumerate(frame[8:])) == payload


def test_a_pipecat_frame_is_protobuf() -> None:
    """Frame.audio (2) with audio (3), sample_rate (4) = 24 000 and num_channels (5) = 1."""
    assert protobuf(b"ab") == b"\x12\x0a\x1a\x02ab\x20\xc0\xbb\x01\x28\x01"


@pytest.mark.parametrize("name", ["realtime", "pipecat", "raw"])
def test_all_frames_of_a_dialect_differ_and_are_of_one_length(name: str) -> None:
    """So that a frame in another's place is seen, and a mirror can count bytes."""
    spoken = dialect(name)
    assert len(set(spoken.frames)) == len(set(spoken.echoes)) == DIFFERENT
    assert len({len(frame) for frame in spoken.frames}) == 1


def load(calls: int, *, p99_s: float = 0.001, lag_s: float = 0.0, missing: int = 0) -> Load:
    return Load(calls, 1.0, 20.0, 0.5, None, p99_s, lag_s, wrong=0, missing=missing, lost=0, pss_kb=1)


@pytest.mark.parametrize(("limit", "guess"), [(1, 50), (37, 300), (300, 37), (300, 300), (990, 100)])
async def test_the_most_calls_are_found_within_4_percent(limit: int, guess: int) -> None:
    """From below and from above, in few runs."""
    runs = []

    async def run(calls: int) -> Load:
        runs.append(calls)
        return load(calls, p99_s=0.001 if calls <= limit else 0.5)

    found, stopped = await find_most(run, guess, 1000)
    assert limit * 0.95 - 1 <= found <= limit
    assert not stopped
    assert len(runs) < 40


async def test_one_hiccup_is_no_limit() -> None:
    """A run that was slow once is repeated."""
    seen: set[int] = set()

    async def run(calls: int) -> Load:
        first = calls not in seen
        seen.add(calls)
        return load(calls, p99_s=0.5 if first or calls > 100 else 0.001)

    assert (await find_most(run, 90, 1000))[0] >= 95


async def test_a_late_generator_is_not_the_servers_limit() -> None:
    """What stopped the search is told; and so is an end that was set."""

    async def late(calls: int) -> Load:
        return load(calls, lag_s=0.05 if calls > 200 else 0.0)

    async def never(calls: int) -> Load:
        return load(calls)

    assert "late" in (await find_most(late, 150, 1000))[1]
    assert await find_most(never, 150, 400) == (400, "no more than 400 calls were tried")


def test_a_run_with_a_missing_frame_is_not_quick() -> None:
    """However low its latency."""
    assert load(10).quick
    assert not load(10, missing=1).quick
    assert load(10, missing=1).fault == "1 not back in time with 10 calls"


def test_percentiles_take_the_nearest_rank() -> None:
    """Of a hundred values, the 99th percentile is passed by one at most."""
    assert percentile([float(n) for n in range(100)], 99) == 99.0
    assert percentile([3.0], 99) == 3.0
    assert percentile([], 99) == 0.0


def test_the_clock_of_another_process_counts_its_work() -> None:
    """It grows while the process works, finer than a tick of 10 ms, and its memory is seen."""
    code = "import time\nwhile time.process_time() < 0.2: pass\nprint(1, flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        assert 0.2 <= cpu_s(worker.pid) < 2
        assert cpu_s(worker.pid) % 0.01 != 0
        assert pss_kb(worker.pid) > 500
        worker.kill()
    with pytest.raises(OSError, match="argument"):
        cpu_s(worker.pid)


def test_a_peer_that_cannot_be_installed_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a package index the others can still be compared."""
    monkeypatch.setattr(venvs, "VENVS", tmp_path)
    monkeypatch.setattr(venvs, "HERE", tmp_path)
    (tmp_path / "requirements-uvicorn.txt").write_text("no-such-package-anywhere==1\n")
    monkeypatch.setenv("UV_OFFLINE", "1")
    with pytest.raises(venvs.NotInstalled, match="leave the peer out by --only"):
        venvs.ensure([contender(BASELINE)], lambda line: None)
