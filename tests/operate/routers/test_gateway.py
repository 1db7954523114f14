"""An HTTPRoute, through the official client and a small API server.

Tests of `kubernetes_api`, `split_object` and `services`, too.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.operate.routers.fake_kubernetes import NAMESPACE, FakeKubernetes
from tests.operate.simulated import VirtualClock
from voice_agent.operate.ports import RouterError, Routing
from voice_agent.operate.routers.gateway import GatewayRouter
from voice_agent.operate.routers.kubernetes_api import KubernetesApi

ROUTE = Path("k8s/routing/gateway-api/route.yaml")
SERVICES = {"blue": "voice-agent-blue", "green": "voice-agent-green"}
BLUE_FIRST = Routing({"blue": 100, "green": 0})


def taken(route: dict[str, Any], status: str = "True") -> None:
    """What a gateway says that has looked at the route."""
    conditions = [
        {"type": kind, "status": status, "observedGeneration": route["metadata"]["generation"], "message": "why"}
        for kind in ("Accepted", "ResolvedRefs")
    ]
    route["status"] = {"parents": [{"parentRef": {"name": "voice-agent"}, "conditions": conditions}]}


@pytest.fixture
def route(kubernetes: FakeKubernetes) -> dict[str, Any]:
    """The one that is deployed, with a gateway that takes every change."""
    kubernetes.controllers["httproutes"] = taken
    made = kubernetes.put("httproutes", yaml.safe_load(ROUTE.read_text()))
    taken(made)
    return made


def router(kubernetes: FakeKubernetes, **more: Any) -> GatewayRouter:
    api = KubernetesApi(namespace=NAMESPACE, client=kubernetes.api_client())
    return GatewayRouter(namespace=NAMESPACE, services=SERVICES, api=api, clock=VirtualClock(), settled_s=5, **more)


def backends(kubernetes: FakeKubernetes) -> list[dict[str, int]]:
    rules = kubernetes.at("httproutes", "voice-agent")["spec"]["rules"]
    return [{ref["name"]: ref.get("weight", 1) for ref in rule["backendRefs"]} for rule in rules]


async def test_a_cutover_and_its_rollback(kubernetes: FakeKubernetes, route: dict[str, Any]) -> None:
    """Weights of the last two rules of the deployed route; the smoke rules stay, and so does everything else."""
    before, gateway = deepcopy(route), router(kubernetes)
    assert await gateway.read() == BLUE_FIRST
    for routing in (
        Routing.split("green", 5, "blue"),
        Routing.split("green", 100, "blue"),
        Routing.alone("green"),
        Routing.split("blue", 100, "green"),
        Routing.alone("blue"),
        BLUE_FIRST,
    ):
        assert len(await gateway.changes(routing)) == 2
        await gateway.write(routing)
        smoke = [{"voice-agent-blue": 1}, {"voice-agent-green": 1}]
        assert backends(kubernetes) == [*smoke, *[{f"voice-agent-{c}": w for c, w in routing.weights.items()}] * 2]
        assert (await gateway.read(), await gateway.changes(routing)) == (routing, [])
    assert kubernetes.at("httproutes", "voice-agent")["spec"] == before["spec"]


async def test_a_backend_that_comes_back_gets_what_the_other_has(
    kubernetes: FakeKubernetes, route: dict[str, Any]
) -> None:
    """Port and filters are read off the one that stayed; session persistence is the rule's own."""
    first = route["spec"]["rules"][-1]
    first["sessionPersistence"] = {"type": "Cookie", "absoluteTimeout": "300s"}
    for ref in first["backendRefs"]:
        ref["port"] = 8081
    gateway = router(kubernetes)
    await gateway.write(Routing.alone("green"))
    await gateway.write(BLUE_FIRST)
    now = kubernetes.at("httproutes", "voice-agent")["spec"]["rules"][-1]
    assert [(ref["name"], ref["port"], ref["weight"]) for ref in now["backendRefs"]] == [
        ("voice-agent-blue", 8081, 100),
        ("voice-agent-green", 8081, 0),
    ]
    assert now["sessionPersistence"] == first["sessionPersistence"]


