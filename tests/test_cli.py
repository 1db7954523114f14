"""The command line, against real server processes.

Tests of `cli.operating`, `cli.options`, `cli.replaying` and `cli.serving`, too.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import structlog
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.call.test_replaying import recording
from tests.forked import run
from tests.servers import free_port
from tests.waiting import PATIENCE_S, until
from voice_agent.cli import load
from voice_agent.cli.serving import welcome
from voice_agent.settings import Settings

pytestmark = pytest.mark.xdist_group("cli")  # one server for most of them
QUIET = {name: value for name, value in os.environ.items() if not name.startswith("VOICE_")}


def voice_agent(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return run(arguments, QUIET | variables)


def test_tools_log_to_where_standard_error_goes_at_that_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that was closed since the command was loaded is nobody's affair; standard output stays the command's."""
    closed, now = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", closed)
    load("fleet")
    closed.close()
    monkeypatch.setattr(sys, "stderr", now)
    structlog.get_logger().warning("the store says something odd")
    assert "the store says something odd" in now.getvalue()


class Served:
    """A `voice-agent serve` process."""

    def __init__(self, store: str, folder: Path, **variables: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.store = store
        self.logs = folder / f"{self.port}.log"
        with self.logs.open("w") as logs:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    *"-m voice_agent serve".split(),
                    "--port",
                    str(self.port),
                    "--store",
                    store,
                    "--pod",
                    "pod-a",
                ],
                env=QUIET | {"VOICE_SPEECH_WORKERS": "1"} | variables,
                stdout=subprocess.PIPE,
                stderr=logs,
                text=True,
            )
        self.welcome = self._read_welcome()

    def _read_welcome(self) -> str:
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line.startswith("Ctrl+C"):
                return "".join(lines)
        raise AssertionError(f"the server did not start: {self.logs.read_text()}")

    def health(self) -> dict[str, Any]:
        """What the pod says of itself."""
        answer: dict[str, Any] = httpx.get(self.url + "/healthz/realtime", trust_env=False).json()
        return answer

    async def until(self, status: str) -> None:
        """Wait until the pod says so."""
        await until(lambda: self.health()["status"] == status)

    def stop(self) -> int:
        """Make it leave, and its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A blue pod on an embedded store."""
    folder = tmp_path_factory.mktemp("served")
    one = Served(f"embedded://{folder}/store", folder)
    yield one
    one.stop()


def test_the_welcome_says_where_it_is_and_what_to_try(served: Served) -> None:
    """A newcomer can copy the next command from the screen."""
    assert f"blue pod pod-a takes calls at ws://127.0.0.1:{served.port}/v1/realtime" in served.welcome
    assert f"call --url ws://127.0.0.1:{served.port}/v1/realtime" in served.welcome
    assert f"curl http://127.0.0.1:{served.port}/healthz/realtime" in served.welcome
    assert served.health()["store"] == "embedded:ok"


def test_the_fleet_is_shown_by_a_pod_and_by_the_store(served: Served) -> None:
    """Both ways show the same pods and sums; people get a table, scripts JSON."""
    by_pod = json.loads(voice_agent("fleet", "--url", served.url, "--json").stdout)
    by_store = json.loads(voice_agent("fleet", "--store", served.store, "--json").stdout)
    assert [pod["name"] for pod in by_pod["pods"]] == ["pod-a"]
    assert by_pod["colors"] == by_store["colors"]
    assert by_pod["colors"]["blue"]["taking_calls"] == 1
    table = voice_agent("fleet", VOICE_PORT=str(served.port)).stdout
    assert "pod-a" in table
    assert "= 1 pod " in table
    assert "1 takes calls" in table


def test_what_is_odd_in_the_store_is_passed_over_and_told_beside_the_answer(served: Served) -> None:
    """Standard output stays JSON. A color is shown as it is written, whatever it would mean to the terminal."""
    path = served.store.removeprefix("embedded://") + "/valkey.sock"
    with redis.Redis(unix_socket_path=path) as client:
        known = client.hgetall("voice:pod:pod-a")
        client.hset("voice:pod:odd", mapping={"name": "odd", "color": "blue"})
        client.hset("voice:pod:full", mapping={**known, b"name": "full", b"color": "[/x]", b"store": "full"})
        client.zadd("voice:pods", {"odd": time.time() * 1000, "full": time.time() * 1000})
        found = voice_agent("fleet", "--store", served.store, "--json")
        table = voice_agent("fleet", "--store", served.store).stdout
        client.delete("voice:pod:odd", "voice:pod:full")
    assert {pod["name"]: pod["store"] for pod in json.loads(found.stdout)["pods"]} == {"full": "full", "pod-a": "ok"}
    assert found.stderr.count("voice:pod:odd") == 1
    assert re.search(r"\[/x\] +full +\S+ +ok +full ", table)


