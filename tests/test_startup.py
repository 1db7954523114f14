"""A server starts quickly because it imports little: what crept back in would not be noticed otherwise."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import httpx
import pytest

from tests.servers import free_port
from tests.waiting import PATIENCE_S
from voice_agent import cli

HEAVY = {
    "boto3",
    "ctranslate2",
    "faster_whisper",
    "httpx",
    "kubernetes",
    "matplotlib",
    "multiprocessing.pool",
    "numpy",
    "onnxruntime",
    "openai",
    "pocketsphinx",
    "soxr",
    "websockets.asyncio.client",
}
"""Not to be imported by a server before it answers: what hears and speaks, dials out or moves callers needs them."""
OF_SERVERS = (HEAVY - {"httpx", "websockets.asyncio.client"}) | {
    "fastapi",
    "prometheus_client",
    "redis",
    "uvicorn",
    "uvloop",
    "voice_agent.runtime.pod.pod",
}
"""Not to be imported by any command before it runs: those that call a pod dial out, and none needs more."""
MOST_CPU = 3.0
"""By the CPU time that importing the libraries alone takes in the same run: 1.5 to 1.9 where this was measured."""
LIBRARIES = "import fastapi, httpx, prometheus_client, pydantic_settings, redis.asyncio, structlog, uvicorn"

PROGRAM = """
import asyncio, json, sys
from voice_agent import bootstrap
from voice_agent.settings import Settings
import voice_agent.cli.serving, voice_agent.hosting
async def main():
    async with bootstrap.build(Settings(store_url="embedded://" + sys.argv[1])) as parts:
        from voice_agent.web.server import VoiceServer
        VoiceServer(parts.app, parts.pod, Settings()).config.load()
        print(json.dumps(sorted(sys.modules)))
asyncio.run(main())
"""


def test_a_server_imports_nothing_heavy_before_it_answers(tmp_path: Path) -> None:
    """Every part of it was made: store, agents, pod, routes, server."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "fastapi" in loaded
    assert not HEAVY & loaded
    assert not [name for name in loaded if name.startswith(("voice_agent.client", "voice_agent.operate"))]


def test_the_command_line_alone_imports_no_command() -> None:
    """`voice-agent --help` is quick: neither server, nor store, nor settings."""
    program = "import sys, voice_agent.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "fastapi", "redis", "httpx", "uvicorn", "structlog", "rich.console"} & set(loaded)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_list_of_commands_says_what_their_own_help_says(name: str) -> None:
    """The list is kept apart from the functions, so it could tell something else."""
    described = " ".join((cli.function(name).__doc__ or "").split())
    assert described.startswith(cli.COMMANDS[name][1])


def test_a_command_imports_nothing_heavy_before_it_runs() -> None:
    """A person waits for it: no engine, none of the server's frameworks, no store, no library of a router."""
    program = (
        "import json, sys; from voice_agent import cli; "
        "print(json.dumps([[name, cli.load(name) and sorted(sys.modules)] for name in cli.COMMANDS]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    for name, loaded in json.loads(done.stdout):
        assert not OF_SERVERS & set(loaded), name
    assert "httpx" in loaded


@pytest.mark.parametrize("told_not_to", ["", "1"])
def test_what_make_and_tests_start_keeps_what_it_compiled(told_not_to: str) -> None:
    """Images of Python tell it not to; then each of hundreds of processes would compile all that it imports."""
    script = "import sys; print(sys.dont_write_bytecode)"
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "False\n"
    begun = os.environ | {"PYTHONDONTWRITEBYTECODE": told_not_to}
    command = ["make", "--silent", "--eval", f"seen: ; @{sys.executable} -c '{script}'", "seen"]
    assert subprocess.check_output(command, cwd=Path(__file__).parents[1], env=begun, text=True) == "False\n"


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
async def test_a_server_is_healthy_after_little_cpu_time_and_takes_a_call_at_once(tmp_path: Path, workers: int) -> None:
    """From nothing on the embedded store; the first caller may be there before the speech engines are."""
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VOICE_")}
    store = f"embedded://{tmp_path}/store"
    libraries_s = cpu_of_child([sys.executable, "-c", LIBRARIES])
    began_s = time.monotonic()
    process = subprocess.Popen(
        [
            sys.executable,
            *"-m voice_agent serve".split(),
            "--port",
            str(port),
            "--store",
            store,
            "--workers",
            str(workers),
        ],
        env=kept,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        async with (
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http,
            asyncio.timeout(PATIENCE_S),
        ):
            while not await is_healthy(http):
                await asyncio.sleep(0.005)
        wall_s = time.monotonic() - began_s
        used_s = cpu_s(process.pid)
        print(f"\n{workers} worker(s): healthy after {wall_s:.2f} s, {used_s / libraries_s:.2f} × the libraries' CPU")
        assert used_s < MOST_CPU * libraries_s
        said = await asyncio.to_thread(first_words, port)
    finally:
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, PATIENCE_S) == 0
    assert said


def cpu_of_child(command: list[str]) -> float:
    """Seconds of CPU that a process takes, which is waited for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


async def is_healthy(http: httpx.AsyncClient) -> bool:
    """Whether it answers, and well."""
    try:
        return (await http.get("/healthz/realtime")).status_code == 200
    except httpx.TransportError:
        return False


def cpu_s(pid: int) -> float:
    """CPU time of a process and its children that serve."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0
    for one in (pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / ticks


def first_words(port: int) -> str:
    """Ask the front desk for its greeting, with speech, and hear it to the end."""
    from voice_agent.client.connection import RealtimeCall

    async def ask() -> str:
        async with RealtimeCall(f"ws://127.0.0.1:{port}/v1/realtime") as call:
            await call.send({"type": "response.create"})
            audio = 0
            async for event in call.events():
                audio += event["type"] == "response.output_audio.delta"
                if event["type"] == "response.done":
                    assert event["response"]["status"] == "completed"
                    assert audio
                    return str(event["response"]["output"][0]["content"][0]["transcript"])
        return ""

    return asyncio.run(ask())


def handles(pid: int, number: int) -> bool:
    """Whether a process catches a signal (proc(5), SigCgt)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def test_a_server_that_is_told_to_stop_while_it_starts_stops() -> None:
    """As the first process of a container it has no default for SIGTERM: one without a handler would be lost."""
    with subprocess.Popen(
        [sys.executable, "-m", "voice_agent", "serve", "--store", "memory://", "--port", str(free_port())],
        stdout=subprocess.DEVNULL,
    ) as server:
        try:
            while not handles(server.pid, signal.SIGTERM):
                assert server.poll() is None
            server.send_signal(signal.SIGTERM)
            assert server.wait(PATIENCE_S) == 0
        finally:
            server.kill()


def test_nothing_heavy_comes_before_the_first_handler() -> None:
    """What takes long to import is imported when a signal is caught already."""
    program = "import sys, voice_agent.__main__; print('typer' in sys.modules, 'voice_agent.cli' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert done.stdout.split() == ["False", "False"]


def test_the_installed_command_begins_where_signals_are_caught() -> None:
    """`voice-agent` as a package's tools make it; from `cli` on it would catch none until much is imported."""
    made = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    assert made["project"]["scripts"] == {"voice-agent": "voice_agent.__main__:main"}
