"""Pipelines whose models are doubles in the same process: no sockets, whichever event loop there is."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import Any

import httpx

from tests.doubles.in_process import InProcess
from tests.doubles.provider import Provider
from voice_agent.agents.pipeline import Pipeline
from voice_agent.kit.agent import Kit
from voice_agent.providers.client import ProviderClient
from voice_agent.testing.simulate import Surroundings


class Models:
    """Providers in the order in which a pipeline asks them, and the pipelines that do."""

    def __init__(self, *providers: Provider, agent: type[Pipeline] = Pipeline) -> None:
        self.providers = providers or (Provider(),)
        hosts = {f"model{n}": provider for n, provider in enumerate(self.providers)}

        class Served(agent):  # type: ignore[misc, valid-type]  # any class of pipeline
            def provider_client(self, kit: Kit) -> ProviderClient:
                # They run in a context of their own: no pod's death ends them, and what they do is no agent's doing.
                http = httpx.AsyncClient(transport=InProcess(hosts, Context()))
                return ProviderClient(http, now_s=asyncio.get_running_loop().time)

        self.agent: type[Pipeline] = Served

    def around(self, **settings: Any) -> Surroundings:
        """The settings of a pipeline that asks them."""
        addresses = ",".join(f"http://model{n}/v1" for n in range(len(self.providers)))
        plain = {"model": addresses, "model_name": "counting", "instructions": "", "speculate": False}
        return Surroundings(settings={**plain, **settings})

    @property
    def open_requests(self) -> int:
        """How many answers are under way."""
        return sum(request.ended_at is None for provider in self.providers for request in provider.log.all)

    def asked(self, nth: int = 0) -> list[dict[str, Any]]:
        """What one of the providers was asked."""
        return [request.asked for request in self.providers[nth].log.of("chat")]

    def clear(self) -> None:
        """Forget what was asked."""
        for provider in self.providers:
            provider.log.clear()
