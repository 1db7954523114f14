"""The lint itself: mistakes are planted one by one, and each has to be found."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it carries no types
import kubernetes_validate  # type: ignore[import-untyped]  # the same
import pytest

from tests.deploy.test_k8s import LINT, check_schema
from tests.deploy.world import Object, World, world

ALB = "alb.ingress.kubernetes.io/"


def blue(known: World) -> Object:
    """Blue's pod template."""
    template: Object = known.one("Deployment", "voice-agent-blue")["spec"]["template"]
    return template


def container(known: World) -> Object:
    """Blue's container."""
    found: Object = blue(known)["spec"]["containers"][0]
    return found


def config(known: World) -> dict[str, str]:
    """Blue's settings."""
    name = container(known)["envFrom"][0]["configMapRef"]["name"]
    data: dict[str, str] = known.one("ConfigMap", name)["data"]
    return data


def variable(known: World, name: str) -> Object:
    """One of blue's variables."""
    return next(it for it in container(known)["env"] if it["name"] == name)


def rule(known: World, number: int) -> Object:
    """A rule of the route."""
    found: Object = known.one("HTTPRoute", "voice-agent")["spec"]["rules"][number]
    return found


def notes(known: World) -> dict[str, str]:
    """The Ingress' annotations."""
    found: dict[str, str] = known.one("Ingress", "voice-agent")["metadata"]["annotations"]
    return found


def reweigh(known: World, name: str, *shares: int) -> None:
    """Give an action of the Ingress other weights."""
    action = json.loads(notes(known)[f"{ALB}actions.{name}"])
    for group, share in zip(action["forwardConfig"]["targetGroups"], shares, strict=True):
        group["weight"] = share
    notes(known)[f"{ALB}actions.{name}"] = json.dumps(action)


def stick(known: World, name: str) -> None:
    """Make an action of the Ingress sticky."""
    action = json.loads(notes(known)[f"{ALB}actions.{name}"])
    action["forwardConfig"]["targetGroupStickinessConfig"] = {"enabled": True, "durationSeconds": 300}
    notes(known)[f"{ALB}actions.{name}"] = json.dumps(action)


def replace_note(known: World, name: str, old: str, new: str) -> None:
    """Change a part of an annotation."""
    assert old in notes(known)[ALB + name]
    notes(known)[ALB + name] = notes(known)[ALB + name].replace(old, new)


def peers(known: World, policy: str) -> list[Object]:
    """Who may connect, by a NetworkPolicy's first way in."""
    found: list[Object] = known.one("NetworkPolicy", policy)["spec"]["ingress"][0]["from"]
    return found


def known_release(known: World) -> Object:
    """The metadata of the pods of the Rollout that the cutover moves."""
    (found,) = [it for it in known.parts["argo-rollouts-cutover"] if it["kind"] == "Rollout"]
    metadata: Object = found["spec"]["template"]["metadata"]
    return metadata


def rollout(known: World) -> Object:
    """The Rollout's strategy."""
    found: Object = known.one("Rollout", "voice-agent-rollout")["spec"]["strategy"]["canary"]
    return found


def ways_out(known: World, policy: str) -> list[Object]:
    """What a NetworkPolicy lets its pods connect to."""
    found: list[Object] = known.one("NetworkPolicy", policy)["spec"]["egress"]
    return found


def metric(known: World, name: str) -> Object:
    """One of the canary's judges."""
    metrics = known.one("AnalysisTemplate", "voice-agent-rollout")["spec"]["metrics"]
    found: Object = next(it for it in metrics if it["name"] == name)
    return found


def spec(known: World, kind: str, name: str) -> Object:
    """The spec of an object."""
    found: Object = known.one(kind, name)["spec"]
    return found


WISHED = "preferredDuringSchedulingIgnoredDuringExecution"
HOST = "kubernetes.io/hostname"
BY_DEPLOYMENT = {
    "topologyKey": HOST,
    "labelSelector": {"matchLabels": {"voice-agent/color": "rollout"}},
    "matchLabelKeys": ["pod-template-hash"],
}
FROM_BLUE = {"topologyKey": HOST, "labelSelector": {"matchLabels": {"voice-agent/color": "blue"}}}

