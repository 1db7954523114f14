"""What no schema knows of network policies: who is let in, and whether pods reach what they need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network

from tests.deploy.manifests import (
    Manifests,
    Object,
    containers,
    declared_ports,
    labels,
    matches,
    of_agents,
    of_edges,
    title,
)
from tests.deploy.workload_lint import Findings

DNS_PORT = 53
NODE_LOCAL_DNS = ("169.254.20.10", "169.254.169.254")
"""Resolvers that are no pods: NodeLocal DNSCache, and the cloud's on its metadata address."""
NAMESPACE = "kubernetes.io/metadata.name"
GATEWAY = {"voice-agent/gateway": "true"}
"""Of the namespace in which a gateway's proxies run."""
GATEWAY_PORT = 10443
"""On which Envoy Gateway's proxies listen for 443; others have others."""
POD_PORT = 8080
STORE = {"app.kubernetes.io/name": "voice-redis"}
STORE_PORTS = (6379, 26379)


def network(known: Manifests) -> Findings:
    """Pods are reached on their own ports only, and never by everybody."""
    for policy in known.all("NetworkPolicy"):
        chosen = [it for _, it in known.pods() if matches(policy["spec"]["podSelector"], labels(it))]
        there = {number for template in chosen for number in declared_ports(template).values()}
        for way in policy["spec"].get("ingress", ()):
            if not way.get("from") or not way.get("ports") or any(not peer for peer in way["from"]):
                yield f"{title(policy)}: it lets everybody in."
            for port in way.get("ports", ()):
                if port["port"] not in there:
                    yield f"{title(policy)}: it opens port {port['port']}, on which nobody listens."
            if any("0.0.0.0/0" in peer.get("ipBlock", {}).get("cidr", "") for peer in way.get("from", ())):
                yield f"{title(policy)}: it lets everybody in."
        for way in [*policy["spec"].get("ingress", ()), *policy["spec"].get("egress", ())]:
            for peer in [*way.get("from", ()), *way.get("to", ())]:
                if "voice-agent/color" in peer.get("podSelector", {}).get("matchLabels", {}):
                    yield f"{title(policy)}: an overlay gave its color to a peer that has none."
    for workload, template in known.pods():
        kinds = {
            kind
            for it in known.all("NetworkPolicy")
            if matches(it["spec"]["podSelector"], labels(template))
            for kind in it["spec"]["policyTypes"]
        }
        if kinds != {"Ingress", "Egress"}:
            yield f"{title(workload)}: no NetworkPolicy limits who connects to its pods, or where they connect to."


def names_resolve(known: Manifests) -> Findings:
    """Pods that may only speak to some may ask for names: the cluster's DNS, and what answers on their own node."""
    for workload, template in known.pods():
        for protocol in ("UDP", "TCP"):
            peers = list(_allowed(known, labels(template), "egress", DNS_PORT, protocol))
            if not any(_chooses_namespace(peer, "kube-system") for peer in peers):
                yield f"{title(workload)}: its pods cannot ask the cluster's DNS for a name over {protocol}."
            for address in NODE_LOCAL_DNS:
                if not any(_holds(peer, address) for peer in peers):
                    yield f"{title(workload)}: its pods cannot ask {address} on their node for a name over {protocol}."


def store_is_reached(known: Manifests) -> Findings:
    """Whoever is given the store's address may connect to it, and the store lets them in."""
    [store] = [labels(template) for _, template in known.pods() if matches({"matchLabels": STORE}, labels(template))]
    for workload, template in known.pods():
        given = {entry["name"] for container in containers(template) for entry in container.get("env", ())}
        if "VOICE_STORE_URL" not in given:
            continue
        for port in STORE_PORTS:
            if not any(_chooses_pod(peer, store) for peer in _allowed(known, labels(template), "egress", port)):
                yield f"{title(workload)}: its pods may not connect to port {port} of the store."
            if not any(_chooses_pod(peer, labels(template)) for peer in _allowed(known, store, "ingress", port)):
                yield f"{title(workload)}: the store's port {port} lets its pods not in."


def gateway_is_reached(known: Manifests) -> Findings:
    """Whoever calls through the load balancer may connect to a gateway of pods, whose ports are its own affair."""
    for workload, template in known.pods():
        arguments = [it for container in containers(template) for it in container.get("args", ())]
        if any(str(it).startswith("--smoke-url=") for it in arguments):
            peers = _allowed(known, labels(template), "egress", GATEWAY_PORT)
            if not any(matches(peer["namespaceSelector"], GATEWAY) for peer in peers if "namespaceSelector" in peer):
                yield f"{title(workload)}: its pods may not connect to a gateway in the cluster."


def edges_are_between(known: Manifests) -> Findings:
    """Edges reach pods, or a gateway that leads there, and pods let them in; callers reach edges."""
    gateway = {"namespaceSelector": {"matchLabels": GATEWAY}}
    for workload, template in of_edges(known.pods()):
        have = labels(template)
        for pods, pod in of_agents(known.pods()):
            if not any(_chooses_pod(peer, labels(pod)) for peer in _allowed(known, have, "egress", POD_PORT)):
                yield f"{title(workload)}: its pods may not connect to those of {title(pods)}."
            if not any(_chooses_pod(peer, have) for peer in _allowed(known, labels(pod), "ingress", POD_PORT)):
                yield f"{title(pods)}: its pods let edges not in."
        if gateway not in _allowed(known, have, "egress", GATEWAY_PORT):
            yield f"{title(workload)}: its pods may not connect to a gateway in the cluster."
        if gateway not in _allowed(known, have, "ingress", POD_PORT):
            yield f"{title(workload)}: a gateway in the cluster may not connect to its pods."


def _allowed(known: Manifests, have: dict[str, str], way: str, port: int, protocol: str = "TCP") -> Iterator[Object]:
    """The peers that pods with these labels may speak with; policies add up."""
    side = {"ingress": "from", "egress": "to"}[way]
    for policy in known.all("NetworkPolicy"):
        if matches(policy["spec"]["podSelector"], have):
            for rule in policy["spec"].get(way, ()):
                ports = {(it["port"], it.get("protocol", "TCP")) for it in rule.get("ports", ())}
                if not ports or (port, protocol) in ports:
                    yield from rule[side]


def _chooses_namespace(peer: Object, name: str) -> bool:
    return "namespaceSelector" in peer and matches(peer["namespaceSelector"], {NAMESPACE: name})


def _chooses_pod(peer: Object, have: dict[str, str]) -> bool:
    """Whether a peer is such a pod of the same namespace."""
    return "podSelector" in peer and "namespaceSelector" not in peer and matches(peer["podSelector"], have)


def _holds(peer: Object, address: str) -> bool:
    block = peer.get("ipBlock")
    if block is None:
        return False
    inside, *outside = (ip_network(cidr) for cidr in (block["cidr"], *block.get("except", ())))
    return ip_address(address) in inside and not any(ip_address(address) in out for out in outside)


CHECKS: tuple[Callable[[Manifests], Findings], ...] = (
    network,
    names_resolve,
    store_is_reached,
    gateway_is_reached,
    edges_are_between,
)
