"""Prometheus' own programs, and what of ours they are to judge."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.deploy.manifests import K8S, Object
from voice_agent.bootstrap_edge import build
from voice_agent.edge_settings import EdgeSettings
from voice_agent.observe.metric_table import TABLE, Kind

GENERAL = frozenset({"up"})
"""Series that Prometheus makes itself."""


def program(name: str) -> str:
    """Its path, in the venv or on the PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    assert found, f"{name} is missing; `make tools` fetches it"
    return found


def promtool(*words: str) -> None:
    """Run promtool; what it complains of is the assertion's text."""
    done = subprocess.run([program("promtool"), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def rules() -> Object:
    """The `spec` of the PrometheusRule: what a rule file holds."""
    found: Object = yaml.safe_load((K8S / "monitoring" / "rules.yaml").read_text())["spec"]
    return found


def every(what: str) -> list[Object]:
    """All alerts, or all records."""
    return [rule for group in rules()["groups"] for rule in group["rules"] if what in rule]


def check_expressions(expressions: list[str], directory: Path) -> None:
    """Let promtool read expressions, as if they were recording rules."""
    file = directory / "expressions.yaml"
    made: list[dict[str, Any]] = [{"record": f"e{number}", "expr": text} for number, text in enumerate(expressions)]
    file.write_text(yaml.safe_dump({"groups": [{"name": "expressions", "rules": made}]}))
    promtool("check", "rules", str(file))


def pod_metrics() -> set[str]:
    """What a pod shows."""
    return {spec.name for spec in TABLE}


@cache
def edge_families() -> tuple[Metric, ...]:
    """What an edge shows before the first caller."""

    async def page() -> str:
        async with build(EdgeSettings(to=("ws://127.0.0.1:9",))) as parts:
            return parts.metrics.page().decode()

    return tuple(text_string_to_metric_families(asyncio.run(page())))


def edge_metrics() -> set[str]:
    """What an edge shows, counters with their ending."""
    return {it.name + ("_total" if it.type == "counter" else "") for it in edge_families()}


def known_series() -> set[str]:
    """Every series that a pod or an edge shows, that the rules record, or that Prometheus makes."""
    found = {rule["record"] for rule in every("record")} | GENERAL | edge_metrics()
    for family in edge_families():
        found |= {family.name + part for part in ("_bucket", "_sum", "_count") if family.type == "histogram"}
    for spec in TABLE:
        parts = ("_bucket", "_sum", "_count") if spec.kind is Kind.HISTOGRAM else ("",)
        found |= {spec.name + part for part in parts}
    return found


def series_in(expression: str) -> set[str]:
    """Names of the series in an expression."""
    return set(re.findall(r"(?<![\w:])(?:voice[_:][\w:]+|up)(?![\w:])", re.sub(r'"[^"]*"', '""', expression)))
