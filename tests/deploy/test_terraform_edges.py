"""``deploy/terraform`` with edges: two load balancers, and what a cutover and an edge need of them.

Terraform is the real one, AWS a stand-in (`tests.deploy.stub_aws`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import aws_lint
from tests.deploy.listener import Answer, Listener
from tests.deploy.terraform import DEPLOY, VARIABLES, Terraform, an_example, complaints_about, passed_over
from tests.deploy.test_terraform import default_of
from voice_agent.edge_settings import EdgeSettings
from voice_agent.web.parameters import NEW_CALL_PATHS

EDGE, POD = "module.voice_edge.", "module.voice_agent."
MORE: dict[str, Any] = {
    "private_cidrs": ["10.0.0.0/20", "10.0.16.0/20"],
    "inside_hostname": "voice-inside.example.com",
    "private_zone_id": "Z2",
    "inside_certificate_arn": "arn:aws:acm:eu-central-1:000000000000:certificate/2",
}
KNOWN = {name: value for name, value in VARIABLES.items() if name != "alarm_kms_key_id"} | MORE

pytestmark = [pytest.mark.usefixtures("offline"), pytest.mark.xdist_group("terraform")]  # one example for all of them


@pytest.fixture(scope="module")
def fronted(offline: None, tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """The example with edges, applied."""
    terraform = an_example(tmp_path_factory.mktemp("fronted") / "terraform", "with-edges")
    terraform.set_variables(KNOWN)
    terraform.must("apply", "-auto-approve", "-input=false", "-no-color")
    return terraform


@pytest.fixture(scope="module")
def made(fronted: Terraform) -> dict[str, dict[str, Any]]:
    """Every resource by its address."""
    return fronted.resources()


@pytest.fixture(scope="module")
def told(fronted: Terraform) -> dict[str, Any]:
    """Every output."""
    return {name: output["value"] for name, output in fronted.json("output", "-json").items()}


def part(made: dict[str, dict[str, Any]], prefix: str) -> dict[str, dict[str, Any]]:
    """The resources of one module, by address within it."""
    return {address.removeprefix(prefix): it for address, it in made.items() if address.startswith(prefix)}


def test_callers_get_to_edges_alone(made: dict[str, dict[str, Any]]) -> None:
    """One load balancer is public, and every way a call may begin, resume or be asked for leads to an edge."""
    edge = part(made, EDGE)
    assert [it["internal"] for it in (edge["aws_lb.this"], part(made, POD)["aws_lb.this"])] == [False, True]
    public = Listener.of(edge, "aws_lb_listener.https")
    for path in (*NEW_CALL_PATHS, "/realtime/call_x", "/twilio/voice", "/v1/realtime/client_secrets", "/"):
        assert public.answer(path) == Answer(weights={"voice-edge": 100}), path
    for path in ("/admin/calls", "/metrics", "/%61dmin/calls", "/healthz/realtime"):
        assert public.answer(path) == Answer(status=404)


def test_edges_learn_whether_calls_are_taken(made: dict[str, dict[str, Any]], told: dict[str, Any]) -> None:
    """By a rule that a cutover changes as all others; without edges there is none."""
    inside = part(made, POD)
    rule = inside['aws_lb_listener_rule.weighted["health"]']
    assert rule["arn"] in told["alb_rule_arns"][1:]
    answer = Listener.of(inside, "aws_lb_listener.https").answer("/healthz/realtime")
    assert answer == Answer(weights={"blue": 100, "green": 0})


def test_lint_finds_nothing_wrong_with_either(made: dict[str, dict[str, Any]], told: dict[str, Any]) -> None:
    """Nobody is cut off before a drain has had its time, and AWS takes the values."""
    assert [found for check in aws_lint.CHECKS for found in check(part(made, POD), told)] == []
    of_edges = {
        "pod_environment": {"VOICE_DRAIN_DEADLINE": told["edge_environment"]["VOICE_EDGE_DRAIN_DEADLINE"]},
        "pre_stop_s": told["edge_pre_stop_s"],
        "termination_grace_s": told["edge_termination_grace_s"],
    }
    checks = (aws_lint.times, aws_lint.rules, aws_lint.groups)
    assert [found for check in checks for found in check(part(made, EDGE), of_edges)] == []
    short = {
        "aws_lb_target_group.edges": part(made, EDGE)["aws_lb_target_group.edges"] | {"deregistration_delay": "660"}
    }
    assert any("preStop and drain need 3590 s" in found for found in aws_lint.times(short, of_edges))


def test_edges_take_what_they_are_told(told: dict[str, Any]) -> None:
    """The settings are the server's, and lead to the name of the internal load balancer."""
    fields = {name.removeprefix("VOICE_EDGE_").lower(): value for name, value in told["edge_environment"].items()}
    settings = EdgeSettings(**fields)
    assert settings.to == (told["url"].removesuffix("/v1/realtime"),) == ("wss://voice-inside.example.com",)
    assert told["callers_url"] == "wss://voice.example.com/v1/realtime"


