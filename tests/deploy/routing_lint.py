"""What no schema knows of the way in: routes and load balancers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.deploy.aws_lint import MARGIN_S
from tests.deploy.manifests import Manifests, Object, containers, labels, of_agents, settings_of, title
from tests.deploy.workload_lint import Findings, pre_stop_sleep_s
from voice_agent.runtime.ports import COLOR_HEADER
from voice_agent.web.parameters import NEW_CALL_PATHS
from voice_agent.websocket.keepalive import PING_S

ALB = "alb.ingress.kubernetes.io/"
OUTSIDE = ("/realtime", "/v1/realtime", "/openai", "/twilio")
"""What callers may reach; everything else is for the cluster."""
ALB_VALUES = 5
"""Values of all conditions that a rule of an ALB takes; the host is one of them."""
OF_COLOR = "voice-agent-"
COLORS = ("blue", "green")
KEY = "replace-me"
"""Stands for the key beside a color; too short for `voice-agent smoke`, so that it is not forgotten."""
FULL = 100


def is_open(path: str) -> bool:
    """Whether a path, as a route writes it, leads to something that callers may reach and to nothing else."""
    return any(path == root or path.startswith((root + "/", root + "/call_")) for root in OUTSIDE)


def of_color(deployment: Object) -> bool:
    """Whether a Deployment's pods serve the calls of a color."""
    return labels(deployment).get("app.kubernetes.io/name") == "voice-agent"


def has_port(service: Object, port: int) -> bool:
    """Whether a Service offers a port."""
    return any(it["port"] == port for it in service["spec"]["ports"])


def weights(where: str, shares: list[Any]) -> Findings:
    """Percents, for a cutover reads them as such."""
    if len(shares) > 1 and not all(isinstance(share, int) and 0 <= share <= FULL for share in shares):
        yield f"{where}: weights have to be 0 to {FULL}, not {shares}."
    elif len(shares) > 1 and sum(shares) != FULL:
        yield f"{where}: weights add up to {sum(shares)} instead of {FULL}."


def takes_resumes(rule: Object) -> bool:
    """Whether a rule of an HTTPRoute is for calls that come back."""
    names = {it["name"] for match in rule["matches"] for it in match.get("queryParams", ())}
    return bool(names & {"call_id", "call_key"})


def routes(known: Manifests) -> Findings:
    """HTTPRoutes lead to Services that exist, by weights that add up, and never inside."""
    for route in known.all("HTTPRoute"):
        for parent in route["spec"]["parentRefs"]:
            gateway = known.find("Gateway", parent["name"])
            listeners = [it["name"] for it in gateway["spec"]["listeners"]] if gateway else []
            if parent.get("sectionName", *listeners[:1]) not in listeners:
                yield f"{title(route)}: there is no listener {parent.get('sectionName')} of a Gateway {parent['name']}."
        for number, rule in enumerate(route["spec"]["rules"]):
            where = f"{title(route)}, rule {number}"
            for match in rule["matches"]:
                if not is_open(match["path"]["value"]):
                    yield f"{where}: {match['path']['value']} is not for outside."
            for backend in rule["backendRefs"]:
                service = known.find("Service", backend["name"])
                if service is None or not has_port(service, backend["port"]):
                    yield f"{where}: there is no Service {backend['name']} with port {backend['port']}."
            yield from weights(where, [backend.get("weight", 1) for backend in rule["backendRefs"]])
            if takes_resumes(rule) and "sessionPersistence" in rule:
                yield f"{where}: resumes must not be sticky."
            if rule.get("timeouts", {}).get("request") != "0s":
                yield f"{where}: a call would be cut off at the implementation's timeout."
            if len(rule["backendRefs"]) == 1:
                # A Rollout's Services are of whichever color its revisions are.
                name = rule["backendRefs"][0]["name"]
                colors = [name.removeprefix(OF_COLOR)] if known.find("Deployment", name) else COLORS
                asked = [match.get("headers", []) for match in rule["matches"]]
                if not all(len(it) == 1 and _asks_for_key(it[0], it[0]["value"], *colors) for it in asked):
                    yield f"{where}: anybody may choose {name}, whatever the weights."


