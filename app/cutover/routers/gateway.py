"""The Gateway API: the weights of an HTTPRoute's backends.

A rule takes part if its backends are Services of colors: of two, or of one without a match
on the header ``X-Voice-Color`` (such a rule leads smoke calls to their color at any weight).
Session persistence outranks weights as an ALB's stickiness does, so a color that gets nobody
at all is taken out of its rule; when it comes back, it gets the port and filters of the one
that stayed. All rules are one object: a change is made as a whole or not at all.

Sources: Gateway API, HTTPRouteRule, BackendRef (weight: default 1, 0 means no requests),
RouteParentStatus (conditions `Accepted` and `ResolvedRefs`, with `observedGeneration`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.cutover.ports import RouterError, Routing
from app.cutover.routers.kubernetes_api import HTTP_ROUTE, KubernetesApi, Object
from app.cutover.routers.services import ColorServices
from app.cutover.routers.weights import in_words, percents, same_split
from app.runtime.clock import SystemClock
from app.runtime.ports import Clock

COLOR_HEADER = "x-voice-color"
SETTLED_S = 30.0
LOOK_S = 0.5


class GatewayRouter:
    """`Router` on an HTTPRoute."""

    def __init__(
        self,
        *,
        namespace: str,
        name: str = "voice-agent",
        services: Mapping[str, str] | None = None,
        deployments: Mapping[str, str] | None = None,
        api: KubernetesApi | None = None,
        clock: Clock | None = None,
        settled_s: float = SETTLED_S,
    ) -> None:
        """`settled_s`: how long the gateway may take to take over a change."""
        self._api = api or KubernetesApi(namespace=namespace)
        self._services = ColorServices(self._api, services or {}, deployments or {})
        self._namespace, self._route = namespace, name
        self._clock = clock or SystemClock()
        self._settled_s = settled_s

    @property
    def name(self) -> str:
        """For people and for the journal."""
        return f"gateway {self._namespace}/{self._route}"

    async def read(self) -> Routing:
        """As `Router.read`."""
        rules = self._weighted(await self._api.get(HTTP_ROUTE, self._route))
        found = {place: percents(weights) for place, weights in rules.items()}
        first = next(iter(found.values()))
        return Routing(first, tuple(f"rule {place + 1}" for place, split in found.items() if split != first))

    async def changes(self, routing: Routing) -> Sequence[str]:
        """A line for each rule whose backends are not as they should be."""
        self._services.named(routing)
        return [
            f"HTTPRoute {self._namespace}/{self._route}, rule {place + 1}, backendRefs: "
            f"{in_words(weights)} -> {in_words(routing.weights)}"
            for place, weights in self._weighted(await self._api.get(HTTP_ROUTE, self._route)).items()
            if not same_split(weights, routing.weights)
        ]

    async def write(self, routing: Routing) -> None:
        """Change all rules at once, and wait until every gateway of the route says that it took this version."""
        self._services.named(routing)

        def change(route: Object) -> Object | None:
            weighted = self._weighted(route)
            if all(same_split(weights, routing.weights) for weights in weighted.values()):
                return None
            rules = [
                {**rule, "backendRefs": self._backends(rule, routing)} if place in weighted else rule
                for place, rule in enumerate(route["spec"]["rules"])
            ]
            return {"spec": {"rules": rules}}

        await self._settle(await self._api.change(HTTP_ROUTE, self._route, change))

    async def healthy_targets(self, color: str) -> int | None:
        """Ready addresses of the color's Service: the pods' own readiness is what gateways go by."""
        return await self._services.healthy(color)

    async def retire(self, color: str) -> Sequence[str]:
        """Scale the color's Deployment to zero; it stays, so that it can be scaled up again."""
        return await self._services.retire(color, await self.read())

    def _weighted(self, route: Object) -> dict[int, dict[str, int]]:
        """Weights by color of each rule that takes part. Raises `RouterError`."""
        found: dict[int, dict[str, int]] = {}
        for place, rule in enumerate(route["spec"].get("rules") or []):
            backends = rule.get("backendRefs") or []
            colors = [self._color_of(backend) for backend in backends]
            known = [color for color in colors if color is not None]
            if not known or (len(known) == 1 and _is_for_one_color(rule)):
                continue
            if len(known) < len(colors):
                raise RouterError(
                    f"{self._what(place)} also leads to a Service that is no color's; name the Services of all colors"
                )
            weights = {color: int(backend.get("weight", 1)) for color, backend in zip(known, backends, strict=True)}
            if sum(weights.values()) <= 0 or len(weights) < len(backends):
                raise RouterError(f"{self._what(place)} has backends that make no split: {in_words(weights)}")
            found[place] = weights
        if not found:
            raise RouterError(
                f"HTTPRoute {self._namespace}/{self._route} has no rule that leads to the colors' Services; name them"
            )
        return found

    def _color_of(self, backend: Mapping[str, Any]) -> str | None:
        elsewhere = backend.get("namespace", self._namespace) != self._namespace
        if elsewhere or backend.get("kind", "Service") != "Service" or backend.get("group", ""):
            return None
        return self._services.color_of(backend["name"])

    def _backends(self, rule: Mapping[str, Any], routing: Routing) -> list[dict[str, Any]]:
        there = {str(backend["name"]): backend for backend in rule["backendRefs"]}
        left = next(iter(there.values()))
        named = self._services.named(routing)
        return [{**there.get(name, left), "name": name, "weight": weight} for name, weight in named.items()]

    async def _settle(self, route: Object) -> None:
        until_s = self._clock.monotonic_s() + self._settled_s
        while (missing := _not_taken(route)) is not None:
            if self._clock.monotonic_s() > until_s:
                raise RouterError(
                    f"HTTPRoute {self._namespace}/{self._route} is written, but {missing}; look at its status and "
                    "at the gateway's controller",
                    may_pass=True,
                )
            await self._clock.sleep(LOOK_S)
            route = await self._api.get(HTTP_ROUTE, self._route)

    def _what(self, place: int) -> str:
        return f"HTTPRoute {self._namespace}/{self._route}, rule {place + 1},"


def _is_for_one_color(rule: Mapping[str, Any]) -> bool:
    headers = [header for match in rule.get("matches") or [] for header in match.get("headers") or []]
    return any(str(header["name"]).lower() == COLOR_HEADER for header in headers)


def _not_taken(route: Object) -> str | None:
    """Which gateway has not taken this version of the route, and why, as far as it says; None if all have."""
    generation = route["metadata"].get("generation", 0)
    parents = (route.get("status") or {}).get("parents") or []
    if not parents:
        return "no gateway says that it took it"
    for parent in parents:
        gateway = parent["parentRef"]["name"]
        conditions = {condition["type"]: condition for condition in parent.get("conditions") or []}
        for kind in ("Accepted", "ResolvedRefs"):
            condition = conditions.get(kind)
            if condition is None or condition.get("observedGeneration", generation) < generation:
                return f"gateway {gateway} has not looked at it yet"
            if condition.get("status") != "True":
                return f"gateway {gateway} does not take it: {condition.get('message') or condition.get('reason')}"
    return None
