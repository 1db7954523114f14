"""Argo Rollouts: a canary that moves by the steps of its Rollout.

The two colors are two revisions of one Rollout, each named by the label ``voice-agent/color``
of its pods: the stable revision's, and that of the template that is rolled out::

    split that stays on a step ----- status.currentStepIndex, pause conditions cleared
    all to the new revision -------- status.promoteFull
    all to the stable one ---------- status.abort (and status.abort false, to go on after it)
    all to the one before, when the new one is stable already:
                                     its template again, and status.promoteFull

A split is offered by a step ``setWeight`` that a ``pause: {}`` follows; after a pause with a
duration Argo goes on by itself, behind the cutover's back. There is no cookie in Argo's own
rules, so a color of weight 0 and one that is not named are the same here.

Source: Argo Rollouts, specification of the Rollout (steps, `status`), and what its own
``kubectl argo rollouts promote``, ``abort``, ``retry`` and ``undo`` write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from voice_agent.operate.ports import FULL, RouterError, Routing
from voice_agent.operate.routers.kubernetes_api import REPLICA_SET, ROLLOUT, KubernetesApi, Object
from voice_agent.operate.routers.weights import in_words
from voice_agent.runtime.clock import SystemClock
from voice_agent.runtime.ports import Clock

COLOR_LABEL = "voice-agent/color"
HASH_LABEL = "rollouts-pod-template-hash"
SETTLED_S = 300.0
LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class _State:
    """A Rollout and the revisions that it knows."""

    rollout: Object
    replica_sets: Sequence[Object]
    color_label: str

    @property
    def what(self) -> str:
        return f"Rollout {self.rollout['metadata']['namespace']}/{self.rollout['metadata']['name']}"

    @property
    def status(self) -> Mapping[str, Any]:
        status: Mapping[str, Any] = self.rollout.get("status") or {}
        return status

    @property
    def new(self) -> str:
        """The color of the template."""
        return self._color(self.rollout["spec"]["template"], "its template")

    @property
    def stable(self) -> str:
        """The color that everybody came to before this revision, or comes to now."""
        return self._color(self._replica_set(self.status.get("stableRS"))["spec"]["template"], "its stable revision")

    @property
    def is_whole(self) -> bool:
        """The template is the stable revision: nothing is under way."""
        return self.status.get("stableRS") == self.status.get("currentPodHash")

    @property
    def steps(self) -> Sequence[Mapping[str, Any]]:
        canary = (self.rollout["spec"].get("strategy") or {}).get("canary")
        if canary is None:
            raise RouterError(f"{self.what} has no canary strategy; the cutover moves callers by its steps")
        steps: Sequence[Mapping[str, Any]] = canary.get("steps") or []
        return steps

    @property
    def offered(self) -> dict[int, int]:
        """By weight, the step that sets it and after which the Rollout waits."""
        steps = self.steps
        return {
            int(step["setWeight"]): place
            for place, step in enumerate(steps)
            if "setWeight" in step and steps[place + 1 : place + 2] in ([{"pause": {}}], [{"pause": None}])
        }

    @property
    def weight(self) -> int:
        """Percent that the new revision gets. Raises `RouterError` without a traffic router: pods are no percents."""
        if self.is_whole:
            return FULL
        weights = (self.status.get("canary") or {}).get("weights")
        if not weights:
            raise RouterError(
                f"{self.what} says no weights; give it a traffic router (spec.strategy.canary.trafficRouting)"
            )
        return int(weights["canary"]["weight"])

    def by_color(self, color: str) -> Object | None:
        """The newest revision of a color."""
        found = [one for one in self.replica_sets if _labels(one["spec"]["template"]).get(self.color_label) == color]
        return max(found, key=_revision, default=None)

    def _replica_set(self, pod_hash: object) -> Object:
        for found in self.replica_sets:
            if _labels(found).get(HASH_LABEL) == pod_hash:
                return found
        raise RouterError(f"{self.what} has no ReplicaSet of its stable revision yet", retryable=True)

    def _color(self, template: Mapping[str, Any], whose: str) -> str:
        color = _labels(template).get(self.color_label)
        if color is None:
            raise RouterError(f"{self.what}: {whose} has no label {self.color_label}; set it in spec.template.metadata")
        return color


@dataclass(frozen=True, slots=True)
class _Order:
    """One thing to tell Argo."""

    line: str
    patch: Object
    subresource: str = ""

    def change(self, rollout: Object) -> Object:
        """Whatever has changed meanwhile, the order stands."""
        return self.patch


class ArgoRouter:
    """`Router` on a Rollout."""

    def __init__(
        self,
        *,
        namespace: str,
        name: str = "voice-agent",
        color_label: str = COLOR_LABEL,
        api: KubernetesApi | None = None,
        clock: Clock | None = None,
        settled_s: float = SETTLED_S,
    ) -> None:
        """`settled_s`: how long Argo may take to reach a weight; it starts pods for it."""
        self._api = api or KubernetesApi(namespace=namespace)
        self._namespace, self._rollout, self._label = namespace, name, color_label
        self._clock = clock or SystemClock()
        self._settled_s = settled_s

    @property
    def name(self) -> str:
        """For people and for the journal."""
        return f"argo {self._namespace}/{self._rollout}"

    async def read(self) -> Routing:
        """As `Router.read`; a color is alone once its revision is the stable one and no other is rolled out."""
        return _routing(await self._state())

    async def changes(self, routing: Routing) -> Sequence[str]:
        """What Argo is told. Raises `RouterError` for a split that the Rollout's steps do not offer."""
        return [order.line for order in self._orders(await self._state(), routing)]

    async def write(self, routing: Routing) -> None:
        """Tell Argo, and wait until it says that the weights are so.

        One order at a time, each from what the Rollout says then: Argo forgets a promotion that comes before it has
        seen the template that is to be promoted.
        """
        until_s = self._clock.monotonic_s() + self._settled_s
        told: set[str] = set()
        while orders := self._orders(state := await self._state(), routing):
            order = orders[0]
            if order.line not in told:
                told.add(order.line)
                await self._api.change(ROLLOUT, self._rollout, order.change, subresource=order.subresource)
            if self._clock.monotonic_s() > until_s:
                says = state.status.get("message") or state.status.get("phase") or "nothing"
                raise RouterError(
                    f"{state.what} is not at {in_words(routing.weights)} yet; it says: {says}", retryable=True
                )
            await self._clock.sleep(LOOK_S)

    async def healthy_targets(self, color: str) -> int | None:
        """Ready pods of the color's newest revision."""
        found = (await self._state()).by_color(color)
        return 0 if found is None else int((found.get("status") or {}).get("readyReplicas", 0))

    async def retire(self, color: str) -> Sequence[str]:
        """Nothing to do: Argo scales a revision down by itself. Raises `RouterError` while callers come to it."""
        state = await self._state()
        if _routing(state).weights.get(color, 0) > 0:
            raise RouterError(f"{color} still gets callers ({_routing(state)}); send all of them elsewhere first")
        found = state.by_color(color)
        replicas = 0 if found is None else int(found["spec"].get("replicas", 0))
        return [f"Argo Rollouts scales {color} ({replicas} pods) down by itself"] if replicas else []

    async def _state(self) -> _State:
        rollout = await self._api.get(ROLLOUT, self._rollout)
        owned = [
            found
            for found in await self._api.listed(REPLICA_SET)
            if any(owner.get("uid") == rollout["metadata"]["uid"] for owner in _owners(found))
        ]
        return _State(rollout, owned, self._label)

    def _orders(self, state: _State, routing: Routing) -> list[_Order]:
        """What Argo has to be told for this routing; empty once it is so."""
        now = _routing(state)
        if unknown := [color for color, weight in routing.weights.items() if weight and color not in now.weights]:
            if state.is_whole and routing.gets_all(unknown[0]):
                return self._undo(state, unknown[0])
            raise RouterError(f"{state.what} rolls out no revision of color {unknown[0]}; it is at {now}")
        if _same(now, routing):
            return []
        if routing.gets_all(state.stable):
            return [_Order(f"abort {state.what}", {"status": {"abort": True}}, "status")]
        unpaused = []
        if state.rollout["spec"].get("paused"):
            unpaused = [_Order(f"resume {state.what}, which is paused by hand", {"spec": {"paused": False}})]
        weight = routing.weights.get(state.new, 0)
        if weight in state.offered:
            step = state.offered[weight]
            status = {"abort": False, "currentStepIndex": step, "pauseConditions": None}
            line = f"promote {state.what} to step {step}, setWeight {weight}"
            return [*unpaused, _Order(line, {"status": status}, "status")]
        if weight == FULL:
            return [*unpaused, _promoted(state)]
        raise RouterError(
            f"{state.what} does not offer {weight} % for {state.new}; it offers "
            f"{', '.join(f'{offered} %' for offered in sorted({*state.offered, 0, FULL}))} "
            "(a step setWeight counts if a pause without a duration follows it)"
        )

    def _undo(self, state: _State, color: str) -> list[_Order]:
        before = state.by_color(color)
        if before is None:
            raise RouterError(f"{state.what} has no revision of color {color} left to go back to; deploy it again")
        template = before["spec"]["template"]
        labels = {key: value for key, value in _labels(template).items() if key != HASH_LABEL}
        wanted = {**template, "metadata": {**template["metadata"], "labels": labels}}
        patch = {"spec": {"template": _replacing(state.rollout["spec"]["template"], wanted)}}
        return [_Order(f"undo {state.what} to revision {_revision(before)} ({color})", patch), _promoted(state)]


