"""The dashboard, as far as it can be judged without a Grafana: its ids, its layout, its queries."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

from tests.deploy.manifests import K8S, manifests
from tests.deploy.prometheus import check_expressions, edge_metrics, known_series, pod_metrics, series_in

DASHBOARD: dict[str, Any] = json.loads((K8S / "monitoring" / "dashboard.json").read_text())
COLUMNS = 24


def expressions() -> list[str]:
    """Every query, with Grafana's variables filled in."""
    found = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    found += [note["expr"] for note in DASHBOARD["annotations"]["list"]]
    values = {"$__rate_interval": "1m", "$namespace": "voice", "$color": ".*"}
    for name, value in values.items():
        found = [text.replace(name, value) for text in found]
    return found


def test_promtool_takes_every_expression(tmp_path: Path) -> None:
    """No query is misspelt, and no variable is left that nobody fills in."""
    assert [text for text in expressions() if "$" in text] == []
    check_expressions(expressions(), tmp_path)


def test_every_series_exists() -> None:
    """No panel stays empty because a metric is called otherwise."""
    assert {name for text in expressions() for name in series_in(text)} - known_series() == set()


def test_every_metric_is_shown() -> None:
    """Whatever a pod or an edge counts can be seen."""
    shown = {re.sub("_(bucket|sum|count)$", "", name) for text in expressions() for name in series_in(text)}
    assert (pod_metrics() | edge_metrics()) - shown == set()


def test_panels_have_ids_and_places_of_their_own() -> None:
    """Ids are unique, queries of a panel too, and no two panels overlap."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        refs = [target["refId"] for target in panel["targets"]]
        assert len(refs) == len(set(refs))
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= COLUMNS
    for one, other in itertools.combinations([panel["gridPos"] for panel in panels], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


def test_selections_are_kept_in_every_query() -> None:
    """What is chosen at the top holds for every panel: no series without the chosen namespace."""
    for target in (target for panel in DASHBOARD["panels"] for target in panel["targets"]):
        # An edge has no color.
        chosen = (
            '{namespace="$namespace"}' if "voice_edge" in target["expr"] else '{namespace="$namespace",color=~"$color"'
        )
        assert target["expr"].count(chosen) == target["expr"].count("{"), target["expr"]


def test_variables_are_asked_of_series_that_exist() -> None:
    """The lists at the top are filled by metrics that pods show."""
    for variable in (it for it in DASHBOARD["templating"]["list"] if it["type"] == "query"):
        assert re.findall(r"label_values\((\w+)", variable["definition"]) == ["voice_build_info"]


def test_grafanas_sidecar_finds_it() -> None:
    """The ConfigMap has the sidecar's label and holds the very file."""
    made = manifests().one("ConfigMap", "voice-agent-dashboard")
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(made["data"]["voice-agent.json"]) == DASHBOARD
