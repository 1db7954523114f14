"""What an application load balancer does with a request, worked out from the rules in Terraform's state.

As AWS documents it: rules by priority, the first that matches wins; a rule matches if each of its
conditions does, a condition if one of its values does. Paths are compared with case and as they
were sent, names and values of headers and query strings without.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Answer:
    """What becomes of a request."""

    status: int = 0
    """A fixed response; 0 is a forward."""
    weights: Mapping[str, int] = field(default_factory=dict)
    """Percent by color; edges, which have none, by the name of their group."""
    sticky_s: int | None = None


@dataclass(frozen=True)
class Listener:
    """The rules of one listener, and the color of each target group."""

    rules: Sequence[Mapping[str, Any]]
    default: Mapping[str, Any]
    colors: Mapping[str, str]

    @staticmethod
    def of(resources: Mapping[str, Mapping[str, Any]], listener: str) -> Listener:
        """From the values of all resources and the listener's address."""
        arn = resources[listener]["arn"]
        rules = [
            values
            for address, values in resources.items()
            if address.startswith("aws_lb_listener_rule.") and values["listener_arn"] == arn
        ]
        groups = {
            values["arn"]: values["tags"].get("Color", values["name"])
            for address, values in resources.items()
            if address.startswith("aws_lb_target_group.")
        }
        return Listener(
            sorted(rules, key=lambda rule: rule["priority"]), resources[listener]["default_action"][0], groups
        )

    def answer(self, url: str, **headers: str) -> Answer:
        """For a path with its query; a header's underscores stand for hyphens."""
        parts = urlsplit(url)
        sent = {name.replace("_", "-").lower(): value for name, value in headers.items()}
        for rule in self.rules:
            if all(_holds(condition, parts.path, parts.query, sent) for condition in rule["condition"]):
                return self._does(rule["action"][0])
        return self._does(self.default)

    def _does(self, action: Mapping[str, Any]) -> Answer:
        if action["type"] == "fixed-response":
            return Answer(status=int(action["fixed_response"][0]["status_code"]))
        if action["target_group_arn"]:
            return Answer(weights={self.colors[action["target_group_arn"]]: 100})
        [forward] = action["forward"]
        sticky = [one["duration"] for one in forward["stickiness"] if one["enabled"]]
        weights = {self.colors[group["arn"]]: group["weight"] for group in forward["target_group"]}
        return Answer(weights=weights, sticky_s=sticky[0] if sticky else None)


def values_of(condition: Mapping[str, Any]) -> list[str]:
    """Every value that one condition compares."""
    found = [value for kind in ("path_pattern", "http_header") for one in condition[kind] for value in one["values"]]
    return found + [f"{one['key']}={one['value']}" for one in condition["query_string"]]


def _holds(condition: Mapping[str, Any], path: str, query: str, headers: Mapping[str, str]) -> bool:
    for one in condition["path_pattern"]:
        if not any(_like(path, value) for value in one["values"]):
            return False
    for one in condition["http_header"]:
        value = headers.get(one["http_header_name"].lower())
        if value is None or not any(_like(value.lower(), wanted.lower()) for wanted in one["values"]):
            return False
    pairs = [(key.lower(), value.lower()) for key, value in parse_qsl(query, keep_blank_values=True)]
    wanted = [(one["key"].lower(), one["value"].lower()) for one in condition["query_string"]]
    return not wanted or any(key == name and _like(value, like) for key, value in pairs for name, like in wanted)


def _like(text: str, pattern: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text) is not None
