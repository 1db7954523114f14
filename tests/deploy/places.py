"""Places in what the kustomizations build, for tests that plant mistakes there."""

from __future__ import annotations

import json

from tests.deploy.manifests import Manifests, Object

ALB = "alb.ingress.kubernetes.io/"


def blue(known: Manifests) -> Object:
    """Blue's pod template."""
    template: Object = known.one("Deployment", "voice-agent-blue")["spec"]["template"]
    return template


def container(known: Manifests) -> Object:
    """Blue's container."""
    found: Object = blue(known)["spec"]["containers"][0]
    return found


def config(known: Manifests) -> dict[str, str]:
    """Blue's settings."""
    name = container(known)["envFrom"][0]["configMapRef"]["name"]
    data: dict[str, str] = known.one("ConfigMap", name)["data"]
    return data


def edge(known: Manifests) -> Object:
    """The edges' pod template."""
    template: Object = known.one("Deployment", "voice-edge")["spec"]["template"]
    return template


def edge_config(known: Manifests) -> dict[str, str]:
    """The edges' settings."""
    name = edge(known)["spec"]["containers"][0]["envFrom"][0]["configMapRef"]["name"]
    data: dict[str, str] = known.one("ConfigMap", name)["data"]
    return data


def variable(known: Manifests, name: str) -> Object:
    """One of blue's variables."""
    return next(it for it in container(known)["env"] if it["name"] == name)


def rule(known: Manifests, number: int) -> Object:
    """A rule of the route."""
    found: Object = known.one("HTTPRoute", "voice-agent")["spec"]["rules"][number]
    return found


def notes(known: Manifests) -> dict[str, str]:
    """The Ingress' annotations."""
    found: dict[str, str] = known.one("Ingress", "voice-agent")["metadata"]["annotations"]
    return found


def reweigh(known: Manifests, name: str, *shares: int) -> None:
    """Give an action of the Ingress other weights."""
    action = json.loads(notes(known)[f"{ALB}actions.{name}"])
    for group, share in zip(action["forwardConfig"]["targetGroups"], shares, strict=True):
        group["weight"] = share
    notes(known)[f"{ALB}actions.{name}"] = json.dumps(action)


def stick(known: Manifests, name: str) -> None:
    """Make an action of the Ingress sticky."""
    action = json.loads(notes(known)[f"{ALB}actions.{name}"])
    action["forwardConfig"]["targetGroupStickinessConfig"] = {"enabled": True, "durationSeconds": 300}
    notes(known)[f"{ALB}actions.{name}"] = json.dumps(action)


def replace_note(known: Manifests, name: str, old: str, new: str) -> None:
    """Change a part of an annotation."""
    assert old in notes(known)[ALB + name]
    notes(known)[ALB + name] = notes(known)[ALB + name].replace(old, new)


def peers(known: Manifests, policy: str) -> list[Object]:
    """Who may connect, by a NetworkPolicy's first way in."""
    found: list[Object] = known.one("NetworkPolicy", policy)["spec"]["ingress"][0]["from"]
    return found


def known_release(known: Manifests) -> Object:
    """The metadata of the pods of the Rollout that the cutover moves."""
    (found,) = [it for it in known.parts["argo-rollouts-cutover"] if it["kind"] == "Rollout"]
    metadata: Object = found["spec"]["template"]["metadata"]
    return metadata


def rollout(known: Manifests) -> Object:
    """The Rollout's strategy."""
    found: Object = known.one("Rollout", "voice-agent-rollout")["spec"]["strategy"]["canary"]
    return found


def ways_out(known: Manifests, policy: str) -> list[Object]:
    """What a NetworkPolicy lets its pods connect to."""
    found: list[Object] = known.one("NetworkPolicy", policy)["spec"]["egress"]
    return found


def metric(known: Manifests, name: str) -> Object:
    """One of the canary's judges."""
    metrics = known.one("AnalysisTemplate", "voice-agent-rollout")["spec"]["metrics"]
    found: Object = next(it for it in metrics if it["name"] == name)
    return found


def spec(known: Manifests, kind: str, name: str) -> Object:
    """The spec of an object."""
    found: Object = known.one(kind, name)["spec"]
    return found