async def test_a_concurrent_edit_is_not_undone(kubernetes: FakeKubernetes, route: dict[str, Any]) -> None:
    """The API server refuses the patch, and it is made again from what is there then."""

    def somebody_else(found: dict[str, Any]) -> None:
        found["spec"]["hostnames"] = ["other.example"]
        found["spec"]["rules"][2]["timeouts"] = {"request": "1s"}

    kubernetes.before_patch.append(lambda: kubernetes.edit("httproutes", "voice-agent", somebody_else))
    await router(kubernetes).write(Routing.alone("green"))
    spec = kubernetes.at("httproutes", "voice-agent")["spec"]
    assert (spec["hostnames"], spec["rules"][2]["timeouts"]) == (["other.example"], {"request": "1s"})
    assert backends(kubernetes)[2:] == [{"voice-agent-green": 100}] * 2


async def test_endless_concurrent_edits_are_told(kubernetes: FakeKubernetes, route: dict[str, Any]) -> None:
    """Two tools that fight each other."""
    kubernetes.before_patch += [lambda: kubernetes.edit("httproutes", "voice-agent", lambda _: None)] * 9
    with pytest.raises(RouterError, match="changes it again and again") as raised:
        await router(kubernetes).write(Routing.alone("green"))
    assert raised.value.retryable


async def test_rules_that_differ_are_told_and_healed(kubernetes: FakeKubernetes, route: dict[str, Any]) -> None:
    """Somebody edited one of them by hand."""
    route["spec"]["rules"][3]["backendRefs"] = [{"name": "voice-agent-green", "port": 8080}]
    gateway = router(kubernetes)
    assert (await gateway.read()).differing == ("rule 4",)
    assert len(await gateway.changes(Routing.alone("green"))) == 1
    await gateway.write(Routing.alone("green"))
    assert await gateway.read() == Routing.alone("green")
    assert not (await gateway.read()).differing


async def test_a_write_waits_for_the_gateway(kubernetes: FakeKubernetes, route: dict[str, Any]) -> None:
    """It takes a moment to look at a new version of a route."""
    kubernetes.lag = 3
    await router(kubernetes).write(Routing.alone("green"))
    parent = kubernetes.at("httproutes", "voice-agent")["status"]["parents"][0]
    assert parent["conditions"][0]["observedGeneration"] == 2


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (lambda route: None, "gateway voice-agent has not looked at it yet"),
        (lambda route: taken(route, "False"), "gateway voice-agent does not take it: why"),
        (lambda route: route.pop("status"), "no gateway says that it took it"),
    ],
)
async def test_a_gateway_that_does_not_take_a_route_is_told(
    kubernetes: FakeKubernetes, route: dict[str, Any], says: Any, words: str
) -> None:
    """What is written is not yet what happens."""
    kubernetes.controllers["httproutes"] = says
    with pytest.raises(RouterError, match=words) as raised:
        await router(kubernetes).write(Routing.alone("green"))
    assert raised.value.retryable
    with pytest.raises(RouterError, match=words):
        await router(kubernetes).write(Routing.alone("green"))


@pytest.mark.parametrize(
    ("backends_of_the_last", "words"),
    [
        ([{"name": "voice-agent-blue"}, {"name": "stranger"}], "rule 4, also leads to a Service that is no color's"),
        ([{"name": "voice-agent-blue", "weight": 0}, {"name": "voice-agent-green", "weight": 0}], "make no split"),
    ],
)
async def test_a_route_that_cannot_be_understood_is_told(
    kubernetes: FakeKubernetes, route: dict[str, Any], backends_of_the_last: list[Any], words: str
) -> None:
    """Never a guess."""
    route["spec"]["rules"][3]["backendRefs"] = backends_of_the_last
    with pytest.raises(RouterError, match=words):
        await router(kubernetes).read()


async def test_a_route_without_the_colors_is_told(kubernetes: FakeKubernetes, route: dict[str, Any]) -> None:
    """Also a color that has no Service, and a route that is not there."""
    gateway = router(kubernetes)
    with pytest.raises(RouterError, match="purple has no Service; there are Services for: blue, green"):
        await gateway.write(Routing.alone("purple"))
    route["spec"]["rules"] = route["spec"]["rules"][:2]
    with pytest.raises(RouterError, match="no rule that leads to the colors' Services"):
        await gateway.read()
    with pytest.raises(RouterError, match="there is no HTTPRoute voice/other; check the name"):
        await router(kubernetes, name="other").read()