def _asks_for_key(header: Object, value: str, *colors: str) -> bool:
    """Whether a match is for those alone who show the key beside the color."""
    name = str(header.get("name") or header.get("httpHeaderName"))
    is_exact = header.get("type", "Exact") == "Exact"
    return name.lower() == COLOR_HEADER.lower() and is_exact and value in [f"{color}:{KEY}" for color in colors]


def ways_in(known: Manifests) -> Findings:
    """At whatever path a call may start, a way in by weight is there: a new path of the server is routed everywhere."""
    for route in known.all("HTTPRoute"):
        rules = [rule for rule in route["spec"]["rules"] if len(rule["backendRefs"]) > 1]
        bare = [match["path"] for rule in rules for match in rule["matches"] if set(match) == {"path"}]
        for path in NEW_CALL_PATHS if rules else ():
            if not any(_leads(it, path) for it in bare):
                yield f"{title(route)}: nobody gets to {path}."
    for ingress in known.all("Ingress"):
        weighted = [
            it["path"]
            for rule in ingress["spec"]["rules"]
            for it in rule["http"]["paths"]
            if f"{ALB}conditions.{it['backend']['service']['name']}" not in ingress["metadata"]["annotations"]
        ]
        for path in NEW_CALL_PATHS:
            if path not in weighted:
                yield f"{title(ingress)}: nobody gets to {path}."


def _leads(match: Object, path: str) -> bool:
    return path == match["value"] or (match["type"] == "PathPrefix" and path.startswith(match["value"] + "/"))


def read_annotation(ingress: Object, name: str) -> tuple[Any, str | None]:
    """What an annotation holds, or what is wrong with it."""
    text = ingress["metadata"]["annotations"].get(ALB + name)
    if text is None:
        return None, f"{title(ingress)}: there is no annotation {name}."
    try:
        return json.loads(text), None
    except ValueError as error:
        return None, f"{title(ingress)}: {name} is not JSON: {error}."


def attributes(ingress: Object, name: str) -> dict[str, str]:
    """``a=1,b=2`` as a dictionary."""
    text = ingress["metadata"]["annotations"].get(ALB + name, "")
    return dict(part.split("=", 1) for part in text.split(",") if part)


def ingress_rules(known: Manifests) -> Findings:
    """Every path has an action or a Service, every rule fits an ALB, and resumes come before first connects."""
    for ingress in known.all("Ingress"):
        used: list[str] = []
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                name, port = path["backend"]["service"]["name"], path["backend"]["service"]["port"]
                used.append(name)
                conditions: Any = []
                if ALB + f"conditions.{name}" in ingress["metadata"]["annotations"]:
                    conditions, problem = read_annotation(ingress, f"conditions.{name}")
                    if problem:
                        yield problem
                        continue
                values = [it for part in conditions for key, it in part.items() if key.endswith("Config")]
                count = 1 + bool(rule.get("host")) + sum(len(value["values"]) for value in values)
                if count > ALB_VALUES:
                    yield f"{title(ingress)}: the rule of {name} has {count} values, an ALB takes {ALB_VALUES}."
                patterns = [it["pathPatternConfig"]["values"] for it in conditions if it["field"] == "path-pattern"]
                for pattern in [path["path"], *(one for some in patterns for one in some)]:
                    if not is_open(pattern):
                        yield f"{title(ingress)}: {pattern} is not for outside."
                headers = [it["httpHeaderConfig"] for it in conditions if it["field"] == "http-header"]
                if name.startswith(OF_COLOR):
                    color = name.removeprefix(OF_COLOR)
                    asked = [(it, value) for it in headers for value in it["values"]]
                    if not asked or not all(_asks_for_key(it, value, color) for it, value in asked):
                        yield f"{title(ingress)}: anybody may choose {name}, whatever the weights."
                if port.get("name") != "use-annotation":
                    service = known.find("Service", name)
                    if service is None or not has_port(service, port["number"]):
                        yield f"{title(ingress)}: there is no Service {name} with port {port.get('number')}."
        for name in sorted(it["metadata"]["name"] for it in known.all("Deployment") if of_color(it)):
            if name not in used:
                yield f"{title(ingress)}: once a cutover leaves {name} the controller deletes its target group."
        for key in ingress["metadata"]["annotations"]:
            kind, _, name = key.removeprefix(ALB).partition(".")
            if kind in ("actions", "conditions") and name not in used:
                yield f"{title(ingress)}: {kind}.{name} belongs to no path."
        if "voice-first" in used and used.index("voice-first") < max(
            at for at, name in enumerate(used) if name != "voice-first"
        ):
            yield f"{title(ingress)}: a rule after that of first connects is never reached."


