"""Mistakes in who may speak with whom, and what `network_lint` has to say of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.deploy.manifests import Manifests
from tests.deploy.places import peers, spec, ways_out

MISTAKES: dict[str, tuple[Callable[[Manifests], Any], str]] = {
    "cutover that the store keeps out": (
        lambda it: peers(it, "voice-redis")[0]["podSelector"]["matchExpressions"][0]["values"].remove("voice-cutover"),
        "Job/voice-cutover: the store's port 6379 lets its pods not in",
    ),
    "cutover that may not ask the store": (
        lambda it: ways_out(it, "voice-cutover")[1]["ports"].pop(),
        "Job/voice-cutover: its pods may not connect to port 26379 of the store",
    ),
    "cutover that may not call through a gateway of pods": (
        lambda it: ways_out(it, "voice-cutover").pop(),
        "Job/voice-cutover: its pods may not connect to a gateway in the cluster",
    ),
    "open to everybody": (lambda it: peers(it, "voice-agent-blue").append({}), "lets everybody in"),
    "open to the world": (
        lambda it: peers(it, "voice-agent-from-alb")[0]["ipBlock"].update(cidr="0.0.0.0/0"),
        "lets everybody in",
    ),
    "open port without a listener": (
        lambda it: spec(it, "NetworkPolicy", "voice-agent-blue")["ingress"][0]["ports"][0].update(port=9090),
        "opens port 9090",
    ),
    "peer painted by the overlay": (
        lambda it: peers(it, "voice-agent-blue")[1]["podSelector"].update(matchLabels={"voice-agent/color": "blue"}),
        "gave its color to a peer",
    ),
    "pods without a policy": (
        lambda it: spec(it, "NetworkPolicy", "voice-redis-backup")["podSelector"]["matchLabels"].update(
            {"app.kubernetes.io/name": "voice-redis"}
        ),
        "no NetworkPolicy limits",
    ),
    "names from the cluster's pods alone": (
        lambda it: ways_out(it, "voice-agent-blue")[0]["to"].pop(),
        "cannot ask 169.254.20.10 on their node",
    ),
    "names from the node, but not over TCP": (
        lambda it: ways_out(it, "voice-redis")[0]["ports"].pop(),
        "cannot ask 169.254.20.10 on their node for a name over TCP",
    ),
    "names from the node alone": (
        lambda it: ways_out(it, "voice-cloudwatch")[0]["to"].pop(0),
        "cannot ask the cluster's DNS",
    ),
    "names from the node, but for its cache": (
        lambda it: ways_out(it, "voice-redis-backup")[0]["to"][1]["ipBlock"].update({"except": ["169.254.20.0/24"]}),
        "cannot ask 169.254.20.10 on their node",
    ),
    "store that keeps the publisher out": (
        lambda it: peers(it, "voice-redis")[0]["podSelector"]["matchExpressions"][0]["values"].remove(
            "voice-cloudwatch"
        ),
        "Deployment/voice-cloudwatch: the store's port 6379 lets its pods not in",
    ),
    "store that no pod may ask": (
        lambda it: ways_out(it, "voice-agent-green")[1]["ports"].pop(0),
        "Deployment/voice-agent-green: its pods may not connect to port 6379 of the store",
    ),
}