def test_a_fleet_without_pods_is_told_in_a_sentence(tmp_path: Path) -> None:
    """An empty table would leave a newcomer guessing; scripts get the same shape as ever."""
    store = f"embedded://{tmp_path}/store"
    assert voice_agent("fleet", "--store", store).stdout.startswith("no pods yet: start one with")
    assert json.loads(voice_agent("fleet", "--store", store, "--json").stdout) == {"pods": [], "colors": {}}


async def test_one_pod_is_drained_and_taken_back(served: Served) -> None:
    """`drain --wait` returns when no call is left; `--cancel` brings the pod back."""
    drained = json.loads(voice_agent("drain", "--url", served.url, "--mode", "finish", "--wait", "--json").stdout)
    assert (drained["mode"], drained["drained"]) == ("finish", True)
    await served.until("draining")
    cancelled = voice_agent("drain", "--cancel", VOICE_PORT=str(served.port))
    assert cancelled.stdout == f"{served.url} takes calls again.\n"
    await served.until("ok")


async def test_a_color_is_drained_through_the_store(served: Served) -> None:
    """Every pod of the color drains at its next heartbeat, and a cancel reaches it the same way."""
    done = voice_agent("drain", "--color", "blue", "--store", served.store, "--deadline", "5", "--wait", "--yes")
    expected = "nobody is expected to take over: there is no other pod; blue has no call.\n"
    assert (done.returncode, done.stdout) == (0, f"{expected}blue is drained.\n")
    await served.until("draining")
    cancelled = voice_agent("drain", "--color", "blue", "--store", served.store, "--cancel")
    assert (cancelled.returncode, cancelled.stdout) == (0, "blue takes calls again within 2 s.\n")
    await served.until("ok")


async def test_asking_a_color_to_drain_does_not_claim_that_it_does(served: Served) -> None:
    """Pods drain with their next heartbeat, so people and scripts are told who was asked."""
    asked = voice_agent("drain", "--color", "blue", "--store", served.store, "--deadline", "5", "--mode", "finish")
    last = asked.stdout.splitlines()[-1]
    assert last.startswith("asked 1 blue pod to drain: finish, at most 5 s; pods act within 2 s")
    await served.until("draining")
    told = json.loads(voice_agent("drain", "--color", "blue", "--store", served.store, "--json", "--yes").stdout)
    assert told["waits"] == "there is no other pod"
    assert (told["asked"], told["draining"], told["drained"]) == (["pod-a"], False, False)
    assert voice_agent("drain", "--color", "blue", "--store", served.store, "--cancel").returncode == 0
    await served.until("ok")


@pytest.mark.parametrize("more", [(), ("--wait",), ("--json",)])
async def test_a_color_nobody_takes_over_from_is_asked_about(served: Served, more: tuple[str, ...]) -> None:
    """A script is refused with exit status 2, and told by which option it would not be; nothing is asked of any pod."""
    refused = voice_agent("drain", "--color", "blue", "--store", served.store, *more)
    assert refused.returncode == 2
    why = "voice-agent: blue is not asked to drain, for there is no other pod: its calls would wait for the deadline."
    assert refused.stderr == f"{why} Give --yes to drain it all the same, or --mode finish\n"
    cancelled = voice_agent("drain", "--color", "blue", "--store", served.store, "--cancel")
    assert cancelled.stdout == "blue was not asked to drain.\n"


