"""Unmodified SDKs and frameworks: typed, spoken and tool turns, and both ways to interrupt.

Against a pod, and through an edge behind which one pod after the other is killed and drained while they talk: what they
see is the same. Each program in `programs` drives one of them through one scenario and prints what it saw by the
client's own callbacks. Whatever else a client prints is a complaint, and fails the test.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.clients.clerk import ANSWER, Clerk
from tests.clients.place import BYTES_PER_S, QUESTION, Place, placed, run
from tests.e2e.caller_of_tools import ARGUMENTS, SENTENCES, install
from tests.servers import RedisServer
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.clients, pytest.mark.timeout(4 * PATIENCE_S), pytest.mark.asyncio(loop_scope="module")]

CLIENTS = [
    "websockets_python.py",
    "ws_node.mjs",
    "k6_script.js",
    "openai_python.py",
    "openai_node.mjs",
    "agents_python.py",
    "agents_node.mjs",
    "livekit_plugin.py",
    "pipecat_service.py",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["pod", "edge"])
async def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shared_redis: RedisServer
) -> AsyncIterator[Place]:
    """One for all clients; the pods' default agent is the clerk, with the engines that are there most quickly."""
    directory = tmp_path_factory.mktemp("clients")
    install(directory, Clerk)
    settings = {"agent": Clerk.name, "agent_clerk_ear": "pocketsphinx", "agent_clerk_voice": "espeak"}
    async with placed(directory, shared_redis.url, settings, behind_edge=request.param == "edge") as found:
        yield found


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
