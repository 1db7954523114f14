"""A pipeline keeps what every agent promises: `conversing`."""

from __future__ import annotations

from tests.agents.pipeline.models import Models
from tests.doubles.provider import Provider
from voice_agent.testing.agent_contract import AgentContract
from voice_agent.testing.script import BargeIn, Type


def _models() -> Models:
    provider = Provider()
    provider.token_s = 0.02
    return Models(provider)


MODELS = _models()


class TestPipelineAgent(AgentContract):
    """Asked, interrupted, asked again."""

    agent = MODELS.agent
    script = (Type("count from 1 to 12 in sentences of 4"), BargeIn("hello", after_ms=700), "and again. Is it you")
    surroundings = MODELS.around(greeting="Good day. ", speculate=True)
    every = 29