def test_nobody_but_the_next_in_line_can_connect(made: dict[str, dict[str, Any]]) -> None:
    """Callers to their load balancer, it to the edges, and they to where the internal one is."""
    edge = part(made, EDGE)
    group = {edge[f"aws_security_group.{name}"]["id"]: name for name in ("alb", "edges[0]")}
    group[part(made, POD)["aws_security_group.pods[0]"]["id"]] = "pods"
    found = {
        (
            kind,
            group[rule["security_group_id"]],
            group.get(rule["referenced_security_group_id"], rule["cidr_ipv4"]),
            rule["from_port"],
        )
        for address, rule in edge.items()
        for kind in ("ingress", "egress")
        if address.startswith(f"aws_vpc_security_group_{kind}_rule.")
    }
    assert found == {
        ("ingress", "alb", "0.0.0.0/0", 443),
        ("ingress", "alb", "0.0.0.0/0", 80),
        ("egress", "alb", "edges[0]", 8080),
        ("ingress", "edges[0]", "alb", 8080),
        ("egress", "edges[0]", "10.0.0.0/20", 443),
        ("egress", "edges[0]", "10.0.16.0/20", 443),
        # Calls that an operator moves to a pod.
        ("egress", "edges[0]", "pods", 8080),
        ("ingress", "pods", "edges[0]", 8080),
    }


def test_readme_lists_every_input_and_output(fronted: Terraform) -> None:
    """And each is described."""
    readme = (DEPLOY / "README.md").read_text(encoding="utf-8").splitlines()
    fronted.must("plan", "-input=false", "-out=listed.bin")
    root = fronted.json("show", "-json", "listed.bin")["configuration"]["root_module"]
    module = root["module_calls"]["voice_edge"]["module"]
    rows = [
        f"| `{name}` | {given['description']} | {default_of(given)} |" for name, given in module["variables"].items()
    ] + [f"| `{name}` | {given['description']} |" for name, given in module["outputs"].items()]
    assert [row for row in rows if row not in readme] == []
    for kind in ("variables", "outputs"):
        assert all(it["description"].endswith(".") for it in root[kind].values())


WRONG = {
    "idle_timeout_s = 60": "120 to 4000",
    'ssl_policy = "ELBSecurityPolicy-2016-08"': "TLS 1.3",
    'alb_subnet_ids = ["subnet-a"]': "at least two subnets",
    'inside_cidrs = ["everywhere"]': "IPv4 ranges",
}
"""Values, and what is said of them."""


def an_example_with_edges(folder: Path) -> Terraform:
    """Ready to plan."""
    terraform = an_example(folder, "with-edges")
    terraform.set_variables(KNOWN)
    return terraform


def test_wrong_variables_stop_the_plan(tmp_path: Path) -> None:
    """A value that would cut callers off, or that AWS refuses, is named before anything is changed."""
    terraform = an_example_with_edges(tmp_path / "terraform")
    assert passed_over(complaints_about(terraform, "voice-edge", list(WRONG)), WRONG) == []


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("drain_deadline_s = 3561", "at most 3600"),
        ("deregistration_delay_s = 660", "at least pre_stop_s + drain_deadline_s + 30"),
    ],
)
def test_times_that_do_not_fit_each_other_stop_the_plan(tmp_path: Path, given: str, complaint: str) -> None:
    """What a drain needs is longer than one of them, or than AWS allows."""
    terraform = an_example_with_edges(tmp_path / "terraform")
    assert any(complaint in text for text in complaints_about(terraform, "voice-edge", [given]))


def test_the_example_says_what_a_cutover_reads(told: dict[str, Any]) -> None:
    """Under the names of the one without edges."""
    complete = (DEPLOY / "examples" / "complete" / "outputs.tf").read_text(encoding="utf-8")
    assert {line.split('"')[1] for line in complete.splitlines() if line.startswith("output ")} <= set(told)
    assert json.dumps(told["target_group_arns"]).count("arn:") == 2
