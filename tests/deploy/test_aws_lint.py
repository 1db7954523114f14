"""The lint of what AWS takes: nothing is wrong with what is applied, and each planted mistake is found."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.deploy import aws_lint
from tests.deploy.terraform import Terraform

pytestmark = [pytest.mark.usefixtures("offline"), pytest.mark.xdist_group("terraform")]  # one example for all of them

Applied = tuple[dict[str, dict[str, Any]], dict[str, Any]]
"""The values of all resources, and of all outputs."""


@pytest.fixture(scope="module")
def applied(example: Terraform, resources: dict[str, dict[str, Any]]) -> Applied:
    return resources, {name: output["value"] for name, output in example.json("output", "-json").items()}


def group(applied: Applied) -> dict[str, Any]:
    """Green's target group."""
    return applied[0]['aws_lb_target_group.color["green"]']


def rule(applied: Applied, name: str) -> dict[str, Any]:
    """A listener rule."""
    return applied[0][f"aws_lb_listener_rule.{name}"]


def header(applied: Applied) -> dict[str, Any]:
    """By what a smoke call's rule knows it."""
    conditions = rule(applied, 'fixed["smoke-green"]')["condition"]
    found: dict[str, Any] = next(it for one in conditions for it in one["http_header"])
    return found


def shares(applied: Applied) -> list[dict[str, Any]]:
    """The target groups of resumes, and their weights."""
    found: list[dict[str, Any]] = rule(applied, 'weighted["resume-by-path"]')["action"][0]["forward"][0]["target_group"]
    return found


MISTAKES: dict[str, tuple[Callable[[Applied], Any], str]] = {
    "sticky targets behind rules of resumes": (
        lambda it: group(it)["stickiness"][0].update(enabled=True),
        'weighted["resume-by-query"]: AWS refuses a target group with stickiness',
    ),
    "delay of the drain alone": (lambda it: group(it).update(deregistration_delay="600"), "need 640 s"),
    "delay without the margin": (lambda it: group(it).update(deregistration_delay="610"), "need 640 s"),
    "longer preStop, same delay": (lambda it: it[1].update(pre_stop_s=31), "need 661 s"),
    "longer drain, same delay": (lambda it: it[1]["pod_environment"].update(VOICE_DRAIN_DEADLINE="900"), "need 940 s"),
    "grace without the margin": (lambda it: it[1].update(termination_grace_s=610), "termination_grace_s: 610 s"),
    "alarm in mid-drain": (
        lambda it: it[0]['aws_cloudwatch_metric_alarm.unhealthy_hosts["blue"]'].update(evaluation_periods=10),
        "a drain would set it off",
    ),
    "alarm beyond a day": (
        lambda it: it[0]["aws_cloudwatch_metric_alarm.no_healthy_host"].update(evaluation_periods=2000),
        "more than a day",
    ),
    "color for whoever asks": (lambda it: header(it).update(values=["green"]), "it asks for no key"),
    "color for a key that can be guessed": (lambda it: header(it).update(values=["green:key"]), "it asks for no key"),
    "color for any key": (lambda it: header(it).update(values=["green:*"]), "it asks for no key"),
    "color for a key without its name": (lambda it: header(it).update(values=["k" * 32]), "it asks for no key"),
    "color by another header": (lambda it: header(it).update(http_header_name="X-Color"), "it asks for no key"),
    "color that only weighted rules name": (
        lambda it: it[0].pop('aws_lb_listener_rule.fixed["smoke-green"]'),
        "leaves green, no rule names it",
    ),
    "fourth path": (
        lambda it: rule(it, 'weighted["first-connect"]')["condition"][0]["path_pattern"][0]["values"].append("/talk"),
        "a condition takes 3",
    ),
    "key beyond a value's length": (lambda it: header(it).update(values=["green:" + "k" * 123]), "longer than 128"),
    "wildcards": (
        lambda it: rule(it, 'fixed["private"]')["condition"][0]["path_pattern"][0].update(values=["/*/*/*", "/*/*/*"]),
        "takes 5 wildcards",
    ),
    "weights of nobody": (lambda it: [share.update(weight=0) for share in shares(it)], "not all of them 0"),
    "weight beyond 999": (lambda it: shares(it)[0].update(weight=1000), "weights ["),
    "health check that overlaps": (
        lambda it: group(it)["health_check"][0].update(timeout=5),
        "longer than its timeout",
    ),
    "health check of one answer": (
        lambda it: group(it)["health_check"][0].update(unhealthy_threshold=1),
        "thresholds are 2 to 10",
    ),
    "delay beyond an hour": (lambda it: group(it).update(deregistration_delay="3601"), "is 0 to 3600 s"),
    "HTTP/2 to the pods": (lambda it: group(it).update(protocol_version="HTTP2"), "an upgrade of HTTP/1.1"),
    "store for pods alone": (
        lambda it: it[0].pop("aws_vpc_security_group_ingress_rule.redis_from_operators[0]"),
        "nobody in who could run a cutover",
    ),
    "store for operators alone": (
        lambda it: it[0].pop("aws_vpc_security_group_ingress_rule.redis_from_pods[0]"),
        "does not let every pod in",
    ),
    "apostrophe": (
        lambda it: it[0]["aws_vpc_security_group_ingress_rule.redis_from_pods[0]"].update(
            description="The pods' store"
        ),
        "refuses a character of its description",
    ),
}


@pytest.mark.parametrize("check", aws_lint.CHECKS, ids=lambda check: check.__name__)
def test_lint_finds_nothing(applied: Applied, check: Any) -> None:
    """Nothing is wrong with what is applied, as far as this check knows."""
    assert list(check(*applied)) == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_lint_finds_each_planted_mistake(applied: Applied, mistake: str) -> None:
    """One change makes the lint say one thing that it did not say before."""
    plant, told = MISTAKES[mistake]
    planted = copy.deepcopy(applied)
    plant(planted)
    findings = [finding for check in aws_lint.CHECKS for finding in check(*planted)]
    assert any(told in finding for finding in findings), findings
