"""The annotations of an Ingress, through the official client and a small API server."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from tests.operate.routers.fake_kubernetes import NAMESPACE, FakeKubernetes
from tests.operate.simulated import VirtualClock
from voice_agent.operate.ports import RouterError, Routing
from voice_agent.operate.routers.kubernetes_api import KubernetesApi
from voice_agent.operate.routers.load_balancer_controller import PREFIX, IngressRouter

ACTIONS = f"{PREFIX}actions."
CONDITIONS = f"{PREFIX}conditions."

INGRESS = Path("k8s/routing/aws-load-balancer-controller/ingress.yaml")
WEIGHTED = ("voice-first", "voice-resume", "voice-resume-path")
BLUE_FIRST = Routing({"blue": 100, "green": 0})


def event(at: str, kind: str = "Normal", reason: str = "SuccessfullyReconciled", note: str = "") -> dict[str, Any]:
    return {
        "metadata": {"name": reason.lower()},
        "regarding": {"kind": "Ingress", "name": "voice-agent"},
        "type": kind,
        "reason": reason,
        "note": note,
        "deprecatedLastTimestamp": at,
    }


@pytest.fixture
def ingress(kubernetes: FakeKubernetes) -> dict[str, Any]:
    """The one that is deployed, with a controller that takes every change."""

    def reconcile(_: dict[str, Any]) -> None:
        kubernetes.put("events", event(kubernetes.now))

    kubernetes.controllers["ingresses"] = reconcile
    return kubernetes.put("ingresses", yaml.safe_load(INGRESS.read_text()))


def router(kubernetes: FakeKubernetes) -> IngressRouter:
    api = KubernetesApi(namespace=NAMESPACE, client=kubernetes.api_client())
    return IngressRouter(namespace=NAMESPACE, api=api, clock=VirtualClock(), settled_s=5)


def action(kubernetes: FakeKubernetes, name: str) -> Any:
    return orjson.loads(kubernetes.at("ingresses", "voice-agent")["metadata"]["annotations"][ACTIONS + name])


def weights(kubernetes: FakeKubernetes) -> list[dict[str, int]]:
    found = [action(kubernetes, name)["forwardConfig"]["targetGroups"] for name in WEIGHTED]
    return [{group["serviceName"]: group["weight"] for group in groups} for groups in found]


async def test_a_cutover_and_its_rollback(kubernetes: FakeKubernetes, ingress: dict[str, Any]) -> None:
    """Weights of the three actions of the deployed Ingress; stickiness, ports and all other annotations stay."""
    before, ports = deepcopy(ingress["metadata"]["annotations"]), router(kubernetes)
    assert await ports.read() == BLUE_FIRST
    for routing in (
        Routing.split("green", 25, "blue"),
        Routing.split("green", 100, "blue"),
        Routing.alone("green"),
        Routing.split("blue", 100, "green"),
    ):
        assert len(await ports.changes(routing)) == 3
        await ports.write(routing)
        assert weights(kubernetes) == [{f"voice-agent-{c}": w for c, w in routing.weights.items()}] * 3
        assert (await ports.read(), await ports.changes(routing)) == (routing, [])
        sticky = [action(kubernetes, name)["forwardConfig"].get("targetGroupStickinessConfig") for name in WEIGHTED]
        assert sticky == [{"enabled": True, "durationSeconds": 300}, None, None]
    now = kubernetes.at("ingresses", "voice-agent")["metadata"]["annotations"]
    assert {key: orjson.loads(now[key]) for key in now if key.startswith(ACTIONS)} == {
        key: orjson.loads(before[key]) for key in before if key.startswith(ACTIONS)
    }
    others = [key for key in before if not key.startswith(ACTIONS)]
    assert [now[key] for key in others] == [before[key] for key in others]


async def test_a_smoke_action_is_left_alone(kubernetes: FakeKubernetes, ingress: dict[str, Any]) -> None:
    """An action with one color, whose conditions ask for the header, is none of the weighted ones."""
    group = {"serviceName": "voice-agent-green", "servicePort": 8080}
    smoke = {"type": "forward", "forwardConfig": {"targetGroups": [group]}}
    ingress["metadata"]["annotations"] |= {
        f"{ACTIONS}voice-smoke": orjson.dumps(smoke).decode(),
        f"{CONDITIONS}voice-smoke": '[{"httpHeaderConfig": {"httpHeaderName": "X-Voice-Color"}}]',
    }
    ports = router(kubernetes)
    assert not (await ports.read()).differing
    await ports.write(Routing.alone("blue"))
    assert action(kubernetes, "voice-smoke") == smoke


async def test_actions_that_differ_are_told_and_healed(kubernetes: FakeKubernetes, ingress: dict[str, Any]) -> None:
    """Somebody edited one by hand; only that one is written again."""
    annotations = ingress["metadata"]["annotations"]
    annotations[f"{ACTIONS}voice-resume"] = (
        annotations[f"{ACTIONS}voice-resume"].replace("100", "50").replace(": 0", ": 50")
    )
    ports = router(kubernetes)
    assert (await ports.read()).differing == ("actions.voice-resume",)
    assert [line.split(":")[0] for line in await ports.changes(BLUE_FIRST)] == [
        "Ingress voice/voice-agent, actions.voice-resume"
    ]
    await ports.write(BLUE_FIRST)
    assert list(kubernetes.patches[0][2]["metadata"]["annotations"]) == [f"{ACTIONS}voice-resume"]


async def test_a_concurrent_edit_is_not_undone(kubernetes: FakeKubernetes, ingress: dict[str, Any]) -> None:
    """Somebody changes another annotation between the read and the patch."""

    def somebody_else(found: dict[str, Any]) -> None:
        found["metadata"]["annotations"]["alb.ingress.kubernetes.io/scheme"] = "internal"

    kubernetes.before_patch.append(lambda: kubernetes.edit("ingresses", "voice-agent", somebody_else))
    await router(kubernetes).write(Routing.alone("green"))
    assert weights(kubernetes) == [{"voice-agent-green": 100}] * 3
    now = kubernetes.at("ingresses", "voice-agent")["metadata"]["annotations"]
    assert now["alb.ingress.kubernetes.io/scheme"] == "internal"


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (None, "has not said since that it changed the ALB"),
        (event("2026-01-02T03:04:04Z"), "has not said since"),
        (event("2026-01-02T03:04:06Z", "Warning", "FailedDeployModel", "no\nright"), "FailedDeployModel: no right"),
    ],
)
async def test_a_controller_that_does_not_take_a_change_is_told(
    kubernetes: FakeKubernetes, ingress: dict[str, Any], told: dict[str, Any] | None, words: str
) -> None:
    """Also to the run after one that died: what is written need not be what the ALB does."""
    kubernetes.controllers.clear()
    if told is not None:
        kubernetes.put("events", told)
    for _ in range(2):
        with pytest.raises(RouterError, match=words) as raised:
            await router(kubernetes).write(Routing.alone("green"))
        assert raised.value.retryable
    kubernetes.put("events", event("2026-01-02T03:04:07Z"))
    await router(kubernetes).write(Routing.alone("green"))
    assert len(kubernetes.patches) == 1


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("{", "actions.voice-resume, is no JSON"),
        ("[]", "is no JSON object"),
        ('{"forwardConfig":{"targetGroups":[{"serviceName":"voice-agent-blue"},{"serviceName":"x"}]}}', "no color's"),
        ('{"forwardConfig":{"targetGroups":[{"serviceName":"voice-agent-blue","weight":0}]}}', "make no split"),
    ],
)
async def test_an_action_that_cannot_be_understood_is_told(
    kubernetes: FakeKubernetes, ingress: dict[str, Any], broken: str, words: str
) -> None:
    """Never a guess."""
    ingress["metadata"]["annotations"][f"{ACTIONS}voice-resume"] = broken
    with pytest.raises(RouterError, match=words):
        await router(kubernetes).read()


async def test_an_ingress_without_actions_is_told(kubernetes: FakeKubernetes) -> None:
    """With the name of what is missing."""
    kubernetes.put("ingresses", {"metadata": {"name": "voice-agent"}})
    with pytest.raises(RouterError, match=r"add the annotations alb.ingress.kubernetes.io/actions.voice-first"):
        await router(kubernetes).read()
