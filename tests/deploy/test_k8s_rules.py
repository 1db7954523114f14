"""Alerts and records, judged by promtool; the analysis of the canary and the adapter's query with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.manifests import K8S, ROOT, manifests, settings_of
from tests.deploy.prometheus import check_expressions, every, known_series, promtool, rules, series_in

CASES = Path(__file__).with_name("alerts.yaml")


def summaries_only(found: dict[str, Any]) -> dict[str, Any]:
    """Rules whose alerts say no more than their summary, which is what the cases spell out."""
    for group in found["groups"]:
        for rule in group["rules"]:
            if "annotations" in rule:
                rule["annotations"] = {"summary": rule["annotations"]["summary"]}
    return found


def run_cases(directory: Path, found: dict[str, Any], *, only: str = "") -> None:
    """`promtool test rules` in a directory of its own; of the cases those of one alert, or all."""
    cases = yaml.safe_load(CASES.read_text())
    cases["tests"] = [
        case for case in cases["tests"] if not only or any(only == it["alertname"] for it in case["alert_rule_test"])
    ]
    (directory / "rules.yaml").write_text(yaml.safe_dump(found, sort_keys=False))
    (directory / "alerts.yaml").write_text(yaml.safe_dump(cases) if only else CASES.read_text())
    promtool("test", "rules", str(directory / "alerts.yaml"))


def test_promtool_takes_the_rules(tmp_path: Path) -> None:
    """`promtool check rules` finds nothing in what the operator would load."""
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(rules()))
    promtool("check", "rules", str(file))


def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    """Every case of alerts.yaml holds."""
    run_cases(tmp_path, summaries_only(rules()))


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    """An alert that nobody tried is not there."""
    fires: dict[str, set[bool]] = {}
    for case in yaml.safe_load(CASES.read_text())["tests"]:
        for check in case["alert_rule_test"]:
            fires.setdefault(check["alertname"], set()).add(bool(check["exp_alerts"]))
    assert fires == {rule["alert"]: {True, False} for rule in every("alert")}


def rule_named(found: dict[str, Any], name: str) -> dict[str, Any]:
    """An alert."""
    every_rule = (rule for group in found["groups"] for rule in group["rules"])
    return next(rule for rule in every_rule if rule.get("alert") == name)


@pytest.mark.parametrize("name", [rule["alert"] for rule in every("alert")])
def test_cases_notice_an_alert_that_never_fires(name: str, tmp_path: Path) -> None:
    """The cases are able to fail: with any alert's condition turned round they do."""
    found = summaries_only(rules())
    rule_named(found, name)["expr"] = "vector(1) > 2"
    with pytest.raises(AssertionError, match=name):
        run_cases(tmp_path, found, only=name)


def test_rules_use_series_that_exist() -> None:
    """Every name in a rule is a metric of a pod or a record of ours."""
    used = {name for rule in (*every("alert"), *every("record")) for name in series_in(rule["expr"])}
    assert used - known_series() == set()


def test_a_stuck_drain_is_one_that_outlives_the_deadline() -> None:
    """The alert waits for VOICE_DRAIN_DEADLINE and a minute."""
    known = manifests()
    container = known.one("Deployment", "voice-agent-blue")["spec"]["template"]["spec"]["containers"][0]
    deadline_s = int(settings_of(container, known)["VOICE_DRAIN_DEADLINE"])
    assert rule_named(rules(), "VoiceDrainStuck")["for"] == f"{(deadline_s + 60) // 60}m"


def test_runbook_of_every_alert() -> None:
    """Alerts name a file of this repository, and the same one."""
    assert {rule["annotations"]["runbook"] for rule in every("alert")} == {"docs/runbook.md"}
    assert (ROOT / "docs").is_dir()


def test_analysis_asks_what_prometheus_understands(tmp_path: Path) -> None:
    """The canary's queries are PromQL on metrics that exist, about the new revision only."""
    metrics = manifests().one("AnalysisTemplate", "voice-agent-rollout")["spec"]["metrics"]
    queries = [it["provider"]["prometheus"]["query"].replace("{{args.revision}}", "abc") for it in metrics]
    check_expressions(queries, tmp_path)
    for query in queries:
        assert series_in(query) <= known_series()
        assert query.count('revision="abc"') == query.count("{")


def test_adapter_offers_what_the_autoscaler_asks_for(tmp_path: Path) -> None:
    """The adapter's query is PromQL, and its metric that of the autoscaler."""
    rules = yaml.safe_load((K8S / "monitoring" / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    for rule, scaled in zip(rules, ("voice-agent-blue", "voice-edge"), strict=True):
        scaler = manifests().one("HorizontalPodAutoscaler", scaled)
        name = scaler["spec"]["metrics"][0]["pods"]["metric"]["name"]
        assert rule["name"] == {"matches": f"^{name}$", "as": name}
        query = rule["metricsQuery"].replace("<<.GroupBy>>", "pod").replace("<<.Series>>", name)
        check_expressions([query.replace("<<.LabelMatchers>>", 'namespace="voice"'), rule["seriesQuery"]], tmp_path)
        assert series_in(rule["seriesQuery"]) == {name}
