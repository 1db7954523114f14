"""What no schema knows of those who watch: monitors, a canary's judges, the Job of a cutover."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from tests.deploy.manifests import Manifests, Object, containers, labels, matches, of_agents, settings_of, title
from tests.deploy.workload_lint import Findings
from voice_agent.settings import Settings

MONITORED = "/metrics"
ENDED = frozenset({1, 2, 3})
"""With which a cutover exits that was rolled back, was refused, or has lost callers."""


def watching(known: Manifests) -> Findings:
    """Monitors find Services, and a Rollout finds what it works with."""
    found: set[str] = set()
    for monitor in known.all("ServiceMonitor"):
        services = [it for it in known.all("Service") if matches(monitor["spec"]["selector"], labels(it))]
        found |= {service["metadata"]["name"] for service in services}
        for end in monitor["spec"]["endpoints"]:
            if end["path"] != MONITORED:
                yield f"{title(monitor)}: {end['path']} is not where the metrics are."
            if not all(any(port["name"] == end["port"] for port in it["spec"]["ports"]) for it in services):
                yield f"{title(monitor)}: not every Service has a port {end['port']}."
    for name in sorted({"voice-agent-blue", "voice-agent-green", "voice-edge"} - found):
        yield f"Service/{name}: no ServiceMonitor finds it."
    for rollout in known.all("Rollout"):
        canary = rollout["spec"]["strategy"]["canary"]
        plugin = canary["trafficRouting"]["plugins"]["argoproj-labs/gatewayAPI"]
        named = [("Service", canary["stableService"]), ("Service", canary["canaryService"])]
        judges = canary.get("analysis", {"templates": []})["templates"]
        if not judges and any(step.get("pause") for step in canary["steps"]):
            yield f"{title(rollout)}: it goes on by itself, and nothing judges it."
        named += [("AnalysisTemplate", it["templateName"]) for it in judges]
        named.append(("HTTPRoute", plugin["httpRoute"]))
        for kind, name in named:
            if known.find(kind, name) is None:
                yield f"{title(rollout)}: there is no {kind} {name}."
    for it in _namespaced(known):
        if it["metadata"].get("namespace") != "voice":
            yield f"{title(it)}: it is not in the namespace voice."


def judging(known: Manifests) -> Findings:
    """An analysis that has no number must fail: neither silence nor 0 / 0 is a good sign."""
    for template in known.all("AnalysisTemplate"):
        for metric in template["spec"]["metrics"]:
            where = f"{title(template)}, {metric['name']}"
            for words, result in (("an empty answer", []), ("NaN", [math.nan])):
                if _holds(metric["successCondition"], result):
                    yield f"{where}: {words} passes for a good one."
                if "failureCondition" in metric and not _holds(metric["failureCondition"], result):
                    yield f"{where}: {words} is no failure, and only makes the canary wait for somebody."
            if not _holds(metric["successCondition"], [0.0]):
                yield f"{where}: nothing passes."


def _holds(condition: str, result: list[float]) -> bool:
    """What Argo Rollouts makes of a condition; an error, such as an index beyond the end, is no success."""
    text = condition.replace("&&", " and ").replace("||", " or ").replace("!isNaN", " not isNaN")
    names = {"result": result, "len": len, "isNaN": math.isnan, "__builtins__": {}}
    try:
        return bool(eval(text, names))  # noqa: S307  # conditions of this repository's own files
    except IndexError:
        return False


def _namespaced(known: Manifests) -> Iterator[Object]:
    of_cluster = ("Namespace", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    return (it for objects in known.parts.values() for it in objects if it["kind"] not in of_cluster)


def cutovers(known: Manifests) -> Findings:
    """A cutover that was killed is gone on with, and one that has ended is not begun anew."""
    for job in known.all("Job"):
        spec = job["spec"]
        template = spec["template"]["spec"]
        rules = spec.get("podFailurePolicy", {}).get("rules", [])
        exits = [(rule["action"], rule.get("onExitCodes", {})) for rule in rules]
        if template["restartPolicy"] != "Never" or not exits or exits[0][0] != "FailJob":
            yield f"{title(job)}: a cutover that rolled back would be begun anew."
        elif exits[0][1].get("operator") != "In" or set(exits[0][1]["values"]) != ENDED:
            yield f"{title(job)}: it takes another exit status than {sorted(ENDED)} for the end of a cutover."
        if not spec.get("backoffLimit", 6):
            yield f"{title(job)}: nobody goes on with a cutover whose pod was killed."
        if template.get("terminationGracePeriodSeconds", 30) < _longest_drain_s(known):
            yield f"{title(job)}: SIGTERM rolls back, which takes as long as a drain."


def _longest_drain_s(known: Manifests) -> int:
    agents = [it for _, template in of_agents(known.pods()) for it in containers(template)]
    return max(int(settings_of(it, known).get("VOICE_DRAIN_DEADLINE", Settings().drain_deadline)) for it in agents)


CHECKS: tuple[Callable[[Manifests], Findings], ...] = (watching, judging, cutovers)
