"""Colors that are a Service and a Deployment each: what the routers inside a Kubernetes cluster have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from voice_agent.operate.ports import RouterError, Routing
from voice_agent.operate.routers.kubernetes_api import KubernetesApi

PREFIX = "voice-agent-"
COLORS = ("blue", "green")


class ColorServices:
    """Names of Services and Deployments by color, and what can be asked of them."""

    def __init__(self, api: KubernetesApi, services: Mapping[str, str], deployments: Mapping[str, str]) -> None:
        """No `services`: ``voice-agent-blue`` and ``voice-agent-green``. Deployments are ``voice-agent-<color>``."""
        self._api = api
        self._services = dict(services) or {color: PREFIX + color for color in COLORS}
        self._deployments = {color: PREFIX + color for color in self._services} | dict(deployments)
        if len(set(self._services.values())) < max(2, len(self._services)):
            raise RouterError("two colors at least are needed, each with a Service of its own")
        self._colors = {service: color for color, service in self._services.items()}

    def of(self, color: str) -> str:
        """The Service of a color. Raises `RouterError`."""
        if color not in self._services:
            raise RouterError(f"{color} has no Service; there are Services for: {', '.join(sorted(self._services))}")
        return self._services[color]

    def color_of(self, service: str) -> str | None:
        """The color of a Service, None if it is no color's."""
        return self._colors.get(service)

    def named(self, routing: Routing) -> dict[str, int]:
        """The weights of a routing by Service. Raises `RouterError`."""
        return {self.of(color): weight for color, weight in sorted(routing.weights.items())}

    async def healthy(self, color: str) -> int:
        """Ready addresses of the color's Service."""
        return await self._api.ready_endpoints(self.of(color))

    async def retire(self, color: str, routing: Routing) -> Sequence[str]:
        """Scale the color's Deployment to zero. Raises `RouterError` while `routing`, what is set now, names it."""
        self.of(color)
        if color in routing.weights or routing.differing:
            raise RouterError(f"{color} may still get callers ({routing}); send all of them to another color first")
        done = await self._api.scale_to_zero(self._deployments[color])
        return [] if done is None else [done]
