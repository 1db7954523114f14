"""Mistakes of edges and of the ways that lead to them and on, and what the lint has to say of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.deploy.manifests import Manifests, Object
from tests.deploy.places import ALB, edge, edge_config, peers, spec, ways_out

INSIDE = "routing/gateway-api-edge"
INTERNAL = "routing/aws-load-balancer-controller-edge"


def of_part(known: Manifests, part: str, kind: str, name: str) -> Object:
    """An object that other parts have as well, as this one has it."""
    (found,) = [it for it in known.parts[part] if (it["kind"], it["metadata"]["name"]) == (kind, name)]
    return found


def _container(known: Manifests) -> Object:
    found: Object = edge(known)["spec"]["containers"][0]
    return found


def _attributes(known: Manifests, text: str) -> None:
    known.one("Ingress", "voice-edge")["metadata"]["annotations"][f"{ALB}target-group-attributes"] = text


MISTAKES: dict[str, tuple[Callable[[Manifests], Any], str]] = {
    "edge with the default grace": (
        lambda it: edge(it)["spec"].pop("terminationGracePeriodSeconds"),
        "Deployment/voice-edge: a grace of 30 s is too short",
    ),
    "edge whose drain outlives its grace": (
        lambda it: edge_config(it).update(VOICE_EDGE_DRAIN_DEADLINE="3600"),
        "Deployment/voice-edge: a grace of 3600 s is too short",
    ),
    "edge that refuses whom it is still sent": (
        lambda it: _container(it).pop("lifecycle"),
        "preStop does not wait",
    ),
    "edge that is restarted while no pod takes calls": (
        lambda it: _container(it)["livenessProbe"]["httpGet"].update(path="/healthz/realtime"),
        "Deployment/voice-edge: livenessProbe has to ask /healthz/live",
    ),
    "edge on another port": (
        lambda it: edge_config(it).update(VOICE_EDGE_PORT="8081"),
        "VOICE_EDGE_PORT is 8081",
    ),
    "edge of loopback": (lambda it: edge_config(it).pop("VOICE_EDGE_HOST"), "VOICE_EDGE_HOST lets nobody in"),
    "edge in front of a path": (
        lambda it: edge_config(it).update(VOICE_EDGE_TO="ws://voice-inside.voice.svc.cluster.local/v1"),
        "VOICE_EDGE_TO has a value that is refused",
    ),
    "edge with a misspelt setting": (
        lambda it: edge_config(it).update(VOICE_EDGE_MAXCALLS="5"),
        "VOICE_EDGE_MAXCALLS is not a setting",
    ),
    "edge in front of nothing": (
        lambda it: edge_config(it).update(VOICE_EDGE_TO="ws://voice-in.voice.svc.cluster.local"),
        "there is no Service voice-in.voice.svc.cluster.local",
    ),
    "edges that scale up when they are full": (
        lambda it: edge_config(it).update(VOICE_EDGE_MAX_CALLS="300"),
        "voice-edge: it scales up only when pods are full",
    ),
    "edges by a metric that they do not show": (
        lambda it: spec(it, "HorizontalPodAutoscaler", "voice-edge")["metrics"][0]["pods"]["metric"].update(
            name="voice_edges"
        ),
        "voice_edges is not a metric",
    ),
    "edges that may not connect to pods": (
        lambda it: ways_out(it, "voice-edge").pop(),
        "Deployment/voice-edge: its pods may not connect to those of Deployment/voice-agent-blue",
    ),
    "edges that may not connect to a gateway": (
        lambda it: ways_out(it, "voice-edge").pop(1),
        "Deployment/voice-edge: its pods may not connect to a gateway",
    ),
    "pods that keep edges out": (
        lambda it: spec(it, "NetworkPolicy", "voice-agent-from-edges")["ingress"].pop(),
        "Deployment/voice-agent-green: its pods let edges not in",
    ),
    "edges without a gateway": (
        lambda it: peers(it, "voice-edge").pop(0),
        "a gateway in the cluster may not connect to its pods",
    ),
    "edges that nobody watches": (
        lambda it: spec(it, "ServiceMonitor", "voice-edge")["selector"]["matchLabels"].update(app="x"),
        "Service/voice-edge: no ServiceMonitor finds it",
    ),
    "gateway that says nothing of pods": (
        lambda it: of_part(it, INSIDE, "HTTPRoute", "voice-agent")["spec"]["rules"][3]["matches"].pop(),
        "HTTPRoute/voice-agent: no edge learns whether calls are taken",
    ),
    "gateway of another name": (
        lambda it: of_part(it, INSIDE, "HTTPRoute", "voice-agent")["spec"].update(hostnames=["voice.example.com"]),
        "it does not answer to voice-inside",
    ),
    "health for everybody": (
        lambda it: of_part(it, INSIDE, "HTTPRoute", "voice-agent")["spec"]["parentRefs"][0].update(
            name="voice-agent", sectionName="https"
        ),
        "/healthz/realtime is not for outside",
    ),
    "load balancer that says nothing of pods": (
        lambda it: of_part(it, INTERNAL, "Ingress", "voice-agent")["spec"]["rules"][0]["http"]["paths"].pop(),
        "Ingress/voice-agent: no edge learns whether calls are taken",
    ),
    "load balancer of another name": (
        lambda it: of_part(it, INTERNAL, "Ingress", "voice-agent")["spec"]["rules"][0].update(host="voice.example.com"),
        "Ingress/voice-agent: it does not answer to voice-inside",
    ),
    "pods past the edges": (
        lambda it: of_part(it, INTERNAL, "Ingress", "voice-agent")["metadata"]["annotations"].update(
            {f"{ALB}scheme": "internet-facing"}
        ),
        "Ingress/voice-agent: its TLS policy is an old one",
    ),
    "load balancer that cuts off who is left at an edge": (
        lambda it: _attributes(it, "deregistration_delay.timeout_seconds=660"),
        "Ingress/voice-edge: the ALB cuts calls off after 660 s",
    ),
    "load balancer with a delay beyond an hour": (
        lambda it: _attributes(it, "deregistration_delay.timeout_seconds=7200"),
        "a deregistration delay is 0 to 3600 s",
    ),
    "load balancer with a way past the edges": (
        lambda it: spec(it, "Ingress", "voice-edge")["rules"][0]["http"]["paths"][0].update(path="/"),
        "Ingress/voice-edge: / is not for outside",
    ),
}
