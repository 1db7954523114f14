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

from voice_agent.operate.ports import RouterError, Routing
from voice_agent.operate.routers.kubernetes_api import EVENT, INGRESS, MANAGER, Object
from voice_agent.operate.routers.split_object import SplitObjectRouter

PREFIX = "alb.ingress.kubernetes.io/"
ACTIONS = "actions."
CONDITIONS = "conditions."
FIRST = "voice-first"
COLOR_HEADER = "x-voice-color"
LOOK_S = 1.0
TO_THE_SECOND = len("2026-01-01T00:00:00")


class IngressRouter(SplitObjectRouter):
    """`Router` on an Ingress of the AWS Load Balancer Controller."""

    KIND = "ingress"
    RESOURCE = INGRESS
    SETTLED_S = 60.0

    # --- actions ------------------------------------------------------------------------

    def _weighted(self, found: Object) -> dict[str, dict[str, int]]:
        """By annotation."""
        parts: dict[str, dict[str, int]] = {}
        annotations = found["metadata"].get("annotations") or {}
        names = [key.removeprefix(PREFIX) for key in annotations if key.startswith(PREFIX + ACTIONS)]
        for part in sorted(names, key=lambda name: (name != ACTIONS + FIRST, name)):
            groups = self._groups(self._action(found, part))
            colors = [self._services.color_of(group.get("serviceName", "")) for group in groups]
            known = [color for color in colors if color is not None]
            conditions = annotations.get(PREFIX + CONDITIONS + part.removeprefix(ACTIONS), "")
            if known and not (len(known) == 1 and COLOR_HEADER in conditions.lower()):
                parts[part] = self._split(part, colors, [int(group.get("weight", 1)) for group in groups])
        if not parts:
            raise RouterError(
                f"{self._object} has no action that forwards to the colors' Services; "
                f"name them, or add the annotations {PREFIX}{ACTIONS}{FIRST} and so on"
            )
        return parts

    def _patch(self, found: Object, routing: Routing, parts: Sequence[str]) -> Object:
        annotations = {
            PREFIX + part: orjson.dumps(self._forwarding(self._action(found, part), routing)).decode() for part in parts
        }
        return {"metadata": {"annotations": annotations}}

    def _action(self, ingress: Object, part: str) -> dict[str, Any]:
        try:
            found = orjson.loads(ingress["metadata"]["annotations"][PREFIX + part])
        except orjson.JSONDecodeError as error:
            raise RouterError(f"{self._object}, {part}, is no JSON: {error}") from None
        if not isinstance(found, dict):
            raise RouterError(f"{self._object}, {part}, is no JSON object")
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

    async def _settle(self, written: Object) -> None:
        written_at = _written_at(written)
        if written_at is None:
            return
        until_s = self._clock.monotonic_s() + self._settled_s
        while (missing := await self._not_taken(written_at)) is not None:
            if self._clock.monotonic_s() > until_s:
                raise RouterError(
                    f"{self._object} is written, but {missing}; look at its events and at "
                    "the log of the AWS Load Balancer Controller",
                    retryable=True,
                )
            await self._clock.sleep(LOOK_S)

    async def _not_taken(self, written_at: str) -> str | None:
        """What the controller has to say against it; None once its last word since then is no warning."""
        about = {"regarding.kind": "Ingress", "regarding.name": self._object_name}
        events = sorted(await self._api.listed(EVENT, fields=about), key=_seen_at)
        if not events or _seen_at(events[-1])[:TO_THE_SECOND] < written_at[:TO_THE_SECOND]:
            return "the controller has not said since that it changed the ALB"
        last = events[-1]
        if last.get("type") == "Warning":
            return f"the controller says {last.get('reason')}: {' '.join(str(last.get('note', '')).split())}"
        return None


def _written_at(ingress: Object) -> str | None:
    """When the cutover last changed this Ingress, by the API server's clock; None: never."""
    fields = ingress["metadata"].get("managedFields") or []
    return max((entry["time"] for entry in fields if entry.get("manager") == MANAGER and "time" in entry), default=None)


def _seen_at(event: Object) -> str:
    """When an event was last reported; API servers and recorders of different age use different fields."""
    series = (event.get("series") or {}).get("lastObservedTime")
    known = (series, event.get("deprecatedLastTimestamp"), event.get("eventTime"))
    return str(max((time for time in known if time), default=""))
