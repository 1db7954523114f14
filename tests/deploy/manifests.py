"""What the kustomizations of `k8s/` build, and ways to look around in it."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
KUBECTL = Path(sys.executable).with_name("kubectl")
TEMPLATES = ("base", "argo-rollouts/pods", "cutover-job/base")
"""Built like the others, but only to be part of others."""
EDGE = "voice-edge"
WORKLOADS = ("Deployment", "StatefulSet", "Rollout", "CronJob", "Job")

Object = dict[str, Any]


def kustomizations() -> list[str]:
    """Every folder with a kustomization, relative to `k8s/`."""
    return sorted(
        str(path.parent.relative_to(K8S))
        for path in K8S.rglob("kustomization.yaml")
        if yaml.safe_load(path.read_text())["kind"] != "Component"
    )


@cache
def _built(folder: str) -> str:
    done = subprocess.run([KUBECTL, "kustomize", str(K8S / folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{folder}: {done.stderr}")
    return done.stdout


def build(folder: str) -> list[Object]:
    """The objects of one kustomization; a copy of your own."""
    return [made for made in yaml.safe_load_all(_built(folder)) if made]


def examples() -> list[Object]:
    """The Secrets that somebody else has to write, as the examples name them."""
    return [yaml.safe_load(path.read_text()) for path in sorted(K8S.rglob("secret.example.yaml"))]


@dataclass
class Manifests:
    """All that may stand in one cluster, by the kustomization it comes from."""

    parts: dict[str, list[Object]]
    secrets: list[Object]

    def all(self, *kinds: str) -> Iterator[Object]:
        """Every object of these kinds."""
        for objects in self.parts.values():
            yield from (it for it in objects if it["kind"] in kinds)

    def find(self, kind: str, name: str) -> Object | None:
        """The first object of a kind and name."""
        pool = self.secrets if kind == "Secret" else self.all(kind)
        return next((it for it in pool if it["metadata"]["name"] == name), None)

    def one(self, kind: str, name: str) -> Object:
        """As `find`, and it is there."""
        found = self.find(kind, name)
        assert found is not None, f"no {kind} {name}"
        return found

    def pods(self) -> Iterator[tuple[Object, Object]]:
        """Every workload with its pod template."""
        for workload in self.all(*WORKLOADS):
            yield workload, template_of(workload)

    def copy(self) -> Manifests:
        """One to plant mistakes in."""
        return copy.deepcopy(self)


@cache
def _world() -> Manifests:
    return Manifests({name: build(name) for name in kustomizations() if name not in TEMPLATES}, examples())


def manifests() -> Manifests:
    """Everything that `k8s/` builds; a copy of your own."""
    return _world().copy()


def title(it: Object) -> str:
    """``Service/voice-agent-blue``."""
    return f"{it['kind']}/{it['metadata']['name']}"


def template_of(workload: Object) -> Object:
    """The pod template of a workload of any kind."""
    spec = workload["spec"]
    template: Object = (spec["jobTemplate"]["spec"] if workload["kind"] == "CronJob" else spec)["template"]
    return template


def containers(template: Object) -> list[Object]:
    """All containers of a pod template, those that run first included."""
    return [*template["spec"].get("initContainers", ()), *template["spec"]["containers"]]


def labels(it: Object) -> dict[str, str]:
    """Of an object or a pod template."""
    found: dict[str, str] = it.get("metadata", {}).get("labels", {})
    return found


def matches(selector: Object | None, have: dict[str, str]) -> bool:
    """Whether a label selector chooses these labels; an empty one chooses everything."""
    selector = selector or {}
    for key, value in selector.get("matchLabels", {}).items():
        if have.get(key) != value:
            return False
    for expression in selector.get("matchExpressions", ()):
        value, values = have.get(expression["key"]), expression.get("values", [])
        holds = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not holds[expression["operator"]]:
            return False
    return True


def declared_ports(template: Object) -> dict[str | int, int]:
    """Container ports by name and by number."""
    found: dict[str | int, int] = {}
    for container in containers(template):
        for port in container.get("ports", ()):
            found[port["containerPort"]] = port["containerPort"]
            if "name" in port:
                found[port["name"]] = port["containerPort"]
    return found


def settings_of(container: Object, known: Manifests) -> dict[str, str]:
    """Variables with a literal value, from ConfigMaps and from `env`."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        config = known.find("ConfigMap", source.get("configMapRef", {}).get("name", ""))
        found.update((config or {}).get("data", {}))
    found.update({entry["name"]: entry["value"] for entry in container.get("env", ()) if "value" in entry})
    return found


def of_edges(pods: Iterable[tuple[Object, Object]]) -> Iterator[tuple[Object, Object]]:
    """Those that hold callers' connections."""
    return ((it, template) for it, template in pods if labels(template).get("app.kubernetes.io/name") == EDGE)


def of_agents(pods: Iterable[tuple[Object, Object]]) -> Iterator[tuple[Object, Object]]:
    """Those that serve calls."""
    return ((it, template) for it, template in pods if labels(template).get("app.kubernetes.io/name") == "voice-agent")
