"""What no schema knows of the way in: routes and load balancers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from tests.deploy.aws_lint import MARGIN_S
from tests.deploy.manifests import (
    EDGE,
    Manifests,
    Object,
    containers,
    labels,
    of_agents,
    of_edges,
    settings_of,
    title,
)
from tests.deploy.workload_lint import Findings, pre_stop_sleep_s
from voice_agent.runtime.ports import COLOR_HEADER
from voice_agent.web.parameters import NEW_CALL_PATHS
from voice_agent.websocket.keepalive import PING_S

ALB = "alb.ingress.kubernetes.io/"
OUTSIDE = ("/realtime", "/v1/realtime", "/openai", "/twilio")
"""What callers may reach; everything else is for the cluster."""
HEALTH = "/healthz/realtime"
"""What edges ask as well, of a load balancer that is reached from inside only."""
INSIDE = "voice-inside"
"""Such a Gateway, and the Service whose name edges know."""
ALB_VALUES = 5
"""Values of all conditions that a rule of an ALB takes; the host is one of them."""
OF_COLOR = "voice-agent-"
COLORS = ("blue", "green")
KEY = "replace-me"
"""Stands for the key beside a color; too short for `voice-agent smoke`, so that it is not forgotten."""
FULL = 100
MAX_DELAY_S = 3600


def is_open(path: str, *, inside: bool = False) -> bool:
    """Whether a path, as a route writes it, leads to something that callers may reach and to nothing else."""
    return (inside and path == HEALTH) or any(
        path == root or path.startswith((root + "/", root + "/call_")) for root in OUTSIDE
    )


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
        inside = _is_inside(route)
        for number, rule in enumerate(route["spec"]["rules"]):
            where = f"{title(route)}, rule {number}"
            for match in rule["matches"]:
                if not is_open(match["path"]["value"], inside=inside):
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
            if [backend["name"] for backend in rule["backendRefs"]] == [EDGE]:
                continue  # Which pod a call gets is decided behind it.
            if len(rule["backendRefs"]) == 1:
                # A Rollout's Services are of whichever color its revisions are.
                name = rule["backendRefs"][0]["name"]
                colors = [name.removeprefix(OF_COLOR)] if known.find("Deployment", name) else COLORS
                asked = [match.get("headers", []) for match in rule["matches"]]
                if not all(len(it) == 1 and _asks_for_key(it[0], it[0]["value"], *colors) for it in asked):
                    yield f"{where}: anybody may choose {name}, whatever the weights."


def _is_inside(route: Object) -> bool:
    """Whether a route or an Ingress is for edges alone."""
    if route["kind"] == "Ingress":
        return bool(route["metadata"]["annotations"].get(f"{ALB}scheme") == "internal")
    return [parent["name"] for parent in route["spec"]["parentRefs"]] == [INSIDE]


def _of_edges(ingress: Object) -> bool:
    """Whether an Ingress leads to edges."""
    return bool(ingress["metadata"]["name"] == EDGE)


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
        if _is_inside(route) and {"type": "Exact", "value": HEALTH} not in bare:
            yield f"{title(route)}: no edge learns whether calls are taken."
    for ingress in known.all("Ingress"):
        weighted = [
            it["path"]
            for rule in ingress["spec"]["rules"]
            for it in rule["http"]["paths"]
            if f"{ALB}conditions.{it['backend']['service']['name']}" not in ingress["metadata"]["annotations"]
        ]
        prefixes = [f"{root}/" for root in weighted] if _of_edges(ingress) else []
        for path in NEW_CALL_PATHS:
            if path not in weighted and not path.startswith(tuple(prefixes)):
                yield f"{title(ingress)}: nobody gets to {path}."
        if _is_inside(ingress) and HEALTH not in weighted:
            yield f"{title(ingress)}: no edge learns whether calls are taken."


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
                    if not is_open(pattern, inside=_is_inside(ingress)):
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
            if name not in used and not _of_edges(ingress):
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
    for ingress in (it for it in known.all("Ingress") if not _of_edges(it)):
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
    of_pods_s, of_edges_s = (
        max(
            pre_stop_sleep_s(it) + MARGIN_S + int(settings_of(it, known).get(name, 0))
            for _, template in chosen
            for it in containers(template)
        )
        for name, chosen in (
            ("VOICE_DRAIN_DEADLINE", of_agents(known.pods())),
            ("VOICE_EDGE_DRAIN_DEADLINE", of_edges(known.pods())),
        )
    )
    for ingress in known.all("Ingress"):
        needed_s = of_edges_s if _of_edges(ingress) else of_pods_s
        notes = ingress["metadata"]["annotations"]
        idle_s = int(attributes(ingress, "load-balancer-attributes").get("idle_timeout.timeout_seconds", 60))
        delay_s = int(attributes(ingress, "target-group-attributes").get("deregistration_delay.timeout_seconds", 300))
        if idle_s < 3 * PING_S:
            yield f"{title(ingress)}: an idle timeout of {idle_s} s ends calls that miss a ping."
        if delay_s < needed_s:
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
        if "TLS13" not in notes.get(ALB + "ssl-policy", "") and not _is_inside(ingress):
            yield f"{title(ingress)}: its TLS policy is an old one."
        if delay_s > MAX_DELAY_S:
            yield f"{title(ingress)}: a deregistration delay is 0 to {MAX_DELAY_S} s."
        for namespace in known.parts["routing/aws-load-balancer-controller"]:
            is_namespace = namespace["kind"] == "Namespace"
            if is_namespace and labels(namespace).get("elbv2.k8s.aws/pod-readiness-gate-inject") != "enabled":
                yield f"{title(namespace)}: pods get no readiness gate."


def names_inside(known: Manifests) -> Findings:
    """The name that edges are given is a Service, and what stands behind it answers to that name."""
    for _, template in of_edges(known.pods()):
        for container in containers(template):
            for address in settings_of(container, known)["VOICE_EDGE_TO"].split(","):
                url = urlsplit(address)
                name, _, domain = (url.hostname or "").partition(".")
                if known.find("Service", name) is None or domain != "voice.svc.cluster.local":
                    yield f"VOICE_EDGE_TO: there is no Service {url.hostname}."
                for route in (it for it in known.all("HTTPRoute") if _is_inside(it)):
                    if url.hostname not in route["spec"]["hostnames"]:
                        yield f"{title(route)}: it does not answer to {url.hostname}."
                for ingress in (it for it in known.all("Ingress") if _is_inside(it)):
                    if [url.hostname] != [rule.get("host") for rule in ingress["spec"]["rules"]]:
                        yield f"{title(ingress)}: it does not answer to {url.hostname}."
    insides = [it for it in (*known.all("HTTPRoute"), *known.all("Ingress")) if _is_inside(it)]
    if {it["kind"] for it in insides} != {"HTTPRoute", "Ingress"}:
        yield "A way from edges to pods is missing."


CHECKS: tuple[Callable[[Manifests], Findings], ...] = (
    routes,
    ways_in,
    ingress_rules,
    ingress_actions,
    ingress_attributes,
    names_inside,
)