def _promoted(state: _State) -> _Order:
    return _Order(f"promote {state.what} fully", {"status": {"abort": False, "promoteFull": True}}, "status")


def _routing(state: _State) -> Routing:
    if state.is_whole:
        return Routing.alone(state.new)
    if state.new == state.stable:
        raise RouterError(
            f"{state.what}: both revisions are labelled {state.color_label}={state.new}; give the new one another color"
        )
    return Routing.split(state.new, state.weight, state.stable)


def _same(one: Routing, other: Routing) -> bool:
    return {c: w for c, w in one.weights.items() if w} == {c: w for c, w in other.weights.items() if w}


def _replacing(old: Any, new: Any) -> Any:
    """A merge patch that turns `old` into `new`; what is not named in such a patch stays."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    gone = {key: None for key in old if key not in new}
    return gone | {key: _replacing(old.get(key), value) for key, value in new.items()}


def _labels(found: Mapping[str, Any]) -> Mapping[str, str]:
    labels: Mapping[str, str] = (found.get("metadata") or {}).get("labels") or {}
    return labels


def _owners(found: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    owners: Sequence[Mapping[str, Any]] = found["metadata"].get("ownerReferences") or []
    return owners


def _revision(found: Mapping[str, Any]) -> int:
    return int((found["metadata"].get("annotations") or {}).get("rollout.argoproj.io/revision", 0))