def ingress_actions(known: Manifests) -> Findings:
    """Forwards name Services that exist, by weights that add up; only first connects are sticky."""
    for ingress in known.all("Ingress"):
        for name in ("voice-first", "voice-resume", "voice-resume-path"):
            action, problem = read_annotation(ingress, f"actions.{name}")
            if problem:
                yield problem
                continue
            forward = action["forwardConfig"]
            for group in forward["targetGroups"]:
                service = known.find("Service", group["serviceName"])
                if service is None or not has_port(service, group["servicePort"]):
                    yield f"{title(ingress)}: {name} names {group['serviceName']}, which is no Service with that port."
            yield from weights(f"{title(ingress)}, {name}", [group["weight"] for group in forward["targetGroups"]])
            sticky = forward.get("targetGroupStickinessConfig", {})
            if sticky.get("enabled", False) is not (name == "voice-first"):
                yield f"{title(ingress)}: first connects are sticky, resumes are not; {name} has it the other way."
            if name == "voice-first" and sticky.get("durationSeconds") != 300:
                yield f"{title(ingress)}: {name} is sticky for another time than 300 s."


def ingress_attributes(known: Manifests) -> Findings:
    """An ALB that does not cut calls off, and asks the right question."""
    drains_s = [
        pre_stop_sleep_s(it) + MARGIN_S + int(settings_of(it, known).get("VOICE_DRAIN_DEADLINE", 0))
        for _, template in of_agents(known.pods())
        for it in containers(template)
    ]
    for ingress in known.all("Ingress"):
        notes = ingress["metadata"]["annotations"]
        idle_s = int(attributes(ingress, "load-balancer-attributes").get("idle_timeout.timeout_seconds", 60))
        delay_s = int(attributes(ingress, "target-group-attributes").get("deregistration_delay.timeout_seconds", 300))
        if idle_s < 3 * PING_S:
            yield f"{title(ingress)}: an idle timeout of {idle_s} s ends calls that miss a ping."
        if delay_s < max(drains_s):
            needed_s = max(drains_s)
            yield f"{title(ingress)}: the ALB cuts calls off after {delay_s} s; preStop and drain need {needed_s} s."
        if attributes(ingress, "target-group-attributes").get("stickiness.enabled", "false") != "false":
            yield f"{title(ingress)}: stickiness of the groups would bind resumes."
        wanted = {
            "target-type": "ip",
            "healthcheck-path": "/healthz/realtime",
            "backend-protocol-version": "HTTP1",
            "success-codes": "200",
        }
        for name, value in wanted.items():
            if notes.get(ALB + name) != value:
                yield f"{title(ingress)}: {name} has to be {value}."
        if "TLS13" not in notes.get(ALB + "ssl-policy", ""):
            yield f"{title(ingress)}: its TLS policy is an old one."
        for namespace in known.parts["routing/aws-load-balancer-controller"]:
            is_namespace = namespace["kind"] == "Namespace"
            if is_namespace and labels(namespace).get("elbv2.k8s.aws/pod-readiness-gate-inject") != "enabled":
                yield f"{title(namespace)}: pods get no readiness gate."


CHECKS: tuple[Callable[[Manifests], Findings], ...] = (
    routes,
    ways_in,
    ingress_rules,
    ingress_actions,
    ingress_attributes,
)
