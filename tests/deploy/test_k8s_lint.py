"""The lint itself: mistakes are planted one by one, and each has to be found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it carries no types
import kubernetes_validate  # type: ignore[import-untyped]  # the same
import pytest

from tests.deploy.manifests import Manifests, manifests
from tests.deploy.mistakes import MISTAKES
from tests.deploy.places import container, rollout, rule, spec
from tests.deploy.test_k8s import LINT, check_schema


@pytest.mark.parametrize("mistake", MISTAKES)
def test_lint_finds_each_planted_mistake(mistake: str) -> None:
    """One change makes the lint say one thing that it did not say before."""
    plant, told = MISTAKES[mistake]
    known = manifests()
    plant(known)
    findings = [finding for check in LINT for finding in check(known)]
    assert any(told in finding for finding in findings), findings


UNKNOWN_FIELDS: dict[str, Callable[[Manifests], Any]] = {
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
    known = manifests()
    UNKNOWN_FIELDS[where](known)
    [changed] = [
        it
        for part, objects in manifests().parts.items()
        for before, it in zip(objects, known.parts[part], strict=True)
        if it != before
    ]
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check_schema(changed)
