"""AWS as far as moto plays it: a server process of its own on a free port."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]  # it has no types
import httpx
import pytest

from tests.servers import free_port
from tests.waiting import PATIENCE_S

REGION = "eu-central-1"
KEY = "8f0c3a51d2e94b7f8f0c3a51d2e94b7f"
"""With it a smoke call chooses its color."""
STICKY = {"Enabled": True, "DurationSeconds": 300}


@dataclass
class Moto:
    """A running server."""

    url: str

    def environment(self) -> dict[str, str]:
        """What boto3 and the `aws` command need to come here, and no further."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def client(self, service: str) -> Any:
        """A client of the test's own."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

    def cli(self, *arguments: str) -> Any:
        """What the real `aws` command says."""
        command = [
            str(Path(sys.executable).with_name("aws")),
            *arguments,
            "--endpoint-url",
            self.url,
            "--output",
            "json",
        ]
        environment = {"PATH": os.environ["PATH"], **self.environment()}
        done = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=PATIENCE_S)
        return json.loads(done.stdout)

    def reset(self) -> None:
        """Forget everything."""
        httpx.post(f"{self.url}/moto-api/reset", trust_env=False).raise_for_status()


@contextlib.contextmanager
def moto_server() -> Iterator[Moto]:
    """A server for the length of a block."""
    port = free_port()
    binary = Path(sys.executable).with_name("moto_server")
    with subprocess.Popen(
        [binary, "-H", "127.0.0.1", "-p", str(port)],
        env=os.environ | {"MOTO_EC2_LOAD_DEFAULT_AMIS": "false"},  # thousands, anew for each test
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        moto = Moto(f"http://127.0.0.1:{port}")
        deadline_s = time.monotonic() + PATIENCE_S
        try:
            while not _answers(moto.url):
                if process.poll() is not None or time.monotonic() > deadline_s:
                    raise RuntimeError("moto_server did not start")
                time.sleep(0.05)
            yield moto
        finally:
            process.kill()


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/moto-api/data.json", timeout=PATIENCE_S, trust_env=False).status_code == 200
    return False


def use(moto: Moto, monkeypatch: pytest.MonkeyPatch) -> Moto:
    """Send everything that asks AWS to an empty server."""
    for key, value in moto.environment().items():
        monkeypatch.setenv(key, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    moto.reset()
    return moto


@dataclass
class Balancer:
    """An ALB with the rules of a blue/green deployment: a smoke rule per color, two for resumes, one for the rest."""

    moto: Moto
    groups: dict[str, str] = field(default_factory=dict)
    smoke: list[str] = field(default_factory=list)
    weighted: list[str] = field(default_factory=list)
    """First connects first."""

    def __post_init__(self) -> None:
        ec2, self.elb = self.moto.client("ec2"), self.moto.client("elbv2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=REGION + zone)["Subnet"][
                "SubnetId"
            ]
            for n, zone in enumerate("ab")
        ]
        balancer = self.elb.create_load_balancer(Name="voice", Subnets=subnets)["LoadBalancers"][0]["LoadBalancerArn"]
        for color in ("blue", "green"):
            group = self.elb.create_target_group(
                Name=f"voice-{color}", Protocol="HTTP", Port=8080, VpcId=vpc, TargetType="ip"
            )
            self.groups[color] = group["TargetGroups"][0]["TargetGroupArn"]
        refuse = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}
        self.listener = self.elb.create_listener(
            LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=[refuse]
        )["Listeners"][0]["ListenerArn"]
        for color, arn in self.groups.items():
            header = {"HttpHeaderName": "X-Voice-Color", "Values": [f"{color}:{KEY}"]}
            match = {"Field": "http-header", "HttpHeaderConfig": header}
            self.smoke.append(self._rule(10 + len(self.smoke), match, [{"Type": "forward", "TargetGroupArn": arn}]))
        by_query = {"Values": [{"Key": "call_id", "Value": "*"}, {"Key": "call_key", "Value": "*"}]}
        resumes = [
            self._rule(20, {"Field": "query-string", "QueryStringConfig": by_query}, [self.forward(None)]),
            self._rule(21, _path("/realtime/call_*"), [self.forward(None)]),
        ]
        self.weighted = [self._rule(30, _path("/realtime", "/v1/realtime"), [self.forward(STICKY)]), *resumes]

    def forward(self, sticky: dict[str, Any] | None, blue: int = 100, green: int = 0) -> dict[str, Any]:
        """An action over both groups."""
        weights = {"blue": blue, "green": green}
        groups = [{"TargetGroupArn": self.groups[color], "Weight": weight} for color, weight in weights.items()]
        config = {"TargetGroups": groups, "TargetGroupStickinessConfig": sticky or {"Enabled": False}}
        return {"Type": "forward", "Order": 1, "ForwardConfig": config}

    def _rule(self, priority: int, condition: dict[str, Any], actions: list[dict[str, Any]]) -> str:
        made = self.elb.create_rule(
            ListenerArn=self.listener, Priority=priority, Conditions=[condition], Actions=actions
        )
        return str(made["Rules"][0]["RuleArn"])

    def told(self, *rules: str) -> list[dict[str, Any]]:
        """Rules as the `aws` command shows them."""
        found = self.moto.cli("elbv2", "describe-rules", "--rule-arns", *(rules or self.weighted))["Rules"]
        by_arn = {rule["RuleArn"]: rule for rule in found}
        return [by_arn[arn] for arn in (rules or self.weighted)]

    def weights(self) -> list[dict[str, int]]:
        """By color, of each weighted rule, as the `aws` command shows them."""
        colors = {arn: color for color, arn in self.groups.items()}
        return [
            {
                colors[group["TargetGroupArn"]]: group["Weight"]
                for group in rule["Actions"][-1]["ForwardConfig"]["TargetGroups"]
            }
            for rule in self.told()
        ]

    def stickiness(self) -> list[Any]:
        """Of each weighted rule."""
        return [rule["Actions"][-1]["ForwardConfig"].get("TargetGroupStickinessConfig") for rule in self.told()]


def _path(*patterns: str) -> dict[str, Any]:
    return {"Field": "path-pattern", "PathPatternConfig": {"Values": list(patterns)}}
