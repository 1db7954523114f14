"""The AWS Load Balancer Controller: forward actions in the annotations of an Ingress.

``alb.ingress.kubernetes.io/actions.voice-first``, ``…voice-resume`` and whatever other action
forwards to the colors' Services; one with a single Service takes part unless its conditions
ask for the header ``X-Voice-Color``. An action keeps everything but its target groups, its
stickiness too. All annotations are one object: a change is made as a whole or not at all.

The annotations are what the controller is told, not what the ALB does. What it did it says
in events alone: `write` waits for one that is no older than the change. (The API server
keeps the time at which the cutover's own fields were written last, so this also holds for
a write that a killed run made.)

Sources: AWS Load Balancer Controller, "Ingress annotations"; Kubernetes API, ObjectMeta
`managedFields`, Event of events.k8s.io/v1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from app.cutover.ports import RouterError, Routing
from app.cutover.routers.kubernetes_api import EVENT, INGRESS, MANAGER, KubernetesApi, Object
from app.cutover.routers.services import ColorServices
from app.cutover.routers.weights import in_words, percents, same_split
from app.runtime.clock import SystemClock
from app.runtime.ports import Clock

ACTIONS = "alb.ingress.kubernetes.io/actions."
CONDITIONS = "alb.ingress.kubernetes.io/conditions."
FIRST = "voice-first"
COLOR_HEADER = "x-voice-color"
SETTLED_S = 60.0
LOOK_S = 1.0
TO_THE_SECOND = len("2026-01-01T00:00:00")


class IngressRouter:
    """`Router` on an Ingress of the AWS Load Balancer Controller."""

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
        """`settled_s`: how long the controller may take to change the ALB."""
        self._api = api or KubernetesApi(namespace=namespace)
        self._services = ColorServices(self._api, services or {}, deployments or {})
        self._namespace, self._ingress = namespace, name
        self._clock = clock or SystemClock()
        self._settled_s = settled_s

    @property
    def name(self) -> str:
        """For people and for the journal."""
        return f"ingress {self._namespace}/{self._ingress}"

    async def read(self) -> Routing:
        """As `Router.read`."""
        actions = self._weighted(await self._api.get(INGRESS, self._ingress))
        found = {action: percents(weights) for action, weights in actions.items()}
        first = next(iter(found.values()))
        return Routing(first, tuple(action for action, split in found.items() if split != first))

    async def changes(self, routing: Routing) -> Sequence[str]:
        """A line for each action that is not as it should be."""
        self._services.named(routing)
        return [
            f"Ingress {self._namespace}/{self._ingress}, actions.{action}: "
            f"{in_words(weights)} -> {in_words(routing.weights)}"
            for action, weights in self._weighted(await self._api.get(INGRESS, self._ingress)).items()
            if not same_split(weights, routing.weights)
        ]

    async def write(self, routing: Routing) -> None:
        """Change all actions at once, and wait until the controller says that it changed the ALB."""
        self._services.named(routing)

        def change(ingress: Object) -> Object | None:
            annotations = {
                ACTIONS + action: orjson.dumps(self._forwarding(self._action(ingress, action), routing)).decode()
                for action, weights in self._weighted(ingress).items()
                if not same_split(weights, routing.weights)
            }
            return {"metadata": {"annotations": annotations}} if annotations else None

        await self._settle(await self._api.change(INGRESS, self._ingress, change))

    async def healthy_targets(self, color: str) -> int | None:
        """Ready addresses of the color's Service; with readiness gates that includes the ALB's own health check."""
        return await self._services.healthy(color)

    async def retire(self, color: str) -> Sequence[str]:
        """Scale the color's Deployment to zero; the controller deregisters its pods."""
        return await self._services.retire(color, await self.read())

    # --- actions ------------------------------------------------------------------------

    def _weighted(self, ingress: Object) -> dict[str, dict[str, int]]:
        """Weights by color of each action that takes part, that of first connects first. Raises `RouterError`."""
        found: dict[str, dict[str, int]] = {}
        annotations = ingress["metadata"].get("annotations") or {}
        names = [key.removeprefix(ACTIONS) for key in annotations if key.startswith(ACTIONS)]
        for action in sorted(names, key=lambda name: (name != FIRST, name)):
            groups = self._groups(self._action(ingress, action))
            colors = [self._services.color_of(group.get("serviceName", "")) for group in groups]
            known = [color for color in colors if color is not None]
            if not known or (len(known) == 1 and COLOR_HEADER in annotations.get(CONDITIONS + action, "").lower()):
                continue
            if len(known) < len(groups):
                raise RouterError(
                    f"{self._what(action)} also forwards to a group that is no color's; name the Services of all colors"
                )
            weights = {color: int(group.get("weight", 1)) for color, group in zip(known, groups, strict=True)}
            if sum(weights.values()) <= 0 or len(weights) < len(groups):
                raise RouterError(f"{self._what(action)} has weights that make no split: {in_words(weights)}")
            found[action] = weights
        if not found:
            raise RouterError(
                f"Ingress {self._namespace}/{self._ingress} has no action that forwards to the colors' Services; "
                f"name them, or add the annotations {ACTIONS}{FIRST} and so on"
            )
        return found

    def _action(self, ingress: Object, action: str) -> dict[str, Any]:
        try:
            found = orjson.loads(ingress["metadata"]["annotations"][ACTIONS + action])
        except orjson.JSONDecodeError as error:
            raise RouterError(f"{self._what(action)} is no JSON: {error}") from None
        if not isinstance(found, dict):
            raise RouterError(f"{self._what(action)} is no JSON object")
        return found

    @staticmethod
    def _groups(action: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        groups: Sequence[Mapping[str, Any]] = (action.get("forwardConfig") or {}).get("targetGroups") or []
        return groups

    def _forwarding(self, action: Mapping[str, Any], routing: Routing) -> dict[str, Any]:
        there = {str(group["serviceName"]): group for group in self._groups(action)}
        left = next(iter(there.values()))
        groups = [
            {**there.get(service, left), "serviceName": service, "weight": weight}
            for service, weight in self._services.named(routing).items()
        ]
        return {**action, "forwardConfig": {**action["forwardConfig"], "targetGroups": groups}}

    # --- the controller -----------------------------------------------------------------

    async def _settle(self, ingress: Object) -> None:
        written_at = _written_at(ingress)
        if written_at is None:
            return
        until_s = self._clock.monotonic_s() + self._settled_s
        while (missing := await self._not_taken(written_at)) is not None:
            if self._clock.monotonic_s() > until_s:
                raise RouterError(
                    f"Ingress {self._namespace}/{self._ingress} is written, but {missing}; look at its events and at "
                    "the log of the AWS Load Balancer Controller",
                    may_pass=True,
                )
            await self._clock.sleep(LOOK_S)

    async def _not_taken(self, written_at: str) -> str | None:
        """What the controller has to say against it; None once its last word since then is no warning."""
        about = {"regarding.kind": "Ingress", "regarding.name": self._ingress}
        events = sorted(await self._api.listed(EVENT, fields=about), key=_seen_at)
        if not events or _seen_at(events[-1])[:TO_THE_SECOND] < written_at[:TO_THE_SECOND]:
            return "the controller has not said since that it changed the ALB"
        last = events[-1]
        if last.get("type") == "Warning":
            return f"the controller says {last.get('reason')}: {' '.join(str(last.get('note', '')).split())}"
        return None

    def _what(self, action: str) -> str:
        return f"Ingress {self._namespace}/{self._ingress}, annotation {ACTIONS}{action},"


def _written_at(ingress: Object) -> str | None:
    """When the cutover last changed this Ingress, by the API server's clock; None: never."""
    fields = ingress["metadata"].get("managedFields") or []
    return max((entry["time"] for entry in fields if entry.get("manager") == MANAGER and "time" in entry), default=None)


def _seen_at(event: Object) -> str:
    """When an event was last reported; API servers and recorders of different age use different fields."""
    series = (event.get("series") or {}).get("lastObservedTime")
    known = (series, event.get("deprecatedLastTimestamp"), event.get("eventTime"))
    return str(max((time for time in known if time), default=""))