@pytest.mark.parametrize(("answer", "status", "requested"), [(b"n\n", 2, False), (b"\n", 2, False), (b"y\n", 0, True)])
async def test_a_person_is_asked_on_a_terminal(served: Served, answer: bytes, status: int, requested: bool) -> None:
    """No is the answer of whoever just presses Enter."""
    terminal, its_end = os.openpty()
    command = [sys.executable, "-m", "voice_agent", "drain", "--color", "blue", "--store", served.store]
    os.write(terminal, answer)
    done = subprocess.run(
        command, env=QUIET, stdin=its_end, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    os.close(terminal)
    os.close(its_end)
    assert done.returncode == status, done.stderr
    assert "Drain blue all the same? Its calls wait for the deadline, 600 s [y/N]" in done.stdout
    told = voice_agent("drain", "--color", "blue", "--store", served.store, "--cancel", "--json").stdout
    assert json.loads(told)["cancelled"] is requested
    await served.until("ok")


@pytest.mark.parametrize("more", [(), ("--wait",), ("--json", "--wait")])
def test_a_color_without_pods_is_not_drained(served: Served, more: tuple[str, ...]) -> None:
    """A misspelt color in a deploy script must not look like a finished drain."""
    done = voice_agent("drain", "--color", "purple", "--store", served.store, *more)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "voice-agent: there is no purple pod to drain; there is: blue (1 pod).\n"


async def test_a_pod_without_calls_is_drained_at_once(served: Served) -> None:
    """Without --wait, too, for nothing is left to wait for."""
    told = json.loads(voice_agent("drain", "--url", served.url, "--json").stdout)
    assert (told["draining"], told["drained"], told["active_calls"]) == (True, True, 0)
    assert voice_agent("drain", "--url", served.url, "--cancel").returncode == 0
    await served.until("ok")


async def test_a_signal_ends_calls_at_the_deadline_and_the_process_with_0(tmp_path: Path) -> None:
    """A real call is closed with 1012, health says draining until then, and nothing opens a call from the logs."""
    one = Served("memory://", tmp_path, VOICE_DRAIN_DEADLINE="2")
    key = "0123456789abcdef0123456789abcdef"
    try:
        url = f"ws://127.0.0.1:{one.port}/v1/realtime?model=echo&call_key={key}"
        async with connect(url, proxy=None) as caller:
            created = json.loads(await caller.recv())
            assert created["type"] == "session.created"
            one.process.send_signal(signal.SIGTERM)
            await one.until("draining")
            with pytest.raises(ConnectionClosed):
                while True:
                    await caller.recv()
            assert caller.close_code == 1012
        assert await asyncio.to_thread(one.process.wait, PATIENCE_S) == 0
    finally:
        one.stop()
    lines = [json.loads(line) for line in one.logs.read_text().splitlines()]
    assert {"connected", "drain started", "drained"} <= {line["event"] for line in lines}
    assert all(line["pod"] == "pod-a" and line["color"] == "blue" for line in lines)
    assert key not in one.logs.read_text()
    assert created["session"]["call"]["resume_token"] not in one.logs.read_text()


def test_a_wrong_setting_is_one_line_and_status_2() -> None:
    """No traceback for what a user can mend."""
    done = voice_agent("serve", VOICE_PORT="70000")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "voice-agent: VOICE_PORT: 70000 is too large; allowed: 1–65535.\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("serve", "--host", "0.0.0.0"), "VOICE_API_KEYS and VOICE_SECRET must be set"),
        (("serve", "--port", "70000"), "voice-agent: --port: 70000 is too large"),
        (("serve", "--store", "nosuch://"), "unknown store nosuch://"),
        (("serve", "--agent", "nobody", "--store", "memory://"), "there is no agent 'nobody'"),
        (("drain", "--url", "http://127.0.0.1:1", "--color", "blue"), "give one of them"),
    ],
)
def test_what_cannot_be_started_is_told_in_one_line(arguments: tuple[str, ...], words: str) -> None:
    """Each with status 2."""
    done = voice_agent(*arguments, VOICE_PORT=str(free_port()))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert words in done.stderr


def test_a_port_that_is_taken_is_told_with_what_to_do(served: Served) -> None:
    """The second pod of somebody who tries things out."""
    done = voice_agent("serve", "--port", str(served.port), "--store", "memory://")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"port {served.port}: Address already in use; try --port {served.port + 1}." in done.stderr


def test_the_welcome_of_a_pod_that_listens_everywhere_says_so() -> None:
    """Loopback is what works here; that others can connect must not be news."""
    everywhere = welcome(Settings(host="0.0.0.0", port=8123))
    assert "ws://127.0.0.1:8123/v1/realtime\nand at port 8123 of every address of this machine" in everywhere
    assert "every address" not in welcome(Settings(port=8123))


@pytest.mark.parametrize("arguments", [("drain", "--mode", "x"), ("call", "--format", "x")])
def test_a_word_that_is_no_choice_is_told_with_the_choices(arguments: tuple[str, ...]) -> None:
    """Without the words of a validation library."""
    done = voice_agent(*arguments)
    assert done.returncode == 2
    assert "'x' is none of: " in done.stderr
    assert "Value error" not in done.stderr


