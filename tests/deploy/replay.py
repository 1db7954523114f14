"""Brings the load balancer that Terraform planned into being on an AWS API, here moto's.

boto3 checks every parameter against AWS' own model of the service on the way, and what comes back
is a load balancer whose rules are those of ``deploy/terraform``: the one to try a cutover on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

boto3 = import_module("boto3")  # carries no type information

REGION = "eu-central-1"
CREDENTIALS = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}


@dataclass(frozen=True)
class Replayed:
    """The ARNs that AWS gave."""

    elb: Any
    """The client that made them."""
    listener: str
    rules: Mapping[str, str]
    """By the name in `routing-plan`."""
    target_groups: Mapping[str, str]
    """By color."""


def replay(resources: Mapping[str, Mapping[str, Any]], **connection: Any) -> Replayed:
    """From the values of all resources, by address within the module; `connection` is what boto3 needs to connect."""
    connection = {"region_name": REGION, **CREDENTIALS, **connection}
    ec2, acm, elb = (boto3.client(service, **connection) for service in ("ec2", "acm", "elbv2"))
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]][:2]
    certificate = acm.request_certificate(DomainName="voice.example.com")["CertificateArn"]

    balancer = resources["aws_lb.this"]
    created = elb.create_load_balancer(
        Name=balancer["name"], Subnets=subnets, Scheme="internet-facing", Type="application"
    )
    arn = created["LoadBalancers"][0]["LoadBalancerArn"]
    elb.modify_load_balancer_attributes(
        LoadBalancerArn=arn,
        Attributes=[
            {"Key": "idle_timeout.timeout_seconds", "Value": str(balancer["idle_timeout"])},
            {"Key": "routing.http.drop_invalid_header_fields.enabled", "Value": "true"},
        ],
    )

    groups: dict[str, str] = {}
    colors: dict[str, str] = {}
    for group in (values for address, values in resources.items() if address.startswith("aws_lb_target_group.")):
        color = group["tags"]["Color"]
        colors[color] = groups[group["arn"]] = _target_group(elb, group, vpc)

    https = resources["aws_lb_listener.https"]
    listener = elb.create_listener(
        LoadBalancerArn=arn,
        Protocol=https["protocol"],
        Port=https["port"],
        SslPolicy=https["ssl_policy"],
        Certificates=[{"CertificateArn": certificate}],
        DefaultActions=[_action(https["default_action"][0], groups)],
    )["Listeners"][0]["ListenerArn"]

    rules = {}
    for rule in (values for address, values in resources.items() if address.startswith("aws_lb_listener_rule.")):
        made = elb.create_rule(
            ListenerArn=listener,
            Priority=rule["priority"],
            Conditions=[_condition(condition) for condition in rule["condition"]],
            Actions=[_action(rule["action"][0], groups)],
        )
        rules[rule["tags"]["Name"]] = made["Rules"][0]["RuleArn"]
    return Replayed(elb, listener, rules, colors)


def _target_group(elb: Any, group: Mapping[str, Any], vpc: str) -> str:
    [check], [stickiness] = group["health_check"], group["stickiness"]
    made = elb.create_target_group(
        Name=group["name"],
        Protocol=group["protocol"],
        ProtocolVersion=group["protocol_version"],
        Port=group["port"],
        VpcId=vpc,
        TargetType=group["target_type"],
        HealthCheckProtocol=check["protocol"],
        HealthCheckPort=check["port"],
        HealthCheckPath=check["path"],
        HealthCheckIntervalSeconds=check["interval"],
        HealthCheckTimeoutSeconds=check["timeout"],
        HealthyThresholdCount=check["healthy_threshold"],
        UnhealthyThresholdCount=check["unhealthy_threshold"],
        Matcher={"HttpCode": check["matcher"]},
    )
    arn: str = made["TargetGroups"][0]["TargetGroupArn"]
    attributes = {
        "deregistration_delay.timeout_seconds": group["deregistration_delay"],
        "stickiness.enabled": str(stickiness["enabled"]).lower(),
        "stickiness.type": stickiness["type"],
    }
    elb.modify_target_group_attributes(
        TargetGroupArn=arn, Attributes=[{"Key": key, "Value": value} for key, value in attributes.items()]
    )
    return arn


def _action(action: Mapping[str, Any], groups: Mapping[str, str]) -> dict[str, Any]:
    if action["type"] == "fixed-response":
        [fixed] = action["fixed_response"]
        body = {"MessageBody": fixed["message_body"], "ContentType": fixed["content_type"]}
        return {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": fixed["status_code"], **body}}
    if action["target_group_arn"]:
        return {"Type": "forward", "TargetGroupArn": groups[action["target_group_arn"]]}
    [forward] = action["forward"]
    weighted = [{"TargetGroupArn": groups[one["arn"]], "Weight": one["weight"]} for one in forward["target_group"]]
    config: dict[str, Any] = {"TargetGroups": weighted}
    for sticky in forward["stickiness"]:
        config["TargetGroupStickinessConfig"] = {"Enabled": sticky["enabled"], "DurationSeconds": sticky["duration"]}
    return {"Type": "forward", "ForwardConfig": config}


def _condition(condition: Mapping[str, Any]) -> dict[str, Any]:
    for path in condition["path_pattern"]:
        return {"Field": "path-pattern", "PathPatternConfig": {"Values": path["values"]}}
    for header in condition["http_header"]:
        config = {"HttpHeaderName": header["http_header_name"], "Values": header["values"]}
        return {"Field": "http-header", "HttpHeaderConfig": config}
    pairs = [{"Key": one["key"], "Value": one["value"]} for one in condition["query_string"]]
    return {"Field": "query-string", "QueryStringConfig": {"Values": pairs}}
