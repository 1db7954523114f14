"""The agent `pipeline`: an ear, a language model and a voice, by settings alone or with tools of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import BaseModel

from voice_agent.agents.pipeline.conversing import PipelineCall
from voice_agent.agents.pipeline.last_resort import LastResort
from voice_agent.agents.pipeline.replying import Models
from voice_agent.agents.pipeline.settings import PipelineSettings
from voice_agent.agents.tools.webhook import WebhookTool
from voice_agent.kit.agent import Agent, Kit
from voice_agent.kit.call import Call
from voice_agent.kit.tools import Tool
from voice_agent.providers.client import ProviderClient
from voice_agent.providers.failover import Failover


class Pipeline(Agent):
    """Asks a language model what to say.

    A subclass may bring tools and instructions::

    class Clerk(Pipeline):
        name = "clerk"
        instructions = "You take orders for a bakery."
        tools = [order_bread]
    """

    name = "pipeline"
    Settings: ClassVar[type[BaseModel] | None] = PipelineSettings
    """A subclass of it may be given instead."""
    instructions: str = ""
    """Before those of the settings and of the session."""
    tools: Sequence[Tool] = ()
    """What the model may have done on the server, beside the functions of the client."""

    def __init__(self) -> None:
        self._models: Models
        self._last_resort: LastResort

    def provider_client(self, kit: Kit) -> ProviderClient:
        """What asks the providers; a test may give another one."""
        return kit.shared(ProviderClient)

    async def open(self, kit: Kit) -> None:
        """See `Agent.open`."""
        settings = kit.settings
        if not isinstance(settings, PipelineSettings):
            settings = PipelineSettings.model_validate(dict(settings))
        hedge_s = None if settings.hedge_ms is None else settings.hedge_ms / 1000
        failover = Failover(self.provider_client(kit), settings.endpoints, hedge_s=hedge_s)
        webhooks = [WebhookTool(one, kit.http) for one in settings.tools]
        self._models = Models(settings, failover, _by_name([*self.tools, *webhooks]))
        call_back = settings.call_back_webhook
        self._last_resort = LastResort(settings, WebhookTool(call_back, kit.http) if call_back is not None else None)

    async def run(self, call: Call) -> None:
        """See `Agent.run`."""
        texts = (self.instructions, self._models.settings.instructions)
        instructions = "\n\n".join(text for text in texts if text.strip())
        await PipelineCall(call, self._models, self._last_resort, instructions).run()


def _by_name(tools: Sequence[Tool]) -> Mapping[str, Tool]:
    """Raises `ValueError` for two of one name."""
    found: dict[str, Tool] = {}
    for tool in tools:
        if tool.name in found:
            raise ValueError(f"There are two tools called {tool.name!r}.")
        found[tool.name] = tool
    return found
