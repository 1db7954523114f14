"""Unmodified SDKs and frameworks talk to a pipeline: its model calls their tools, and tools of the server.

What they see is the same over an edge behind which one pod after the other is killed and drained.
"""

from __future__ import annotations

import wave
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.clients.place import BYTES_PER_S, QUESTION, Place, placed, run
from tests.doubles.serving import Served
from tests.doubles.tones import RATE_HZ, sound_of
from tests.e2e.caller_of_tools import ARGUMENTS
from tests.models.providers import providers, settings
from tests.servers import RedisServer
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.clients, pytest.mark.timeout(4 * PATIENCE_S), pytest.mark.asyncio(loop_scope="module")]

CLIENTS = ["agents_node.mjs", "agents_python.py", "livekit_plugin.py"]
SHOP = """\
from voice_agent import Pipeline, tool


@tool
async def stock(article: str) -> str:
    "How many of an article there are."
    return f"{len(article)} left"


class Shop(Pipeline):
    name = "pipeline"
    tools = [stock]
"""
SAID = "what is there to be seen"


@pytest.fixture(scope="module")
def doubles() -> Iterator[list[Served]]:
    with providers() as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["pod", "edge"])
async def place(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    shared_redis: RedisServer,
    doubles: list[Served],
) -> AsyncIterator[Place]:
    """One for all clients; the pods' default agent is a pipeline with a tool of its own."""
    directory = tmp_path_factory.mktemp("clients")
    file = directory / "shop.py"
    file.write_text(SHOP)
    known = {**settings(doubles), "agent": f"{file}:Shop"}
    async with placed(directory, shared_redis.url, known, behind_edge=request.param == "edge") as found:
        yield found


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_model_calls_the_tool_of_a_client(client: str, place: Place) -> None:
    """It is run where the client is, and the model says what it gave."""
    seen = await run(client, "tool", place)
    assert seen["tool_arguments"] == ARGUMENTS
    assert seen["said"].strip() == "The tool says: on its way."
    assert seen["audio_bytes"] > BYTES_PER_S


async def test_a_model_calls_a_tool_of_the_server(client: str, place: Place) -> None:
    """The client knows nothing of it, and hears what it gave."""
    seen = await run(client, "typed", place, question="Is this article in stock?")
    assert seen["said"].strip() == 'The tool says: "1 left".'
    assert seen["tool_arguments"] is None


async def test_what_is_said_is_understood_and_answered(client: str, place: Place, tmp_path: Path) -> None:
    """By an ear, a model and a voice that are reached over HTTP.

    What is said in tones is no speech to the model that `semantic_vad` asks, the default of these clients.
    """
    speech = tmp_path / "speech.wav"
    with wave.open(str(speech), "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes(sound_of(SAID))
    seen = await run(client, "spoken", place, speech=str(speech), turn_detection="server_vad")
    assert seen["heard"] == SAID
    assert seen["said"].strip() == f"You said: {SAID}"


async def test_what_is_typed_is_answered(client: str, place: Place) -> None:
    """Though the question names what a tool of another client takes."""
    seen = await run(client, "typed", place)
    assert seen["said"].strip() == f"You said: {QUESTION}"
