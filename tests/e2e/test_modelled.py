"""Each example of docs/models.md runs as it stands there: what is said is understood, answered, and heard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents.relay.upstream_agent import words
from tests.agents.relay.upstreams import COUNTING
from tests.doubles.provider import Provider
from tests.doubles.serving import Served, served
from tests.doubles.tones import sound_of, words_in
from tests.e2e.listener import listening
from tests.e2e.modelled import SERVED, environment, examples, with_doubles
from tests.e2e.pods import pods
from tests.e2e.test_pipeline import TYPED, asks, due
from tests.models.hearing import replies
from tests.models.providers import KEY

ADDRESSES = (
    "https://api.openai.com",
    "https://my-resource.openai.azure.com",
    "http://localhost:8000",
    "http://localhost:8001",
    "http://localhost:8002",
)
PIPELINES = {"openai", "azure", "local", "several.toml", "bakery.py"}


@pytest.fixture
def doubles() -> Iterator[dict[str, Served]]:
    """By the addresses that they stand for; only those in the cloud want a key."""
    with (
        served(Provider(key=KEY)) as cloud,
        served(Provider(key=KEY)) as azure,
        served(Provider(takes_prefix=True)) as own,
    ):
        yield dict(zip(ADDRESSES, (cloud, azure, own, own, own), strict=True))


def test_the_document_has_these_examples() -> None:
    """Each is run below."""
    assert examples().keys() == {*PIPELINES, "relay"}


@pytest.mark.parametrize("name", sorted(PIPELINES))
async def test_an_example_holds_a_conversation(name: str, doubles: dict[str, Served], tmp_path: Path) -> None:
    """A turn that is spoken, by the addresses, models and keys that the example has."""
    kind, text = examples()[name]
    urls = {address: double.url.removesuffix("/v1") for address, double in doubles.items()}
    text = with_doubles(text, urls, KEY)
    settings: dict[str, object] = {}
    agent = "pipeline"
    if kind == "sh":
        settings, [agent] = dict(environment(text)), SERVED.findall(text)
    elif kind == "toml":
        (tmp_path / name).write_text(text)
        settings["agent_pipeline_settings"] = tmp_path / name
    else:
        (tmp_path / name).write_text(text)
        agent = "bakery"
        openai = environment(with_doubles(examples()["openai"][1], urls, KEY))
        settings = {each.replace("pipeline", agent): value for each, value in openai.items()}
    async with pods("memory://") as its:
        its.settings = {**settings, "agent": agent if agent == "pipeline" else f"{tmp_path / name}:Bakery"}
        pod = await its.start()
        async with listening(pod.url, model=agent, session=TYPED) as caller:
            said = len(caller.statuses)
            await caller.until(lambda: "greeting" not in text or caller.statuses)
            said = len(caller.statuses)
            await caller.speak(sound_of(asks(3) if name != "bakery.py" else "is this article there"))
            await caller.replies(said + 1)
    reply = replies(caller)[-1]
    if name == "bakery.py":
        assert "seven left" in reply.text
        assert "seven" in words_in(reply.audio)
    else:
        assert reply.count(due(3)).is_exact, reply.words
    asked = {request.task for double in doubles.values() for request in double.provider.log.all}
    assert asked == {"chat", "hear", "speak"}


async def test_the_relay_holds_a_conversation() -> None:
    """Its upstream is another instance of the server, which takes no caller without the key."""
    async with pods("memory://") as its:
        upstream = await its.start("green", agent=COUNTING, api_keys=KEY)
        base = upstream.url.removesuffix("/v1/realtime")
        text = with_doubles(examples()["relay"][1], {"wss://api.openai.com": base}, KEY)
        [agent] = SERVED.findall(text)
        its.settings = {"agent": agent, **environment(text)}
        pod = await its.start()
        async with listening(pod.url, model=agent, session=TYPED) as caller:
            await caller.type("3 from 100")
            await caller.replies(1)
            await caller.speak(sound_of("so long as this"))
            await caller.replies(2)
    typed, spoken = replies(caller)
    assert typed.words == words(100, 3)
    assert [typed.status, spoken.status] == ["completed", "completed"]
    assert len(spoken.words) == 3, "an answer to what was said"
