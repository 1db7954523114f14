"""The ServiceMonitor's relabeling, carried out by a real Prometheus on what a pod really shows."""

from __future__ import annotations

import http.server
import json
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.manifests import Object, manifests
from tests.deploy.prometheus import every, known_series, program, rules
from tests.servers import free_port
from tests.waiting import PATIENCE_S
from voice_agent.observe.metric_table import TABLE, Kind
from voice_agent.observe.metrics import Metrics
from voice_agent.web.health import PROMETHEUS_TEXT


@contextmanager
def pod(color: str) -> Iterator[int]:
    """A door that shows a pod's metrics; its port."""
    page = Metrics(version="1.2.3", color=color).registry.page()

    class Door(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", PROMETHEUS_TEXT)
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Door) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def as_prometheus_writes(relabelings: list[Object]) -> list[Object]:
    """The operator's spelling in that of a configuration file."""
    names = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    return [{names.get(key, key): value for key, value in one.items()} for one in relabelings]


def target(port: int, color: str, **more: str) -> Object:
    """What service discovery would say of a pod, and the labels that the operator adds."""
    found = {"__meta_kubernetes_pod_label_voice_agent_color": color, "namespace": "voice", "pod": f"{color}-1"}
    return {"targets": [f"127.0.0.1:{port}"], "labels": found | more}


@contextmanager
def prometheus(directory: Path, targets: list[Object]) -> Iterator[str]:
    """A Prometheus that scrapes these targets as the ServiceMonitor says; its address."""
    end = manifests().one("ServiceMonitor", "voice-agent")["spec"]["endpoints"][0]
    (directory / "rules.yaml").write_text(yaml.safe_dump(rules()))
    scrape = {
        "job_name": "voice-agent",
        "metrics_path": end["path"],
        "scrape_interval": "1s",
        "relabel_configs": as_prometheus_writes(end["relabelings"]),
        "metric_relabel_configs": as_prometheus_writes(end["metricRelabelings"]),
        "static_configs": targets,
    }
    config = {"rule_files": ["rules.yaml"], "scrape_configs": [scrape]}
    (directory / "prometheus.yaml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    options = [f"--config.file={directory / 'prometheus.yaml'}", f"--storage.tsdb.path={directory / 'data'}"]
    process = subprocess.Popen(
        [program("prometheus"), *options, f"--web.listen-address={address}", "--log.level=error"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait()


def ask(address: str, query: str) -> list[Object]:
    """An instant query."""
    with urllib.request.urlopen(f"{address}/api/v1/query?" + urllib.parse.urlencode({"query": query})) as answer:  # noqa: S310
        found: list[Object] = json.load(answer)["data"]["result"]
    return found


def wait_for(address: str, query: str, count: int) -> list[Object]:
    """Ask until there are so many series."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            if len(found := ask(address, query)) == count:
                return found
        except OSError:
            found = []
        assert time.monotonic() < deadline_s, f"{query}: {found}"
        time.sleep(0.1)


def test_every_series_has_its_color(tmp_path: Path) -> None:
    """Colors come from the pods' labels onto every metric, and a Rollout's pod is counted once."""
    with pod("blue") as blue, pod("green") as green, pod("rollout") as third:
        revision = {"__meta_kubernetes_pod_label_rollouts_pod_template_hash": "abc"}
        targets = [
            target(blue, "blue", service="voice-agent-blue"),
            target(green, "green", service="voice-agent-green"),
        ]
        targets += [target(third, "rollout", service=f"voice-agent-{it}", **revision) for it in ("stable", "canary")]
        with prometheus(tmp_path, targets) as address:
            up = wait_for(address, "up == 1", 3)
            assert {it["metric"]["color"] for it in up} == {"blue", "green", "rollout"}
            found = wait_for(address, 'count by (__name__) ({__name__=~"voice_.+"})', len(shown()))
            assert {it["metric"]["__name__"] for it in found} == shown()
            assert ask(address, '{__name__=~"voice_.+",color=""}') == []
            assert ask(address, '{exported_color!=""}') == []
            assert len(ask(address, 'voice_draining{revision="abc"}')) == 1
            (record,) = [it for it in every("record") if it["record"] == "voice:capacity_calls:sum"]
            assert {it["metric"]["color"] for it in ask(address, record["expr"])} == {"blue", "green", "rollout"}


def shown() -> set[str]:
    """Every series of a pod: all are there before anything has happened, but those whose labels only tell what has."""
    untold = {spec.name for spec in TABLE if spec.kind is Kind.COUNTER and spec.label and not spec.known}
    untold |= {spec.name for spec in TABLE if spec.name.startswith("voice_provider_")}
    return {it for it in known_series() if it.startswith("voice_") and not it.startswith("voice_edge_")} - untold
