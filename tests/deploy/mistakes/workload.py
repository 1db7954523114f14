"""Mistakes of pods and what belongs to them, and what `workload_lint` has to say of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.deploy.manifests import Manifests
from tests.deploy.places import blue, config, container, known_release, spec, variable

PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
HOST = "kubernetes.io/hostname"
BY_DEPLOYMENT = {
    "topologyKey": HOST,
    "labelSelector": {"matchLabels": {"voice-agent/color": "rollout"}},
    "matchLabelKeys": ["pod-template-hash"],
}
FROM_BLUE = {"topologyKey": HOST, "labelSelector": {"matchLabels": {"voice-agent/color": "blue"}}}

MISTAKES: dict[str, tuple[Callable[[Manifests], Any], str]] = {
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
    "ALB whose pods wait before they drain": (
        lambda it: container(it)["lifecycle"]["preStop"]["exec"].update(
            command=["sh", "-c", "sleep 31; voice-agent drain --wait"]
        ),
        "preStop and drain need 661 s",
    ),
    "Rollout spread by the label of a Deployment's pods": (
        lambda it: spec(it, "Rollout", "voice-agent-rollout")["template"]["spec"]["topologySpreadConstraints"][
            0
        ].update(matchLabelKeys=["pod-template-hash"]),
        "spread by the label pod-template-hash",
    ),
    "Rollout kept apart by the label of a Deployment's pods": (
        lambda it: spec(it, "Rollout", "voice-agent-rollout")["template"]["spec"].update(
            affinity={"podAntiAffinity": {PREFERRED: [{"weight": 1, "podAffinityTerm": BY_DEPLOYMENT}]}}
        ),
        "spread by the label pod-template-hash",
    ),
    "pods kept apart from others than themselves": (
        lambda it: spec(it, "Rollout", "voice-agent-rollout")["template"]["spec"].update(
            affinity={"podAntiAffinity": {PREFERRED: [{"weight": 1, "podAffinityTerm": FROM_BLUE}]}}
        ),
        "spread by labels that its pods do not have",
    ),
    "color of no label": (
        lambda it: known_release(it)["labels"].pop("voice-agent/release"),
        "VOICE_COLOR is not the color",
    ),
}
