"""What no schema knows of pods: findings are sentences, and an empty list is what one wants."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from pydantic import ValidationError

from tests.deploy.manifests import (
    Manifests,
    Object,
    containers,
    declared_ports,
    labels,
    matches,
    of_agents,
    of_edges,
    settings_of,
    template_of,
    title,
)
from tests.deploy.prometheus import edge_metrics, pod_metrics
from voice_agent.edge_settings import EdgeSettings
from voice_agent.operate.drain import EXTRA_WAIT_S
from voice_agent.settings import CALLERS_KEY, EDGE_PREFIX, PREFIX, ROUTERS_KEY, SECRETS, Settings, known_names

EXIT_S = 20
"""What closing handshakes, the last HTTP requests and a slow node may take after the last call has gone."""
EDGE_NAMES = frozenset(EDGE_PREFIX + name.upper() for name in EdgeSettings.model_fields)
UNITS = {"": 1.0, "m": 0.001, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "k": 1e3, "M": 1e6, "G": 1e9}
DRAIN = "voice-agent drain --wait"
REVISION_LABEL = {
    "Deployment": "pod-template-hash",
    "StatefulSet": "controller-revision-hash",
    "Rollout": "rollouts-pod-template-hash",
}
"""What each controller labels its pods with, so that those of one template can be told from others."""
TAG = re.compile(r"^(?:[\w.-]+(?::\d+)?/)?[\w./-]+:(?!latest$)[\w][\w.-]*(@sha256:[0-9a-f]{64})?$")

Findings = Iterator[str]


def amount(quantity: str) -> float:
    """A quantity of Kubernetes as a number: ``500m`` is 0.5."""
    found = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(quantity))
    assert found, quantity
    return float(found[1]) * UNITS[found[2]]


def pre_stop_sleep_s(container: Object) -> int:
    """How long preStop waits before it drains."""
    command = " ".join(container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ()))
    found = re.search(r"\bsleep (\d+)", command)
    return int(found[1]) if found else 0


def selectors(known: Manifests) -> Findings:
    """A workload owns its own pods, and whoever chooses pods chooses some."""
    all_labels = [labels(template) for _, template in known.pods()]
    for workload, template in known.pods():
        if workload["kind"] not in ("CronJob", "Job") and not matches(workload["spec"]["selector"], labels(template)):
            yield f"{title(workload)}: its selector does not choose its own pods."
        spec = template["spec"]
        spreads = [it["labelSelector"] for it in spec.get("topologySpreadConstraints", ())]
        spreads += [it["labelSelector"] for it in _pod_affinities(spec)]
        if not all(matches(it, labels(template)) for it in spreads):
            yield f"{title(workload)}: it is spread by labels that its pods do not have."
        terms = [*spec.get("topologySpreadConstraints", ()), *_pod_affinities(spec)]
        for key in {key for term in terms for key in term.get("matchLabelKeys", ())}:
            if key not in labels(template) and key != REVISION_LABEL.get(workload["kind"]):
                yield f"{title(workload)}: it is spread by the label {key}, which its pods never carry."
    for it in known.all("PodDisruptionBudget"):
        if not any(matches(it["spec"]["selector"], have) for have in all_labels):
            yield f"{title(it)}: its selector chooses no pod."
    for it in known.all("NetworkPolicy"):
        if not any(matches(it["spec"]["podSelector"], have) for have in all_labels):
            yield f"{title(it)}: its podSelector chooses no pod."


def ports(known: Manifests) -> Findings:
    """Probes and Services name ports that somebody listens on."""
    for workload, template in known.pods():
        there = declared_ports(template)
        for container in containers(template):
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                port = container.get(probe, {}).get("httpGet", {}).get("port")
                if port is not None and port not in there:
                    yield f"{title(workload)}: {probe} asks port {port}, which no container declares."
            for name in ("VOICE_PORT", "VOICE_EDGE_PORT"):
                port = settings_of(container, known).get(name)
                if port is not None and int(port) not in there:
                    yield f"{title(workload)}: {name} is {port}, which is not declared."
    for service in (it for it in known.all("Service") if it["spec"].get("type") != "ExternalName"):
        wanted = {"matchLabels": service["spec"].get("selector", {})}
        chosen = [template for _, template in known.pods() if matches(wanted, labels(template))]
        if not service["spec"].get("selector") or not chosen:
            yield f"{title(service)}: its selector chooses no pod."
        for template in chosen:
            for port in service["spec"]["ports"]:
                if port.get("targetPort", port["port"]) not in declared_ports(template):
                    yield f"{title(service)}: targetPort {port.get('targetPort')} is declared by none of its pods."


def probes(known: Manifests) -> Findings:
    """Liveness must not kill what drains, and readiness has to tell that it does."""
    wanted = {"startupProbe": "live", "livenessProbe": "live", "readinessProbe": "realtime"}
    for workload, template in [*of_agents(known.pods()), *of_edges(known.pods())]:
        for container in containers(template):
            for probe, leaf in wanted.items():
                if container.get(probe, {}).get("httpGet", {}).get("path") != f"/healthz/{leaf}":
                    yield f"{title(workload)}: {probe} has to ask /healthz/{leaf}."


def grace(known: Manifests) -> Findings:
    """preStop and the drain share the grace period, and a call must not be cut off by it."""
    for workload, template in of_agents(known.pods()):
        for container in containers(template):
            command = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ())
            if DRAIN not in " ".join(command):
                yield f"{title(workload)}: preStop does not `{DRAIN}`."
            deadline_s = int(settings_of(container, known).get("VOICE_DRAIN_DEADLINE", Settings().drain_deadline))
            needed_s = pre_stop_sleep_s(container) + deadline_s + EXTRA_WAIT_S + EXIT_S
            given_s = template["spec"].get("terminationGracePeriodSeconds", 30)
            if given_s < needed_s:
                yield f"{title(workload)}: a grace of {given_s} s is too short, preStop and drain need {needed_s} s."


def grace_of_edges(known: Manifests) -> Findings:
    """As of pods, but that the drain begins with SIGTERM."""
    default_s = EdgeSettings.model_fields["drain_deadline"].default
    for workload, template in of_edges(known.pods()):
        for container in containers(template):
            deadline_s = int(settings_of(container, known).get("VOICE_EDGE_DRAIN_DEADLINE", default_s))
            sleep_s = pre_stop_sleep_s(container)
            needed_s = sleep_s + deadline_s + EXIT_S
            given_s = template["spec"].get("terminationGracePeriodSeconds", 30)
            if not sleep_s:
                yield f"{title(workload)}: preStop does not wait until nobody is sent there any more."
            if given_s < needed_s:
                yield f"{title(workload)}: a grace of {given_s} s is too short, preStop and drain need {needed_s} s."


def resources(known: Manifests) -> Findings:
    """Both given, and nobody asks for more than he may use."""
    for workload, template in known.pods():
        for container in containers(template):
            asked, most = (container.get("resources", {}).get(kind, {}) for kind in ("requests", "limits"))
            for what in ("cpu", "memory"):
                if what not in asked or what not in most:
                    yield f"{title(workload)}: {container['name']} has no request or no limit of {what}."
                elif amount(asked[what]) > amount(most[what]):
                    yield f"{title(workload)}: {container['name']} requests more {what} than its limit."


def security(known: Manifests) -> Findings:
    """What the `restricted` policy asks for, and a little more."""
    for workload, template in known.pods():
        spec = template["spec"]
        pod = spec.get("securityContext", {})
        has_role = spec.get("serviceAccountName") in {
            it["name"] for binding in known.all("RoleBinding") for it in binding["subjects"]
        }
        if spec.get("automountServiceAccountToken") is not has_role:
            yield f"{title(workload)}: a token for the API is for pods that have a Role, and for no others."
        if spec.get("enableServiceLinks") is not False:
            yield f"{title(workload)}: Services nearby become variables, VOICE_AGENT_PORT among them."
        for container in containers(template):
            own = container.get("securityContext", {})
            both = pod | own
            lacking = {
                "runAsNonRoot": both.get("runAsNonRoot") is True and both.get("runAsUser", 0) > 0,
                "seccompProfile": both.get("seccompProfile", {}).get("type") == "RuntimeDefault",
                "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
                "readOnlyRootFilesystem": own.get("readOnlyRootFilesystem") is True,
                "capabilities": own.get("capabilities", {}) == {"drop": ["ALL"]},
            }
            for what in (name for name, is_right in lacking.items() if not is_right):
                yield f"{title(workload)}: {what} of {container['name']} is not as it should be."
            if not TAG.match(container["image"]):
                yield f"{title(workload)}: image {container['image']} is not pinned by a tag."


def references(known: Manifests) -> Findings:
    """What pods refer to is there: Secrets' keys, ConfigMaps, accounts, volumes."""
    for workload, template in known.pods():
        spec = template["spec"]
        account = spec.get("serviceAccountName")
        if account is None or known.find("ServiceAccount", account) is None:
            yield f"{title(workload)}: there is no ServiceAccount {account}."
        volumes = {it["name"]: it for it in spec.get("volumes", ())}
        volumes |= {it["metadata"]["name"]: it for it in workload["spec"].get("volumeClaimTemplates", ())}
        for volume in volumes.values():
            if "configMap" in volume and known.find("ConfigMap", volume["configMap"]["name"]) is None:
                yield f"{title(workload)}: there is no ConfigMap {volume['configMap']['name']}."
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim is not None and known.find("PersistentVolumeClaim", claim) is None:
                yield f"{title(workload)}: there is no PersistentVolumeClaim {claim}."
        for container in containers(template):
            for mount in container.get("volumeMounts", ()):
                if mount["name"] not in volumes:
                    yield f"{title(workload)}: {container['name']} mounts {mount['name']}, which is no volume."
            for source in container.get("envFrom", ()):
                if known.find("ConfigMap", source["configMapRef"]["name"]) is None:
                    yield f"{title(workload)}: there is no ConfigMap {source['configMapRef']['name']}."
            for entry in container.get("env", ()):
                key = entry.get("valueFrom", {}).get("secretKeyRef")
                secret = known.find("Secret", key["name"]) if key else None
                if key and key["key"] not in (secret or {}).get("stringData", {}):
                    yield f"{title(workload)}: no example has the key {key['key']} of the Secret {key['name']}."