MISTAKES: dict[str, tuple[Callable[[World], Any], str]] = {
    "selector that misses its pods": (
        lambda it: spec(it, "Deployment", "voice-agent-blue")["selector"]["matchLabels"].update(color="blue"),
        "does not choose its own pods",
    ),
    "service of the other name": (
        lambda it: spec(it, "Service", "voice-agent-blue")["selector"].update({"voice-agent/color": "bleu"}),
        "chooses no pod",
    ),
    "budget for nobody": (
        lambda it: spec(it, "PodDisruptionBudget", "voice-agent-blue")["selector"]["matchLabels"].update(app="x"),
        "its selector chooses no pod",
    ),
    "budget that blocks nodes": (
        lambda it: spec(it, "PodDisruptionBudget", "voice-redis").update(minAvailable=3),
        "no node could ever be emptied",
    ),
    "spread by a label that is not there": (
        lambda it: blue(it)["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"].update(a="b"),
        "spread by labels",
    ),
    "probe of an undeclared port": (
        lambda it: container(it)["readinessProbe"]["httpGet"].update(port="web"),
        "readinessProbe asks port web",
    ),
    "service port that nobody declares": (
        lambda it: spec(it, "Service", "voice-agent-green")["ports"][0].update(targetPort=8000),
        "targetPort 8000",
    ),
    "server on another port": (lambda it: config(it).update(VOICE_PORT="8081"), "VOICE_PORT is 8081"),
    "liveness that kills what drains": (
        lambda it: container(it)["livenessProbe"]["httpGet"].update(path="/healthz/realtime"),
        "livenessProbe has to ask /healthz/live",
    ),
    "readiness that never says no": (
        lambda it: container(it)["readinessProbe"]["httpGet"].update(path="/healthz/live"),
        "readinessProbe has to ask /healthz/realtime",
    ),
    "default grace": (lambda it: blue(it)["spec"].pop("terminationGracePeriodSeconds"), "a grace of 30 s is too short"),
    "grace of the deadline alone": (
        lambda it: blue(it)["spec"].update(terminationGracePeriodSeconds=600),
        "a grace of 600 s is too short",
    ),
    "longer deadline, same grace": (lambda it: config(it).update(VOICE_DRAIN_DEADLINE="900"), "need 940 s"),
    "longer sleep, same grace": (
        lambda it: container(it)["lifecycle"]["preStop"]["exec"].update(
            command=["sh", "-c", "sleep 60; voice-agent drain --wait"]
        ),
        "need 690 s",
    ),
    "preStop that does not wait": (
        lambda it: container(it)["lifecycle"]["preStop"]["exec"].update(command=["voice-agent", "drain"]),
        "preStop does not",
    ),
    "requests above limits": (
        lambda it: container(it)["resources"]["requests"].update(memory="3Gi"),
        "requests more memory",
    ),
    "no limit": (lambda it: container(it)["resources"]["limits"].pop("memory"), "no limit of memory"),
    "millicores above cores": (
        lambda it: container(it)["resources"]["requests"].update(cpu="2001m"),
        "requests more cpu",
    ),
    "root": (lambda it: blue(it)["spec"]["securityContext"].update(runAsUser=0), "runAsNonRoot of voice-agent"),
    "writable root": (
        lambda it: container(it)["securityContext"].update(readOnlyRootFilesystem=False),
        "readOnlyRootFilesystem",
    ),
    "kept capabilities": (
        lambda it: container(it)["securityContext"]["capabilities"].update(add=["NET_ADMIN"]),
        "capabilities of voice-agent",
    ),
    "no seccomp": (lambda it: blue(it)["spec"]["securityContext"].pop("seccompProfile"), "seccompProfile"),
    "escalation": (
        lambda it: container(it)["securityContext"].pop("allowPrivilegeEscalation"),
        "allowPrivilegeEscalation",
    ),
    "token for the API": (lambda it: blue(it)["spec"].pop("automountServiceAccountToken"), "a token for the API"),
    "Role without a token": (
        lambda it: spec(it, "Job", "voice-cutover")["template"]["spec"].update(automountServiceAccountToken=False),
        "Job/voice-cutover: a token for the API",
    ),
    "cutover without its Role": (
        lambda it: it.parts["components/cutover"].remove(it.one("RoleBinding", "voice-cutover")),
        "Job/voice-cutover: a token for the API",
    ),
    "cutover that the store keeps out": (
        lambda it: peers(it, "voice-redis")[0]["podSelector"]["matchExpressions"][0]["values"].remove("voice-cutover"),
        "Job/voice-cutover: the store's port 6379 lets its pods not in",
    ),
    "cutover that may not ask the store": (
        lambda it: ways_out(it, "voice-cutover")[1]["ports"].pop(),
        "Job/voice-cutover: its pods may not connect to port 26379 of the store",
    ),
    "router's key in the open": (
        lambda it: spec(it, "Job", "voice-cutover")["template"]["spec"]["containers"][0]["env"].append(
            {"name": "VOICE_COLOR_KEY", "value": "k" * 32}
        ),
        "VOICE_COLOR_KEY stands in the open",
    ),
    "service links": (lambda it: blue(it)["spec"].pop("enableServiceLinks"), "VOICE_AGENT_PORT"),
    "image without a tag": (
        lambda it: container(it).update(image="registry.example.com:5000/voice-agent"),
        "is not pinned",
    ),
    "latest": (lambda it: container(it).update(image="voice-agent:latest"), "is not pinned"),
    "setting that is none": (
        lambda it: config(it).update(VOICE_DRAIN_TIMEOUT="1"),
        "VOICE_DRAIN_TIMEOUT is not a setting",
    ),
    "value that is refused": (lambda it: config(it).update(VOICE_DRAIN_MODE="gently"), "VOICE_DRAIN_MODE has a value"),
    "secret in the open": (lambda it: config(it).update(VOICE_SECRET="s" * 32), "VOICE_SECRET is a secret"),
    "variable given twice": (
        lambda it: container(it)["env"].append(variable(it, "VOICE_POD")),
        "VOICE_POD is given twice",
    ),
    "color of the other": (
        lambda it: variable(it, "VOICE_COLOR").update(value="green"),
        "VOICE_COLOR is not the color",
    ),
    "no secret": (
        lambda it: container(it)["env"].remove(variable(it, "VOICE_SECRET")),
        "VOICE_SECRET is missing",
    ),
    "server on loopback": (lambda it: config(it).update(VOICE_HOST="127.0.0.1"), "VOICE_HOST lets nobody in"),
    "key that no Secret has": (
        lambda it: variable(it, "VOICE_SECRET")["valueFrom"]["secretKeyRef"].update(key="secret"),
        "the key secret of the Secret voice-agent",
    ),
    "settings of nobody": (
        lambda it: container(it)["envFrom"][0]["configMapRef"].update(name="voice-agent"),
        "there is no ConfigMap voice-agent",
    ),
    "account of nobody": (
        lambda it: blue(it)["spec"].update(serviceAccountName="voice-agent"),
        "there is no ServiceAccount voice-agent",
    ),
    "mount of no volume": (lambda it: blue(it)["spec"].update(volumes=[]), "mounts tmp"),
    "backups to nowhere": (
        lambda it: it.parts["redis"].remove(it.one("PersistentVolumeClaim", "voice-redis-backup")),
        "no PersistentVolumeClaim",
    ),
    "autoscaler of nothing": (
        lambda it: spec(it, "HorizontalPodAutoscaler", "voice-agent-blue")["scaleTargetRef"].update(name="voice-agent"),
        "what it scales does not exist",
    ),
    "autoscaler by an unknown metric": (
        lambda it: spec(it, "HorizontalPodAutoscaler", "voice-agent-blue")["metrics"][0]["pods"]["metric"].update(
            name="voice_calls"
        ),
        "voice_calls is not a metric",
    ),
    "autoscaler that waits until all is full": (
        lambda it: config(it).update(VOICE_MAX_CALLS="100"),
        "only when pods are full",
    ),
    "replicas that fight the autoscaler": (
        lambda it: spec(it, "Deployment", "voice-agent-green").update(replicas=2),
        "would undo what its autoscaler did",
    ),
    "weights that do not add up": (lambda it: rule(it, 3)["backendRefs"][1].update(weight=10), "add up to 110"),
    "negative weight": (lambda it: rule(it, 2)["backendRefs"][1].update(weight=-1), "weights have to be 0 to 100"),
    "route to a service that is not there": (
        lambda it: rule(it, 2)["backendRefs"][0].update(name="voice-agent-bleu"),
        "no Service voice-agent-bleu",
    ),
    "route to a port that is not there": (lambda it: rule(it, 3)["backendRefs"][0].update(port=80), "with port 80"),
    "route to the admin's door": (
        lambda it: rule(it, 3)["matches"].append({"path": {"type": "PathPrefix", "value": "/admin"}}),
        "/admin is not for outside",
    ),
    "call that the route lets nobody start": (
        lambda it: rule(it, 2)["matches"].pop(),
        "HTTPRoute/voice-agent: nobody gets to /openai/realtime",
    ),
    "call that only somebody with a header starts": (
        lambda it: rule(it, 3)["matches"][1].update(headers=[{"name": "X-A", "value": "b"}]),
        "HTTPRoute/voice-agent: nobody gets to /v1/realtime",
    ),
    "call that the canary lets nobody start": (
        lambda it: spec(it, "HTTPRoute", "voice-agent-rollout")["rules"][0]["matches"].pop(2),
        "HTTPRoute/voice-agent-rollout: nobody gets to /openai/v1/realtime",
    ),
    "call that the ALB lets nobody start": (
        lambda it: spec(it, "Ingress", "voice-agent")["rules"][0]["http"]["paths"].pop(4),
        "Ingress/voice-agent: nobody gets to /openai/v1/realtime",
    ),
    "route for everything": (
        lambda it: rule(it, 3)["matches"].append({"path": {"type": "PathPrefix", "value": "/"}}),
        "/ is not for outside",
    ),
    "sticky resumes": (
        lambda it: rule(it, 2).update(sessionPersistence={"type": "Cookie"}),
        "resumes must not be sticky",
    ),
    "color for whoever asks": (
        lambda it: rule(it, 1)["matches"][1]["headers"][0].update(value="green"),
        "anybody may choose voice-agent-green",
    ),
    "new revision for whoever comes": (
        lambda it: spec(it, "HTTPRoute", "voice-agent-rollout-smoke")["rules"][0]["matches"][3].pop("headers"),
        "anybody may choose voice-agent-canary",
    ),
    "color for whoever comes": (
        lambda it: rule(it, 1)["matches"][2].pop("headers"),
        "anybody may choose voice-agent-green",
    ),
    "color for a pattern": (
        lambda it: rule(it, 0)["matches"][0]["headers"][0].update(type="RegularExpression"),
        "anybody may choose voice-agent-blue",
    ),
    "color for whoever asks an ALB": (
        lambda it: replace_note(it, "conditions.voice-agent-green", "green:replace-me", "green"),
        "anybody may choose voice-agent-green",
    ),
    "color for two values of an ALB": (
        lambda it: replace_note(
            it, "conditions.voice-agent-green", '["green:replace-me"]', '["green:replace-me", "green"]'
        ),
        "anybody may choose voice-agent-green",
    ),
    "color for whoever comes to an ALB": (
        lambda it: notes(it).pop(f"{ALB}conditions.voice-agent-blue"),
        "anybody may choose voice-agent-blue",
    ),
    "color whose target group goes with its weights": (
        lambda it: spec(it, "Ingress", "voice-agent")["rules"][0]["http"]["paths"].pop(1),
        "leaves voice-agent-green the controller deletes its target group",
    ),
    "crossed header": (
        lambda it: rule(it, 0)["matches"][0]["headers"][0].update(value="green:replace-me"),
        "anybody may choose voice-agent-blue",
    ),
    "calls cut off by a timeout": (lambda it: rule(it, 2).pop("timeouts"), "cut off at the implementation's timeout"),
    "gateway of another name": (
        lambda it: spec(it, "HTTPRoute", "voice-agent")["parentRefs"][0].update(name="gateway"),
        "a Gateway gateway",
    ),
    "annotation that is no JSON": (
        lambda it: replace_note(it, "actions.voice-resume", '"weight": 100', '"weight": 100,,'),
        "actions.voice-resume is not JSON",
    ),
    "action of a service that is not there": (
        lambda it: replace_note(it, "actions.voice-first", "voice-agent-green", "voice-agent-red"),
        "names voice-agent-red",
    ),
    "annotation weights that do not add up": (
        lambda it: reweigh(it, "voice-resume-path", 100, 100),
        "add up to 200",
    ),
    "sticky resumes behind an ALB": (lambda it: stick(it, "voice-resume"), "voice-resume has it the other way"),
    "action that is not there": (
        lambda it: notes(it).pop(f"{ALB}actions.voice-resume-path"),
        "no annotation actions.voice-resume-path",
    ),
    "conditions of nothing": (
        lambda it: notes(it).update({f"{ALB}conditions.voice-resumes": "[]"}),
        "conditions.voice-resumes belongs to no path",
    ),
    "more values than an ALB takes": (
        lambda it: replace_note(it, "conditions.voice-agent-blue", '"/v1/realtime"', '"/v1/realtime", "/twilio/*"'),
        "has 6 values",
    ),
    "metrics for everybody": (
        lambda it: spec(it, "Ingress", "voice-agent")["rules"][0]["http"]["paths"][-1].update(path="/metrics"),
        "/metrics is not for outside",
    ),
    "first connects before resumes": (
        lambda it: spec(it, "Ingress", "voice-agent")["rules"][0]["http"]["paths"].reverse(),
        "is never reached",
    ),
    "ALB that waits too briefly": (
        lambda it: replace_note(it, "target-group-attributes", "=660", "=300"),
        "cuts calls off after 300 s",
    ),
    "ALB that waits for the drain alone": (
        lambda it: replace_note(it, "target-group-attributes", "=660", "=639"),
        "preStop and drain need 640 s",
    ),
    "ALB whose pods wait before they drain": (
        lambda it: container(it)["lifecycle"]["preStop"]["exec"].update(
            command=["sh", "-c", "sleep 31; voice-agent drain --wait"]
        ),
        "preStop and drain need 661 s",
    ),
    "ALB that ends calls": (
        lambda it: replace_note(it, "load-balancer-attributes", "=300", "=30"),
        "idle timeout of 30 s",
    ),
    "node ports": (lambda it: notes(it).update({f"{ALB}target-type": "instance"}), "target-type has to be ip"),
    "old TLS": (
        lambda it: notes(it).update({f"{ALB}ssl-policy": "ELBSecurityPolicy-2016-08"}),
        "TLS policy is an old one",
    ),
    "no readiness gate": (
        lambda it: it.parts["routing/aws-load-balancer-controller"][0]["metadata"]["labels"].clear(),
        "no readiness gate",
    ),
    "open to everybody": (lambda it: peers(it, "voice-agent-blue").append({}), "lets everybody in"),
    "open to the world": (
        lambda it: peers(it, "voice-agent-from-alb")[0]["ipBlock"].update(cidr="0.0.0.0/0"),
        "lets everybody in",
    ),
    "open port without a listener": (
        lambda it: spec(it, "NetworkPolicy", "voice-agent-blue")["ingress"][0]["ports"][0].update(port=9090),
        "opens port 9090",
    ),
    "peer painted by the overlay": (
        lambda it: peers(it, "voice-agent-blue")[1]["podSelector"].update(matchLabels={"voice-agent/color": "blue"}),
        "gave its color to a peer",
    ),
    "pods without a policy": (
        lambda it: spec(it, "NetworkPolicy", "voice-redis-backup")["podSelector"]["matchLabels"].update(
            {"app.kubernetes.io/name": "voice-redis"}
        ),
        "no NetworkPolicy limits",
    ),
    "monitor that finds nothing": (
        lambda it: spec(it, "ServiceMonitor", "voice-agent")["selector"]["matchLabels"].update(app="voice"),
        "does not find both colors",
    ),
    "monitor of another port": (
        lambda it: spec(it, "ServiceMonitor", "voice-agent")["endpoints"][0].update(port="metrics"),
        "has a port metrics",
    ),
    "canary of no service": (lambda it: rollout(it).update(canaryService="canary"), "there is no Service canary"),
    "canary without a judge": (
        lambda it: rollout(it)["analysis"]["templates"][0].update(templateName="voice"),
        "there is no AnalysisTemplate voice",
    ),
    "Rollout spread by the label of a Deployment's pods": (
        lambda it: spec(it, "Rollout", "voice-agent-rollout")["template"]["spec"]["topologySpreadConstraints"][
            0
        ].update(matchLabelKeys=["pod-template-hash"]),
        "spread by the label pod-template-hash",
    ),
    "Rollout kept apart by the label of a Deployment's pods": (
        lambda it: spec(it, "Rollout", "voice-agent-rollout")["template"]["spec"].update(
            affinity={"podAntiAffinity": {WISHED: [{"weight": 1, "podAffinityTerm": BY_DEPLOYMENT}]}}
        ),
        "spread by the label pod-template-hash",
    ),
    "pods kept apart from others than themselves": (
        lambda it: spec(it, "Rollout", "voice-agent-rollout")["template"]["spec"].update(
            affinity={"podAntiAffinity": {WISHED: [{"weight": 1, "podAffinityTerm": FROM_BLUE}]}}
        ),
        "spread by labels that its pods do not have",
    ),
    "canary that an empty answer pleases": (
        lambda it: metric(it, "calls-dropped").update(successCondition="len(result) == 0 || result[0] == 0"),
        "calls-dropped: an empty answer passes",
    ),
    "canary that NaN pleases": (
        lambda it: metric(it, "error-rate").update(successCondition="isNaN(result[0]) || result[0] <= 0.02"),
        "error-rate: NaN passes",
    ),
    "canary that NaN lets wait": (
        lambda it: metric(it, "error-rate").update(failureCondition="result[0] > 0.02"),
        "error-rate: NaN is no failure",
    ),
    "canary that nothing pleases": (
        lambda it: metric(it, "first-audio-p95").update(successCondition="result[0] > 1.5"),
        "first-audio-p95: nothing passes",
    ),
    "names from the cluster's pods alone": (
        lambda it: ways_out(it, "voice-agent-blue")[0]["to"].pop(),
        "cannot ask 169.254.20.10 on their node",
    ),
    "names from the node, but not over TCP": (
        lambda it: ways_out(it, "voice-redis")[0]["ports"].pop(),
        "cannot ask 169.254.20.10 on their node for a name over TCP",
    ),
    "names from the node alone": (
        lambda it: ways_out(it, "voice-cloudwatch")[0]["to"].pop(0),
        "cannot ask the cluster's DNS",
    ),
    "names from the node, but for its cache": (
        lambda it: ways_out(it, "voice-redis-backup")[0]["to"][1]["ipBlock"].update({"except": ["169.254.20.0/24"]}),
        "cannot ask 169.254.20.10 on their node",
    ),
    "store that keeps the publisher out": (
        lambda it: peers(it, "voice-redis")[0]["podSelector"]["matchExpressions"][0]["values"].remove(
            "voice-cloudwatch"
        ),
        "Deployment/voice-cloudwatch: the store's port 6379 lets its pods not in",
    ),
    "store that no pod may ask": (
        lambda it: ways_out(it, "voice-agent-green")[1]["ports"].pop(0),
        "Deployment/voice-agent-green: its pods may not connect to port 6379 of the store",
    ),
    "canary that nobody judges": (lambda it: rollout(it).pop("analysis"), "nothing judges it"),
    "color of no label": (
        lambda it: known_release(it)["labels"].pop("voice-agent/release"),
        "VOICE_COLOR is not the color",
    ),
    "another namespace": (
        lambda it: it.one("Service", "voice-redis")["metadata"].update(namespace="default"),
        "not in the namespace voice",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_lint_finds_each_planted_mistake(mistake: str) -> None:
    """One change makes the lint say one thing that it did not say before."""
    plant, told = MISTAKES[mistake]
    known = world()
    plant(known)
    findings = [finding for check in LINT for finding in check(known)]
    assert any(told in finding for finding in findings), findings


UNKNOWN_FIELDS: dict[str, Callable[[World], Any]] = {
    "route": lambda it: rule(it, 3)["backendRefs"][0].update(wieght=1),
    "gateway": lambda it: spec(it, "Gateway", "voice-agent")["listeners"][0].update(host="x"),
    "monitor": lambda it: spec(it, "ServiceMonitor", "voice-agent")["endpoints"][0].update(intervall="5s"),
    "alert": lambda it: spec(it, "PrometheusRule", "voice-agent")["groups"][1]["rules"][0].update(after="5m"),
    "rollout": lambda it: rollout(it).update(stepps=[]),
    "analysis": lambda it: spec(it, "AnalysisTemplate", "voice-agent-rollout")["metrics"][0].update(failLimit=1),
    "pods of a rollout": lambda it: spec(it, "Rollout", "voice-agent-rollout")["template"]["spec"].update(nodename="x"),
    "deployment": lambda it: spec(it, "Deployment", "voice-agent-blue").update(replica=2),
    "probe": lambda it: container(it)["readinessProbe"].update(path="/"),
    "budget": lambda it: spec(it, "PodDisruptionBudget", "voice-agent-blue").update(maxUnavaliable=1),
    "policy": lambda it: spec(it, "NetworkPolicy", "voice-agent-blue").update(policyType=["Ingress"]),
}


@pytest.mark.parametrize("where", UNKNOWN_FIELDS)
def test_schemas_refuse_unknown_fields(where: str) -> None:
    """A misspelt field is found, in built-in kinds and in custom ones."""
    known = world()
    UNKNOWN_FIELDS[where](known)
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        for objects in known.parts.values():
            for it in objects:
                check_schema(it)
