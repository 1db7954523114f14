"""A router whose splits are parts of one Kubernetes object: what the Gateway API and Ingress annotations share.

All parts are changed by one patch, as a whole or not at all; a controller then carries it out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from voice_agent.operate.ports import RouterError, Routing
from voice_agent.operate.routers.kubernetes_api import KubernetesApi, Object, Resource
from voice_agent.operate.routers.services import ColorServices
from voice_agent.operate.routers.weights import in_words, percents, same_split
from voice_agent.runtime.clock import SystemClock
from voice_agent.runtime.ports import Clock


class SplitObjectRouter(ABC):
    """`Router` on the parts of one object whose backends are Services of colors."""

    KIND: ClassVar[str]
    """First word of its name."""
    RESOURCE: ClassVar[Resource]
    SETTLED_S: ClassVar[float]
    """How long its controller may take to carry out a change."""

    def __init__(
        self,
        *,
        namespace: str,
        name: str = "voice-agent",
        services: Mapping[str, str] | None = None,
        deployments: Mapping[str, str] | None = None,
        api: KubernetesApi | None = None,
        clock: Clock | None = None,
        settled_s: float | None = None,
    ) -> None:
        """`settled_s` instead of `SETTLED_S`."""
        self._api = api or KubernetesApi(namespace=namespace)
        self._services = ColorServices(self._api, services or {}, deployments or {})
        self._object_name = name
        self._object = f"{self.RESOURCE.kind} {namespace}/{name}"
        self._name = f"{self.KIND} {namespace}/{name}"
        self._clock = clock or SystemClock()
        self._settled_s = self.SETTLED_S if settled_s is None else settled_s

    @property
    def name(self) -> str:
        """For people and for the journal."""
        return self._name

    async def read(self) -> Routing:
        """As `Router.read`."""
        parts = self._weighted(await self._api.get(self.RESOURCE, self._object_name))
        found = {part: percents(weights) for part, weights in parts.items()}
        first = next(iter(found.values()))
        return Routing(first, tuple(part for part, split in found.items() if split != first))

    async def changes(self, routing: Routing) -> Sequence[str]:
        """A line for each part that is not as it should be."""
        self._services.named(routing)
        return [
            f"{self._object}, {part}: {in_words(weights)} -> {in_words(routing.weights)}"
            for part, weights in self._weighted(await self._api.get(self.RESOURCE, self._object_name)).items()
            if not same_split(weights, routing.weights)
        ]

    async def write(self, routing: Routing) -> None:
        """Change all parts at once, and wait until the controller says that it has carried that out."""
        self._services.named(routing)

        def change(found: Object) -> Object | None:
            wrong = [
                part for part, weights in self._weighted(found).items() if not same_split(weights, routing.weights)
            ]
            return self._patch(found, routing, wrong) if wrong else None

        await self._settle(await self._api.change(self.RESOURCE, self._object_name, change))

    async def healthy_targets(self, color: str) -> int | None:
        """Ready addresses of the color's Service: what gateways go by, and with readiness gates an ALB, too."""
        return await self._services.healthy(color)

    async def retire(self, color: str) -> Sequence[str]:
        """Scale the color's Deployment to zero; it stays, so that it can be scaled up again."""
        return await self._services.retire(color, await self.read())

    def _split(self, part: str, colors: Sequence[str | None], weights: Sequence[int]) -> dict[str, int]:
        """The weights of a part by color. Raises `RouterError` for a part that also leads elsewhere, or is no split."""
        found = {color: weight for color, weight in zip(colors, weights, strict=True) if color is not None}
        if None in colors:
            raise RouterError(
                f"{self._object}, {part}, also leads to a Service that is no color's; name the Services of all colors"
            )
        if sum(found.values()) <= 0 or len(found) < len(colors):
            raise RouterError(f"{self._object}, {part}, has weights that make no split: {in_words(found)}")
        return found

    @abstractmethod
    def _weighted(self, found: Object) -> dict[str, dict[str, int]]:
        """Weights by color of each part that takes part, that of first connects first. Raises `RouterError`."""

    @abstractmethod
    def _patch(self, found: Object, routing: Routing, parts: Sequence[str]) -> Object:
        """The merge patch that gives these parts this routing."""

    @abstractmethod
    async def _settle(self, written: Object) -> None:
        """Wait until what is written is carried out. Raises `RouterError` when that takes too long."""
