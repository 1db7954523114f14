"""What AWS refuses, or silently does otherwise, and neither Terraform nor moto knows: by what Terraform's state holds.

Findings are sentences, and an empty list is what one wants.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from voice_agent.operate.smoke import COLOR_KEY
from voice_agent.runtime.ports import COLOR_HEADER

Values = Mapping[str, Any]
Resources = Mapping[str, Values]
"""By address within the module."""
Findings = Iterator[str]

MARGIN_S = 30
"""Beyond preStop and drain: closing handshakes, and a target group that notices late."""
CONDITION_VALUES, RULE_VALUES, RULE_WILDCARDS = 3, 5, 5
HEADER_VALUE_LENGTH = 128
GREATEST_WEIGHT = 999
FIXED_BODY_BYTES = 1024
DAY_S = 86_400
GROUP_TEXT = re.compile(r"[a-zA-Z0-9. _\-:/()#,@\[\]+=;{}!$*]{0,255}")
"""What the description of a security group or of a rule in one may hold."""
STORE_PORT = 6379


def of(resources: Resources, kind: str) -> Iterator[tuple[str, Values]]:
    """Every resource of a kind, by its address."""
    return ((address, values) for address, values in resources.items() if address.startswith(f"{kind}."))


def forwards(rule: Values) -> list[Values]:
    """The target groups of a rule, with their weights."""
    return [group for action in rule["action"] for forward in action["forward"] for group in forward["target_group"]]


def stickiness(resources: Resources, outputs: Values) -> Findings:
    """Stickiness of a target group is refused behind a weighted rule that has none; resumes' rules have none."""
    sticky = {
        group["arn"] for _, group in of(resources, "aws_lb_target_group") for it in group["stickiness"] if it["enabled"]
    }
    for address, rule in of(resources, "aws_lb_listener_rule"):
        is_sticky = any(
            it["enabled"] for action in rule["action"] for one in action["forward"] for it in one["stickiness"]
        )
        if not is_sticky and any(group["arn"] in sticky for group in forwards(rule)):
            yield f"{address}: AWS refuses a target group with stickiness behind a rule without."


def times(resources: Resources, outputs: Values) -> Findings:
    """Nothing is cut off before preStop and drain have had their time: neither by the load balancer nor by a kill."""
    drain_s = int(outputs["pod_environment"]["VOICE_DRAIN_DEADLINE"])
    needed_s = outputs["pre_stop_s"] + drain_s + MARGIN_S
    for address, group in of(resources, "aws_lb_target_group"):
        delay_s = int(group["deregistration_delay"])
        if delay_s < needed_s:
            yield f"{address}: a deregistration delay of {delay_s} s; preStop and drain need {needed_s} s."
    if outputs["termination_grace_s"] < needed_s:
        yield f"termination_grace_s: {outputs['termination_grace_s']} s; preStop and drain need {needed_s} s."
    for address, alarm in of(resources, "aws_cloudwatch_metric_alarm"):
        if (
            alarm["metric_name"] == "UnHealthyHostCount"
            and alarm["period"] * alarm["evaluation_periods"] <= needed_s - MARGIN_S
        ):
            yield f"{address}: a drain would set it off."
        if (alarm["period"] or 60) * alarm["evaluation_periods"] > DAY_S:
            yield f"{address}: AWS refuses an alarm that looks back for more than a day."


def colors(resources: Resources, outputs: Values) -> Findings:
    """Only who shows the key chooses a color, and each color stays in a rule that no cutover changes."""
    color_of = {group["arn"]: group["tags"]["Color"] for _, group in of(resources, "aws_lb_target_group")}
    kept = set()
    for address, rule in of(resources, "aws_lb_listener_rule"):
        found = [action["target_group_arn"] for action in rule["action"] if action["target_group_arn"]]
        for color in (color_of[arn] for arn in found):
            kept.add(color)
            values = [it for one in rule["condition"] for it in one["http_header"]]
            names = [it["http_header_name"].lower() for it in values]
            shown = [value for it in values for value in it["values"]]
            keys = [value.removeprefix(f"{color}:") for value in shown]
            if names != [COLOR_HEADER.lower()] or not all(COLOR_KEY.match(key) for key in keys) or shown == keys:
                yield f"{address}: anybody may choose {color}, whatever the weights: it asks for no key."
    for color in set(color_of.values()) - kept:
        yield f"{address}: once a cutover leaves {color}, no rule names it and its targets are not checked."


