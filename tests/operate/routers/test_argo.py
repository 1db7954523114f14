"""A Rollout, through the official client; a few lines play Argo's controller."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from tests.operate.routers.fake_kubernetes import NAMESPACE, FakeKubernetes
from tests.operate.simulated import VirtualClock
from voice_agent.operate.ports import RouterError, Routing
from voice_agent.operate.routers.argo import COLOR_LABEL, HASH_LABEL, ArgoRouter
from voice_agent.operate.routers.kubernetes_api import KubernetesApi

WAIT: dict[str, Any] = {"pause": {}}
STEPS = [{"setWeight": 5}, WAIT, {"setWeight": 25}, {"pause": {"duration": "10m"}}, {"setWeight": 50}, WAIT]


def template(color: str, image: str) -> dict[str, Any]:
    labels = {"app": "voice-agent", COLOR_LABEL: color}
    container = {"name": "pod", "image": image, "env": [{"name": "VOICE_COLOR", "value": color}]}
    return {"metadata": {"labels": labels}, "spec": {"containers": [container]}}


class Argo:
    """What the controller does, as far as the router sees it."""

    def __init__(self, fake: FakeKubernetes) -> None:
        self.fake, self.revision = fake, 0
        self.stuck = False
        spec = {"strategy": {"canary": {"steps": STEPS}}, "template": template("blue", "1")}
        self.rollout = fake.put("rollouts", {"metadata": {"name": "voice-agent"}, "spec": spec, "status": {}})
        self.control(self.rollout)
        fake.controllers["rollouts"] = self.control

    def deploy(self, color: str, image: str) -> None:
        """Somebody changes the template."""
        self.fake.edit("rollouts", "voice-agent", lambda found: found["spec"].update(template=template(color, image)))
        self.control(self.fake.at("rollouts", "voice-agent"))

    def control(self, rollout: dict[str, Any]) -> None:
        if self.stuck:
            return
        status, wanted = rollout.setdefault("status", {}), rollout["spec"]["template"]
        pod_hash = f"h{wanted['spec']['containers'][0]['image']}"
        if pod_hash != status.get("currentPodHash"):
            self._replica_set(pod_hash, wanted)
            # A promotion from before the template was seen is forgotten.
            status.update(currentPodHash=pod_hash, currentStepIndex=0, abort=False, promoteFull=False)
            status.setdefault("stableRS", pod_hash)
        if status.get("promoteFull") and not status.get("abort"):
            status.update(stableRS=pod_hash, promoteFull=False)
        weight, step = 0, 0 if status.get("abort") else status["currentStepIndex"]
        for place, told in enumerate(STEPS[: step + 1]):
            weight = told.get("setWeight", weight) if place <= step else weight
        weight = 0 if status.get("abort") or status["stableRS"] == pod_hash else weight
        status["canary"] = {"weights": {"canary": {"weight": weight}, "stable": {"weight": 100 - weight}}}
        if "setWeight" in STEPS[step]:
            step += 1
        status["currentStepIndex"] = step

    def _replica_set(self, pod_hash: str, wanted: dict[str, Any]) -> None:
        self.revision += 1
        made = deepcopy(wanted)
        made["metadata"]["labels"][HASH_LABEL] = pod_hash
        self.fake.put(
            "replicasets",
            {
                "metadata": {
                    "name": f"voice-agent-{pod_hash}",
                    "labels": made["metadata"]["labels"],
                    "annotations": {"rollout.argoproj.io/revision": str(self.revision)},
                    "ownerReferences": [{"uid": self.rollout["metadata"]["uid"]}],
                },
                "spec": {"replicas": 2, "template": made},
                "status": {"readyReplicas": 2},
            },
        )


@pytest.fixture
def argo(kubernetes: FakeKubernetes) -> Argo:
    """Blue is stable, green has just been deployed."""
    argo = Argo(kubernetes)
    argo.deploy("green", "2")
    return argo


def router(kubernetes: FakeKubernetes) -> ArgoRouter:
    api = KubernetesApi(namespace=NAMESPACE, client=kubernetes.api_client())
    return ArgoRouter(namespace=NAMESPACE, api=api, clock=VirtualClock(), settled_s=8)


def green(percent: int) -> Routing:
    return Routing.split("green", percent, "blue")


async def test_steps_then_full_promotion(kubernetes: FakeKubernetes, argo: Argo) -> None:
    """Weights that the steps offer, forth and back, then all; the second phase has nothing left to do."""
    rollouts = router(kubernetes)
    assert await rollouts.read() == green(5)
    for percent in (50, 5, 50):
        await rollouts.write(green(percent))
        assert (await rollouts.read(), await rollouts.changes(green(percent))) == (green(percent), [])
    assert await rollouts.changes(green(100)) == ["promote Rollout voice/voice-agent fully"]
    await rollouts.write(green(100))
    assert await rollouts.read() == Routing.alone("green")
    assert await rollouts.changes(Routing.alone("green")) == []
    assert all(path.endswith("/status") for path, _, _ in kubernetes.patches)


async def test_abort_and_retry(kubernetes: FakeKubernetes, argo: Argo) -> None:
    """Back to the stable revision, and forth again."""
    rollouts = router(kubernetes)
    await rollouts.write(green(50))
    assert await rollouts.changes(Routing.alone("blue")) == ["abort Rollout voice/voice-agent"]
    await rollouts.write(Routing.alone("blue"))
    assert (await rollouts.read(), await rollouts.changes(green(0))) == (green(0), [])
    await rollouts.write(green(50))
    assert await rollouts.read() == green(50)
    await rollouts.write(Routing.alone("blue"))
    await rollouts.write(Routing.alone("green"))
    assert await rollouts.read() == Routing.alone("green")


@pytest.mark.parametrize("lag", [0, 3])
async def test_back_after_the_full_promotion(kubernetes: FakeKubernetes, argo: Argo, lag: int) -> None:
    """The old template again; promoted only once Argo has seen it, however slow it is."""
    rollouts = router(kubernetes)
    await rollouts.write(Routing.alone("green"))
    kubernetes.lag = lag
    assert await rollouts.changes(Routing.alone("blue")) == [
        "undo Rollout voice/voice-agent to revision 1 (blue)",
        "promote Rollout voice/voice-agent fully",
    ]
    await rollouts.write(Routing.alone("blue"))
    assert await rollouts.read() == Routing.alone("blue")
    assert kubernetes.at("rollouts", "voice-agent")["spec"]["template"] == template("blue", "1")


async def test_a_split_that_is_not_offered_says_what_is(kubernetes: FakeKubernetes, argo: Argo) -> None:
    """25 does not count: Argo would go on by itself after ten minutes."""
    with pytest.raises(RouterError, match="does not offer 25 % for green; it offers 0 %, 5 %, 50 %, 100 %"):
        await router(kubernetes).changes(green(25))
    assert kubernetes.patches == []


async def test_a_rollout_that_was_paused_by_hand_is_resumed(kubernetes: FakeKubernetes, argo: Argo) -> None:
    """`spec.paused` holds everything up."""
    kubernetes.edit("rollouts", "voice-agent", lambda found: found["spec"].update(paused=True))
    await router(kubernetes).write(green(50))
    assert kubernetes.at("rollouts", "voice-agent")["spec"]["paused"] is False


async def test_a_rollout_that_gets_stuck_says_why(kubernetes: FakeKubernetes, argo: Argo) -> None:
    """Pods that do not start, say."""
    argo.stuck = True
    kubernetes.edit("rollouts", "voice-agent", lambda found: found["status"].update(message="quota exceeded"))
    with pytest.raises(RouterError, match="is not at blue 50, green 50 yet; it says: quota exceeded") as raised:
        await router(kubernetes).write(green(50))
    assert raised.value.retryable
    assert len(kubernetes.patches) == 1


async def test_targets_of_a_color(kubernetes: FakeKubernetes, argo: Argo) -> None:
    """Ready pods of its newest revision; Argo itself scales down what is left over."""
    kubernetes.edit("replicasets", "voice-agent-h2", lambda found: found["status"].update(readyReplicas=1))
    rollouts = router(kubernetes)
    assert [await rollouts.healthy_targets(color) for color in ("blue", "green", "red")] == [2, 1, 0]
    with pytest.raises(RouterError, match="blue still gets callers"):
        await rollouts.retire("blue")
    await rollouts.write(Routing.alone("green"))
    assert await rollouts.retire("blue") == ["Argo Rollouts scales blue (2 pods) down by itself"]
    assert await rollouts.retire("red") == []


async def test_what_cannot_be_told_apart_is_told(kubernetes: FakeKubernetes, argo: Argo) -> None:
    """Two revisions of one color, none, no canary, no weights, no such color."""
    rollouts = router(kubernetes)
    with pytest.raises(RouterError, match="rolls out no revision of color red; it is at blue 95 green 5"):
        await rollouts.write(Routing.alone("red"))
    argo.deploy("blue", "3")
    with pytest.raises(RouterError, match="both revisions are labelled voice-agent/color=blue"):
        await rollouts.read()
    argo.deploy("green", "4")
    kubernetes.edit("rollouts", "voice-agent", lambda found: found["status"].update(canary={}))
    with pytest.raises(RouterError, match="says no weights; give it a traffic router"):
        await rollouts.read()
    kubernetes.edit("rollouts", "voice-agent", lambda found: found["spec"]["template"].pop("metadata"))
    with pytest.raises(RouterError, match="its template has no label voice-agent/color"):
        await rollouts.read()