async def test_a_color_is_scaled_to_zero_once_nobody_is_sent_there(
    kubernetes: FakeKubernetes, route: dict[str, Any]
) -> None:
    """The Deployment is kept; a second time there is nothing to do."""
    kubernetes.put("deployments", {"metadata": {"name": "voice-agent-blue"}, "spec": {"replicas": 3}})
    gateway = router(kubernetes)
    with pytest.raises(RouterError, match="blue may still get callers"):
        await gateway.retire("blue")
    await gateway.write(Routing.alone("green"))
    done = await gateway.retire("blue")
    assert done == ["scale Deployment voice/voice-agent-blue: 3 -> 0 replicas (kept, not deleted)"]
    assert kubernetes.at("deployments", "voice-agent-blue")["spec"]["replicas"] == 0
    assert await gateway.retire("blue") == []


async def test_healthy_targets_are_ready_endpoints(kubernetes: FakeKubernetes, route: dict[str, Any]) -> None:
    """A pod counts once, however many slices name it; one that is not ready does not count."""

    def endpoint(uid: str, **conditions: bool) -> dict[str, Any]:
        return {"addresses": [f"10.0.0.{uid}"], "conditions": conditions, "targetRef": {"uid": uid}}

    for name, endpoints in (
        ("four", [endpoint("1", ready=True), endpoint("2", ready=False), endpoint("3")]),
        ("six", [endpoint("1", ready=True)]),
        ("none", None),
    ):
        labels = {"kubernetes.io/service-name": "voice-agent-green"}
        kubernetes.put("endpointslices", {"metadata": {"name": name, "labels": labels}, "endpoints": endpoints})
    gateway = router(kubernetes)
    assert (await gateway.healthy_targets("green"), await gateway.healthy_targets("blue")) == (2, 0)


@pytest.mark.parametrize(
    ("method", "refusal", "words", "retryable"),
    [
        ("PATCH", (403, "Forbidden"), "does not allow to patch HTTPRoute voice/voice-agent .403.; grant it", False),
        ("GET", (401, "Unauthorized"), "does not allow to get", False),
        ("GET", (503, "Unavailable"), "refused to get HTTPRoute voice/voice-agent: 503", True),
        ("PATCH", (422, "Invalid"), "refused to patch HTTPRoute voice/voice-agent: 422", False),
    ],
)
async def test_what_the_api_refuses_is_told(
    kubernetes: FakeKubernetes,
    route: dict[str, Any],
    method: str,
    refusal: tuple[int, str],
    words: str,
    retryable: bool,
) -> None:
    """And whether trying again can help."""
    kubernetes.refuse[method] = refusal
    with pytest.raises(RouterError, match=words) as raised:
        await router(kubernetes).write(Routing.alone("green"))
    assert raised.value.retryable is retryable


async def test_no_cluster_is_told(kubernetes: FakeKubernetes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody answers; or nobody said where the cluster is."""
    kubernetes.url = "http://127.0.0.1:1"
    with pytest.raises(RouterError, match="the Kubernetes API does not answer") as raised:
        await router(kubernetes).read()
    assert raised.value.retryable
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(RouterError, match="no access to a Kubernetes cluster"):
        await GatewayRouter(namespace=NAMESPACE).read()


@pytest.mark.parametrize("text", ["{", "[]", "current-context: none"])
async def test_a_kubeconfig_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    """With what is wrong with it, and nothing on standard output."""
    (tmp_path / "config").write_text(text)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))
    with pytest.raises(RouterError, match="no access to a Kubernetes cluster"):
        await GatewayRouter(namespace=NAMESPACE).read()


async def test_the_cluster_is_that_of_the_kubeconfig(
    kubernetes: FakeKubernetes,
    route: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """As for kubectl; standard output is for those who read JSON."""
    config = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "clusters": [{"name": "here", "cluster": {"server": kubernetes.url}}],
        "users": [{"name": "me", "user": {"token": "t"}}],
    }
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))
    assert await GatewayRouter(namespace=NAMESPACE).read() == BLUE_FIRST
    assert capfd.readouterr().out == ""