def rules(resources: Resources, outputs: Values) -> Findings:
    """Within the limits of a listener's rules."""
    for address, rule in of(resources, "aws_lb_listener_rule"):
        counts, texts = [], []
        for one in rule["condition"]:
            values = [value for kind in ("path_pattern", "http_header") for it in one[kind] for value in it["values"]]
            values += [part for it in one["query_string"] for part in (it["key"], it["value"]) if part]
            counts.append(len(values) - len(one["query_string"]))
            texts += values
        if sum(counts) > RULE_VALUES or any(not 1 <= count <= CONDITION_VALUES for count in counts):
            yield f"{address}: {counts} values; a condition takes {CONDITION_VALUES}, a rule {RULE_VALUES}."
        if sum(text.count("*") + text.count("?") for text in texts) > RULE_WILDCARDS:
            yield f"{address}: a rule takes {RULE_WILDCARDS} wildcards."
        if any(len(text) > HEADER_VALUE_LENGTH for text in texts):
            yield f"{address}: a value is longer than {HEADER_VALUE_LENGTH} characters."
        shares = [group["weight"] for group in forwards(rule)]
        if shares and not (all(0 <= share <= GREATEST_WEIGHT for share in shares) and sum(shares)):
            yield f"{address}: weights {shares}; they are 0 to {GREATEST_WEIGHT}, and not all of them 0."
        for fixed in (it for action in rule["action"] for it in action["fixed_response"]):
            if len(fixed["message_body"].encode()) > FIXED_BODY_BYTES:
                yield f"{address}: a fixed response has at most {FIXED_BODY_BYTES} bytes."


def groups(resources: Resources, outputs: Values) -> Findings:
    """Values of target groups that are refused."""
    for address, group in of(resources, "aws_lb_target_group"):
        [check] = group["health_check"]
        if not check["timeout"] < check["interval"] or not 5 <= check["interval"] <= 300:
            yield f"{address}: a health check's interval is 5 to 300 s and longer than its timeout."
        if not all(2 <= check[name] <= 10 for name in ("healthy_threshold", "unhealthy_threshold")):
            yield f"{address}: a health check's thresholds are 2 to 10."
        if not 0 <= int(group["deregistration_delay"]) <= 3600:
            yield f"{address}: a deregistration delay is 0 to 3600 s."
        if group["protocol_version"] != "HTTP1":
            yield f"{address}: a WebSocket is an upgrade of HTTP/1.1; other groups refuse it."


def ways_to_the_store(resources: Resources, outputs: Values) -> Findings:
    """The pods and whoever runs the cutover reach Redis; the text of every rule is one that AWS takes."""
    [(_, store)] = [found for found in of(resources, "aws_security_group") if found[0].endswith(".redis")]
    allowed = {
        rule["referenced_security_group_id"]
        for _, rule in of(resources, "aws_vpc_security_group_ingress_rule")
        if rule["security_group_id"] == store["id"] and rule["from_port"] <= STORE_PORT <= rule["to_port"]
    }
    if not set(outputs["pod_security_group_ids"]) <= allowed:
        yield "aws_security_group.redis: it does not let every pod in."
    if not allowed - set(outputs["pod_security_group_ids"]):
        yield "aws_security_group.redis: it lets nobody in who could run a cutover."
    for kind in ("aws_security_group", "aws_vpc_security_group_ingress_rule", "aws_vpc_security_group_egress_rule"):
        for address, it in of(resources, kind):
            if not GROUP_TEXT.fullmatch(it["description"]):
                yield f"{address}: AWS refuses a character of its description."


CHECKS: tuple[Callable[[Resources, Values], Findings], ...] = (
    stickiness,
    times,
    colors,
    rules,
    groups,
    ways_to_the_store,
)