def settings(known: Manifests) -> Findings:
    """Variables are settings of the server, their values are allowed, and none is given twice."""
    names = {*known_names(), *EDGE_NAMES, CALLERS_KEY, ROUTERS_KEY}
    for workload, template in known.pods():
        for container in containers(template):
            given = [entry["name"] for entry in container.get("env", ())]
            literal = settings_of(container, known)
            for name in sorted({*given, *literal}):
                if name.startswith(PREFIX) and name not in names:
                    yield f"{title(workload)}: {name} is not a setting."
                if given.count(name) > 1:
                    yield f"{title(workload)}: {name} is given twice."
                if name.removeprefix(PREFIX).lower() in SECRETS and name in literal:
                    yield f"{title(workload)}: {name} is a secret and stands in the open."
            if shown := {CALLERS_KEY, ROUTERS_KEY} & set(literal):
                yield f"{title(workload)}: {', '.join(sorted(shown))} stands in the open."
            fields = {
                name.removeprefix(PREFIX).lower(): value for name, value in literal.items() if name in known_names()
            }
            try:
                Settings(**fields)  # type: ignore[arg-type]  # the point is to have them checked
            except ValidationError as error:
                name = PREFIX + str(error.errors()[0]["loc"][0]).upper()
                yield f"{title(workload)}: {name} has a value that is refused."
    yield from _settings_of_edges(known)
    for workload, template in of_agents(known.pods()):
        literal = {name: value for it in containers(template) for name, value in settings_of(it, known).items()}
        given = [entry["name"] for it in containers(template) for entry in it.get("env", ())]
        if _color(template, literal) != labels(template).get("voice-agent/color", ""):
            yield f"{title(workload)}: VOICE_COLOR is not the color that its pods are labelled."
        if literal.get("VOICE_HOST") != "0.0.0.0":
            yield f"{title(workload)}: VOICE_HOST lets nobody in."
        for name in ("VOICE_POD", "VOICE_STORE_URL", "VOICE_API_KEYS", "VOICE_SECRET", "VOICE_ADMIN_TOKEN"):
            if name not in given:
                yield f"{title(workload)}: {name} is missing."


