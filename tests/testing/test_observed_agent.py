"""What an agent is given in a simulation."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from voice_agent.kit.agent import Agent, Kit
from voice_agent.kit.ear import Ear
from voice_agent.kit.voice import Voice
from voice_agent.testing.agent_probe import AgentProbe
from voice_agent.testing.observed_agent import ObservedAgent


class Desk(Agent):
    """Keeps what it is opened with."""

    name = "desk"
    kit: Kit

    class Settings(BaseModel):
        limit: int = 1

    async def open(self, kit: Kit) -> None:
        self.kit = kit


@pytest.mark.parametrize(("settings", "limit"), [({}, 1), ({"limit": "3"}, 3), (Desk.Settings(limit=4), 4)])
async def test_its_settings_are_what_it_declares(settings: object, limit: int) -> None:
    """Its defaults where nothing is set; what is given is checked as from a server."""
    desk = Desk()
    await ObservedAgent(desk, AgentProbe(None), Ear(), Voice()).open(Kit(settings=settings))
    assert desk.kit.settings == Desk.Settings(limit=limit)


async def test_a_wrong_setting_is_told() -> None:
    """As pydantic tells it."""
    with pytest.raises(ValidationError, match="limit"):
        await ObservedAgent(Desk(), AgentProbe(None), Ear(), Voice()).open(Kit(settings={"limit": "many"}))
