"""Unmodified SDKs and frameworks against a pod: typed, spoken and tool turns, and both ways to interrupt.

Each program in `programs` drives one of them through one scenario and prints what it saw by the client's own callbacks.
Whatever else a client prints is a complaint, and fails the test.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.clients.clerk import ANSWER, STORY, Clerk
from tests.e2e.caller_of_tools import ARGUMENTS, SENTENCES, install
from tests.e2e.pods import SAMPLES, pods
from tests.tls import make_certificate, tls_proxies
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.clients, pytest.mark.timeout(4 * PATIENCE_S), pytest.mark.asyncio(loop_scope="module")]

PROGRAMS = Path(__file__).parent / "programs"
BINARIES = Path(sys.prefix) / "clients" / "bin"
"""Of the venv that `make test-clients` makes for them."""
CLIENTS = [
    "openai_python.py",
    "openai_node.mjs",
    "agents_python.py",
    "agents_node.mjs",
    "livekit_plugin.py",
    "pipecat_service.py",
]
QUESTION = "Where is my order?"
BYTES_PER_S = 48_000


@dataclass(frozen=True)
class Place:
    """Where the pod is, without TLS and with it."""

    url: str
    tls_url: str
    certificate: Path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    """One pod for all clients; its default agent is the clerk."""
    directory = tmp_path_factory.mktemp("clients")
    install(directory, Clerk)
    certificate, key = make_certificate(directory)
    async with pods("memory://") as its:
        its.packages.append(directory)
        pod = await its.start(agent=Clerk.name)
        async with tls_proxies(certificate, key, pod.port) as [proxy]:
            yield Place(f"ws://127.0.0.1:{pod.port}/v1", f"wss://127.0.0.1:{proxy.port}/v1", certificate)


async def run(client: str, scenario: str, place: Place) -> dict[str, Any]:
    """What a client saw of a scenario; fails on anything it complained of."""
    given = {
        "name": scenario,
        "url": place.tls_url if client == "openai_node.mjs" else place.url,
        "speech": str(SAMPLES / "caller-books.wav"),
        "question": QUESTION,
        "story": f"Tell me {STORY}.",
    }
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OPENAI_", "PYTHON"))}
    environment["OPENAI_AGENTS_DISABLE_TRACING"] = "1"
    environment["NODE_EXTRA_CA_CERTS"] = str(place.certificate)
    # What pipecat greets with is no complaint.
    environment["LOGURU_LEVEL"] = "WARNING"
    binary = BINARIES / ("node" if client.endswith(".mjs") else "python")
    command = [str(binary), str(PROGRAMS / client), json.dumps(given)]

    def talk() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=2 * PATIENCE_S, check=False
        )

    # In a thread, for the TLS proxy lives on this loop.
    done = await asyncio.to_thread(talk)
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
    assert (done.returncode, done.stderr, seen.get("errors")) == (0, "", []), f"{seen}\n{done.stderr}"
    return seen


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_typed_turn(client: str, place: Place) -> None:
    """What is typed is answered in speech."""
    seen = await run(client, "typed", place)
    assert seen["said"] == ANSWER + QUESTION
    assert seen["audio_bytes"] > BYTES_PER_S


async def test_a_spoken_turn(client: str, place: Place) -> None:
    """What is said is understood, and answered in speech."""
    seen = await run(client, "spoken", place)
    assert "appointment next tuesday" in seen["heard"]
    assert seen["said"] == ANSWER + seen["heard"]
    assert seen["audio_bytes"] > BYTES_PER_S


async def test_a_tool_turn(client: str, place: Place) -> None:
    """The client's tool is called, and what it gave is answered."""
    seen = await run(client, "tool", place)
    assert seen["tool_arguments"] == ARGUMENTS
    assert "The tool says:" in seen["said"]
    assert "on its way" in seen["said"]


async def test_a_caller_who_speaks_into_a_reply(client: str, place: Place) -> None:
    """Speech stops a reply that would last a minute, and is answered."""
    seen = await run(client, "barge_in", place)
    assert seen["audio_bytes"] < SENTENCES / 2 * BYTES_PER_S
    assert "appointment next tuesday" in seen["heard"]
    assert seen["after"] == ANSWER + seen["heard"]


async def test_an_interruption_by_the_client(client: str, place: Place) -> None:
    """The client's own way to interrupt stops the reply, and the next turn is answered."""
    seen = await run(client, "interruption", place)
    assert seen["audio_bytes"] < SENTENCES / 2 * BYTES_PER_S
    assert seen["after"] == ANSWER + (seen["heard"] or QUESTION)