def _settings_of_edges(known: Manifests) -> Findings:
    for workload, template in of_edges(known.pods()):
        literal = {name: value for it in containers(template) for name, value in settings_of(it, known).items()}
        fields = {
            name.removeprefix(EDGE_PREFIX).lower(): value for name, value in literal.items() if name in EDGE_NAMES
        }
        try:
            EdgeSettings(**fields)  # type: ignore[arg-type]  # the point is to have them checked
        except ValidationError as error:
            name = EDGE_PREFIX + str(error.errors()[0]["loc"][0]).upper()
            yield f"{title(workload)}: {name} has a value that is refused."
        if literal.get("VOICE_EDGE_HOST") != "0.0.0.0":
            yield f"{title(workload)}: VOICE_EDGE_HOST lets nobody in."


def scaling(known: Manifests) -> Findings:
    """An autoscaler that finds its workload and its metric, and budgets that leave something to evict."""
    metrics = pod_metrics() | edge_metrics()
    for it in known.all("HorizontalPodAutoscaler"):
        spec = it["spec"]
        target = known.find(spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"])
        if target is None or target["apiVersion"] != spec["scaleTargetRef"]["apiVersion"]:
            yield f"{title(it)}: what it scales does not exist."
            continue
        if "replicas" in target["spec"]:
            yield f"{title(target)}: `replicas` would undo what its autoscaler did each time it is applied."
        if spec["minReplicas"] > spec["maxReplicas"]:
            yield f"{title(it)}: minReplicas is above maxReplicas."
        given = settings_of(containers(template_of(target))[0], known)
        capacity = int(given.get("VOICE_EDGE_MAX_CALLS", given.get("VOICE_MAX_CALLS", 0)))
        for metric in (metric["pods"] for metric in spec["metrics"] if metric["type"] == "Pods"):
            if metric["metric"]["name"] not in metrics:
                yield f"{title(it)}: {metric['metric']['name']} is not a metric of a pod or an edge."
            if amount(metric["target"]["averageValue"]) >= capacity:
                yield f"{title(it)}: it scales up only when pods are full ({capacity} calls)."
    for it in known.all("PodDisruptionBudget"):
        for workload, template in known.pods():
            least = it["spec"].get("minAvailable", 0)
            is_its = matches(it["spec"]["selector"], labels(template))
            if is_its and least and least >= workload["spec"].get("replicas", 1):
                yield f"{title(it)}: no node could ever be emptied."


CHECKS: tuple[Callable[[Manifests], Findings], ...] = (
    selectors,
    ports,
    probes,
    grace,
    grace_of_edges,
    resources,
    security,
    references,
    settings,
    scaling,
)


def _pod_affinities(spec: Object) -> Iterator[Object]:
    """Every term that places pods beside others or away from them, preferred or required."""
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = spec.get("affinity", {}).get(kind, {})
        yield from rules.get("requiredDuringSchedulingIgnoredDuringExecution", ())
        preferred = rules.get("preferredDuringSchedulingIgnoredDuringExecution", ())
        yield from (it["podAffinityTerm"] for it in preferred)


def _color(template: Object, literal: Mapping[str, str]) -> str | None:
    """What the pods call their color: as it is written, or the label that says it where revisions differ in theirs."""
    for entry in (entry for it in containers(template) for entry in it.get("env", ())):
        path = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath", "")
        if entry["name"] == "VOICE_COLOR" and path:
            of_label = path.removeprefix("metadata.labels['").removesuffix("']")
            return labels(template).get("voice-agent/color") if of_label in labels(template) else None
    return literal.get("VOICE_COLOR")
