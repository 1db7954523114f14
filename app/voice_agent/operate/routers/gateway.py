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

from voice_agent.operate.ports import RouterError, Routing
from voice_agent.operate.routers.kubernetes_api import HTTP_ROUTE, Object
from voice_agent.operate.routers.split_object import SplitObjectRouter

COLOR_HEADER = "x-voice-color"
LOOK_S = 0.5


class GatewayRouter(SplitObjectRouter):
    """`Router` on an HTTPRoute."""

    KIND = "gateway"
    RESOURCE = HTTP_ROUTE
    SETTLED_S = 30.0

    def _weighted(self, found: Object) -> dict[str, dict[str, int]]:
        """By rule."""
        parts: dict[str, dict[str, int]] = {}
        for place, rule in enumerate(found["spec"].get("rules") or []):
            backends = rule.get("backendRefs") or []
            colors = [self._color_of(backend) for backend in backends]
            known = [color for color in colors if color is not None]
            if known and not (len(known) == 1 and _is_for_one_color(rule)):
                weights = [int(backend.get("weight", 1)) for backend in backends]
                parts[_rule(place)] = self._split(_rule(place), colors, weights)
        if not parts:
            raise RouterError(f"{self._object} has no rule that leads to the colors' Services; name them")
        return parts

    def _patch(self, found: Object, routing: Routing, parts: Sequence[str]) -> Object:
        rules = [
            {**rule, "backendRefs": self._backends(rule, routing)} if _rule(place) in parts else rule
            for place, rule in enumerate(found["spec"]["rules"])
        ]
        return {"spec": {"rules": rules}}

    def _color_of(self, backend: Mapping[str, Any]) -> str | None:
        elsewhere = backend.get("namespace", self._api.namespace) != self._api.namespace
        if elsewhere or backend.get("kind", "Service") != "Service" or backend.get("group", ""):
            return None
        return self._services.color_of(backend["name"])

    def _backends(self, rule: Mapping[str, Any], routing: Routing) -> list[dict[str, Any]]:
        there = {str(backend["name"]): backend for backend in rule["backendRefs"]}
        left = next(iter(there.values()))
        named = self._services.named(routing)
        return [{**there.get(name, left), "name": name, "weight": weight} for name, weight in named.items()]

    async def _settle(self, written: Object) -> None:
        route = written
        until_s = self._clock.monotonic_s() + self._settled_s
        while (missing := _not_taken(route)) is not None:
            if self._clock.monotonic_s() > until_s:
                raise RouterError(
                    f"{self._object} is written, but {missing}; look at its status and at the gateway's controller",
                    retryable=True,
                )
            await self._clock.sleep(LOOK_S)
            route = await self._api.get(self.RESOURCE, self._object_name)


def _rule(place: int) -> str:
    return f"rule {place + 1}"


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