@pytest.mark.parametrize("arguments", [("fleet",), ("drain",), ("drain", "--cancel")])
def test_no_pod_there_is_one_line_and_status_1(arguments: tuple[str, ...]) -> None:
    """The address that did not answer is named."""
    port = free_port()
    done = voice_agent(*arguments, "--url", f"http://127.0.0.1:{port}")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"No pod answers at http://127.0.0.1:{port}" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("serve", "--agent", "echo"),
        ("serve", "--agent", "echo", "--workers", "2"),
        ("fleet",),
        ("drain", "--color", "blue"),
        ("cutover", "--to", "green", "--router", "haproxy", "--haproxy", "none.sock", "--no-smoke"),
    ],
    ids=" ".join,
)
def test_a_store_of_schema_1_is_one_line_for_each_command(redis_url: str, arguments: tuple[str, ...]) -> None:
    """It ends with exit status 1, a cutover as one that was refused, and nothing was changed there."""
    with redis.Redis.from_url(redis_url) as client:
        client.hset("call:{call_a}", "schema", "1")
        done = voice_agent(*arguments, "--store", redis_url, VOICE_PORT=str(free_port()), VOICE_SECRET="s" * 32)
        assert done.returncode == (2 if arguments[0] == "cutover" else 1)
        assert "the store is of schema 1, and this version reads schema 2" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
        assert client.keys("*") == [b"call:{call_a}"]


def test_an_unreachable_store_is_one_line_and_status_1() -> None:
    """Nor is a store that does not answer a reason for a traceback."""
    done = voice_agent("fleet", "--store", f"redis://127.0.0.1:{free_port()}")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "Traceback" not in done.stderr


def test_a_recording_is_replayed_and_what_differs_is_shown(tmp_path: Path) -> None:
    """Exit status 0 if nothing does, 1 if something does, 2 for a file that is none."""
    file = tmp_path / "call.inputs"
    file.write_bytes(recording())
    same = voice_agent("replay", str(file))
    assert (same.returncode, same.stdout.splitlines()[-1]) == (0, "every event is the same, byte for byte")
    told = json.loads(voice_agent("replay", str(file), "--json").stdout)
    assert (told["identical"], told["version"], told["differences"]) == (True, "0.9", [])
    file.write_bytes(recording().replace(b"buffer.cleared", b"buffer.emptied"))
    other = voice_agent("replay", str(file))
    assert other.returncode == 1
    assert "input 5, ClearAudio" in other.stdout
    assert "input_audio_buffer.emptied" in other.stdout
    for damaged in (tmp_path / "missing", Path(__file__)):
        done = voice_agent("replay", str(damaged))
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_all_recordings_of_a_folder_are_replayed(tmp_path: Path) -> None:
    """One line tells how many there were; the exit status is 1 if one of them differs, 2 where there is none."""
    none = voice_agent("replay", str(tmp_path))
    assert (none.returncode, none.stderr) == (2, f"voice-agent: there is no recording in {tmp_path}.\n")
    for name in ("call_a.1.x", "call_a.2.y"):
        (tmp_path / f"{name}.inputs").write_bytes(recording())
    (tmp_path / "call_b.1.z.inputs").touch()  # Its pod was killed before it wrote.
    same = voice_agent("replay", str(tmp_path))
    assert same.returncode == 0
    assert re.fullmatch(
        r"2 recordings of 1 calls, 14 inputs and \d+ events: every event is the same, byte for byte\n", same.stdout
    )
    (tmp_path / "call_a.2.y.inputs").write_bytes(recording().replace(b"buffer.cleared", b"buffer.emptied"))
    other = voice_agent("replay", str(tmp_path))
    assert other.returncode == 1
    assert "input_audio_buffer.emptied" in other.stdout
    assert other.stdout.endswith(": 1 differ\n")
    told = json.loads(voice_agent("replay", str(tmp_path), "--json").stdout)
    assert (told["recordings"], told["calls"], told["identical"], len(told["different"])) == (2, 1, False, 1)
    (tmp_path / "call_a.2.y.inputs").write_bytes(
        recording()[:9]
    )  # Its pod was killed in the middle of the first entry.
    cut = voice_agent("replay", str(tmp_path))
    assert cut.returncode == 2
    assert cut.stdout.startswith("1 recordings of 1 calls,")
    assert str(tmp_path / "call_a.2.y.inputs") in cut.stdout


@pytest.mark.parametrize("command", ["serve", "drain", "fleet", "call", "replay"])
def test_help_shows_an_example(command: str) -> None:
    """Each command can be learned from its own help."""
    done = voice_agent(command, "--help")
    assert done.returncode == 0
    assert f"voice-agent {command}" in done.stdout.split("Usage:")[1].split("Options:")[0].partition("\n")[2]


def test_the_version_is_printed() -> None:
    """For reports."""
    assert voice_agent("--version").stdout == "voice-agent 0.1.0\n"
