"""From the operator's options to a router and a watch: which adapter, and what it needs to be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from voice_agent.errors import SettingsError
from voice_agent.operate.ports import MetricsSource, Router
from voice_agent.runtime.ports import Clock
from voice_agent.stores.base import Store

ROUTERS = ("haproxy", "alb", "gateway", "ingress", "argo")
WATCHES = ("store", "prometheus", "cloudwatch")


@dataclass(frozen=True, slots=True)
class RouterOptions:
    """What the command line says about the router."""

    kind: str
    haproxy: str = ""
    """Path of its socket, or ``host:port``."""
    rules: tuple[str, ...] = ()
    """ARNs of the ALB's weighted rules, that of first connects first."""
    targets: Mapping[str, str] = field(default_factory=dict)
    """By color: an ALB target group's ARN, or a Kubernetes Service."""
    namespace: str = "default"
    resource: str = "voice-agent"
    """Name of the HTTPRoute, Ingress or Rollout."""
    color_label: str = "voice-agent/color"
    """Of a Rollout's pods, by which its revisions are told apart."""


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """What the command line says about who counts calls."""

    kind: str
    prometheus: str | None
    """Its address."""
    cloudwatch: str
    """The namespace of its metrics."""


def parse_targets(given: Sequence[str]) -> dict[str, str]:
    """``green=arn:…`` and so on. Raises `SettingsError`."""
    found: dict[str, str] = {}
    for pair in given:
        color, equals, target = pair.partition("=")
        if not equals or not color or not target:
            raise SettingsError(f"--target: {pair!r} is not COLOR=TARGET, such as green=voice-agent-green")
        found[color] = target
    return found


def read_terraform(path: Path) -> dict[str, Any]:
    """The outputs of the module in ``deploy/terraform``, as ``terraform output -json`` prints them.

    Raises `SettingsError` for a file that is none of that.
    """
    try:
        outputs = orjson.loads(path.read_bytes())
        return {name: output["value"] for name, output in outputs.items()}
    except OSError as error:
        raise SettingsError(f"--terraform: cannot read {path}: {error.strerror}") from None
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):
        raise SettingsError(f"--terraform: {path} is not what `terraform output -json` prints") from None


def choose_router(options: RouterOptions) -> Router:
    """The adapter. Raises `SettingsError` for what is missing, `CutoverError` for a library that is not installed."""
    if options.kind == "haproxy":
        from voice_agent.operate.routers.haproxy import HaproxyRouter

        if not options.haproxy:
            raise SettingsError("--router haproxy needs --haproxy, its runtime socket, such as /run/haproxy.sock")
        return HaproxyRouter(options.haproxy)
    if options.kind == "alb":
        from voice_agent.operate.routers.alb import AlbRouter

        if not options.rules or len(options.targets) < 2:
            raise SettingsError(
                "--router alb needs --rule for each weighted rule and --target COLOR=ARN for each color, or --terraform"
            )
        return AlbRouter(rules=options.rules, target_groups=options.targets)
    named: dict[str, Any] = {"namespace": options.namespace, "name": options.resource, "services": options.targets}
    if options.kind == "gateway":
        from voice_agent.operate.routers.gateway import GatewayRouter

        return GatewayRouter(**named)
    if options.kind == "ingress":
        from voice_agent.operate.routers.load_balancer_controller import IngressRouter

        return IngressRouter(**named)
    from voice_agent.operate.routers.argo import ArgoRouter

    return ArgoRouter(namespace=options.namespace, name=options.resource, color_label=options.color_label)


def choose_watch(options: SourceOptions, store: Store, clock: Clock) -> MetricsSource:
    """The source of numbers. Raises as `choose_router`."""
    if options.kind == "prometheus":
        from voice_agent.operate.sources.prometheus import PrometheusWatch

        if not options.prometheus:
            raise SettingsError("--watch prometheus needs --prometheus, its address, such as http://prometheus:9090")
        return PrometheusWatch(options.prometheus)
    if options.kind == "cloudwatch":
        from voice_agent.operate.sources.cloudwatch import CloudWatchWatch

        return CloudWatchWatch(namespace=options.cloudwatch)
    from voice_agent.operate.sources.fleet import FleetWatch

    return FleetWatch(store, clock)
