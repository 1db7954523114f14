"""``deploy/terraform``: formatted, valid, and meaning what a cutover needs it to mean.

Terraform is the real one. AWS is a stand-in whose schema is ours (`tests.deploy.stub_aws`), so
these tests show what would be asked of AWS, not that AWS grants it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.terraform import (
    DEPLOY,
    MODULE,
    VARIABLES,
    Terraform,
    an_example,
    complaints_about,
    copy_of_deploy,
    passed_over,
)

COLORS = ("blue", "green")

pytestmark = [pytest.mark.usefixtures("offline"), pytest.mark.xdist_group("terraform")]  # one example for all of them


@pytest.fixture(scope="module")
def outputs(example: Terraform) -> dict[str, Any]:
    return example.json("output", "-json")


def test_files_are_formatted() -> None:
    """`terraform fmt` has nothing to change."""
    code, out = Terraform(DEPLOY).run("fmt", "-check", "-recursive", "-diff", "-no-color")
    assert code == 0, out


def test_routing_plan_keeps_its_own_rules(tmp_path: Path) -> None:
    """Priorities, limits, weights and times: the module's own tests, which need no provider."""
    plan = Terraform(copy_of_deploy(tmp_path / "terraform") / "modules" / "routing-plan")
    plan.must("init", "-input=false", "-no-color")
    out = plan.must("test", "-no-color")
    assert ", 0 failed." in out and "Success!" in out


@pytest.mark.parametrize(
    ("broken", "mended", "run"),
    [
        ("priority = 40", "priority = 5", "priorities"),
        ("sticky_s = 0", "sticky_s = 300", "only_first_connects_are_sticky"),
        (
            '["/admin", "/admin/*", "/metrics*"]',
            '["/admin", "/admin/*", "/metrics", "/x"]',
            "within_the_load_balancers_limits",
        ),
    ],
)
def test_routing_plan_notices_a_wrong_rule(tmp_path: Path, broken: str, mended: str, run: str) -> None:
    """The module's own tests fail when a rule is changed for the worse."""
    plan = Terraform(copy_of_deploy(tmp_path / "terraform") / "modules" / "routing-plan")
    main = plan.folder / "main.tf"
    text = main.read_text(encoding="utf-8")
    assert broken in text
    main.write_text(text.replace(broken, mended), encoding="utf-8")
    plan.must("init", "-input=false", "-no-color")
    code, out = plan.run("test", "-no-color")
    assert code == 1
    assert f'run "{run}"... fail' in out


@pytest.mark.parametrize(
    "folder",
    ["modules/routing-plan", "modules/voice-agent", "modules/voice-edge", "examples/complete", "examples/with-edges"],
)
def test_configuration_is_valid(tmp_path: Path, folder: str) -> None:
    """Every module is valid by itself, without a warning."""
    pytest.importorskip("tf.provider", reason="the package tf carries the stand-in for AWS")
    terraform = Terraform(copy_of_deploy(tmp_path / "terraform") / folder)
    terraform.must("get")
    found = json.loads(terraform.run("validate", "-json")[1])
    texts = [one["summary"] for one in found["diagnostics"]]
    assert found["valid"], found
    assert [text for text in texts if text != "Provider development overrides are in effect"] == []


def test_unknown_argument_is_noticed(tmp_path: Path) -> None:
    """A misspelt argument does not pass: the stand-in's schema is strict."""
    terraform = an_example(tmp_path / "terraform")
    file = terraform.folder.parents[1] / "modules" / "voice-agent" / "load_balancer.tf"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("deregistration_delay ", "deregistration_delays ", 1), encoding="utf-8")
    code, out = terraform.run("validate", "-no-color")
    assert code == 1 and "Unsupported argument" in out


def test_everything_is_described(example: Terraform) -> None:
    """Every variable and every output of every module says what it is."""
    example.must("plan", "-input=false", "-out=described.bin")
    root = example.json("show", "-json", "described.bin")["configuration"]["root_module"]
    modules, seen = [("example", root)], 0
    while modules:
        where, module = modules.pop()
        for kind in ("variables", "outputs"):
            for name, declared in module.get(kind, {}).items():
                seen += 1
                assert declared.get("description", "").strip().endswith("."), f"{where}: {kind} {name}"
        modules += [(name, call["module"]) for name, call in module.get("module_calls", {}).items()]
    assert seen > 60


def test_readme_lists_every_input_and_output(example: Terraform) -> None:
    """The README's tables say what the module's own declarations say."""
    readme = (DEPLOY / "README.md").read_text(encoding="utf-8")
    example.must("plan", "-input=false", "-out=listed.bin")
    root = example.json("show", "-json", "listed.bin")["configuration"]["root_module"]
    module = root["module_calls"]["voice_agent"]["module"]
    rows = [
        f"| `{name}` | {given['description']} | {default_of(given)} |" for name, given in module["variables"].items()
    ] + [f"| `{name}` | {given['description']} |" for name, given in module["outputs"].items()]
    assert [row for row in rows if row not in readme.splitlines()] == []


def default_of(declared: dict[str, Any]) -> str:
    """As the README shows it; a variable without a default must be given."""
    return f"`{json.dumps(declared['default'])}`" if "default" in declared else "required"


def shift_behind_terraforms_back(example: Terraform) -> None:
    """What both phases of a cutover leave behind: green alone in every weighted rule, no stickiness."""
    file = example.folder / "terraform.tfstate"
    state = json.loads(file.read_text(encoding="utf-8"))
    green = state["outputs"]["target_group_arns"]["value"]["green"]
    for resource in state["resources"]:
        if resource["type"] == "aws_lb_listener_rule" and resource["name"] == "weighted":
            for instance in resource["instances"]:
                [forward] = instance["attributes"]["action"][0]["forward"]
                forward["target_group"] = [{"arn": green, "weight": 100}]
                forward["stickiness"] = []
    file.write_text(json.dumps(state), encoding="utf-8")


def test_plan_does_not_undo_a_cutover(tmp_path: Path) -> None:
    """After a cutover there is nothing to apply; without `ignore_changes` all weighted rules would be set back."""
    terraform = an_example(tmp_path / "terraform")
    terraform.must("apply", "-auto-approve", "-input=false", "-no-color")
    assert terraform.changes() == {}
    shift_behind_terraforms_back(terraform)
    assert terraform.changes() == {}

    rules = terraform.folder.parents[1] / "modules" / "voice-agent" / "rules.tf"
    text = rules.read_text(encoding="utf-8")
    rules.write_text(text.replace("ignore_changes = [action]", "ignore_changes = []"), encoding="utf-8")
    weighted = f"{MODULE}.aws_lb_listener_rule.weighted"
    names = ("first-connect", "resume-by-path", "resume-by-query", "stateless")
    assert terraform.changes() == {f'{weighted}["{name}"]': ["update"] for name in names}


def test_outputs_are_what_the_cutover_tool_reads(outputs: dict[str, Any], resources: dict[str, Any]) -> None:
    """Names and shapes; first connects' rule first, and every weighted rule is there."""
    values = {name: output["value"] for name, output in outputs.items()}
    names = ("first-connect", "resume-by-query", "resume-by-path", "stateless")
    assert values["alb_rule_arns"] == [resources[f'aws_lb_listener_rule.weighted["{name}"]']["arn"] for name in names]
    assert values["alb_listener_arn"] == resources["aws_lb_listener.https"]["arn"]
    groups = {color: resources[f'aws_lb_target_group.color["{color}"]']["arn"] for color in ("blue", "green")}
    assert values["target_group_arns"] == groups
    assert values["cloudwatch_namespace"] == "VoiceAgent"
    assert values["url"] == "wss://voice.example.com/v1/realtime"
    redis = resources["aws_elasticache_replication_group.this"]["primary_endpoint_address"]
    quoted = VARIABLES["redis_auth_token"].replace("#", "%23").replace("$", "%24")
    assert values["store_url"] == f"rediss://:{quoted}@{redis}:6379/0"
    assert [name for name, output in outputs.items() if output["sensitive"]] == ["color_key", "store_url"]


def test_load_balancer_suits_long_websockets(resources: dict[str, Any]) -> None:
    """Idle for longer than several pings, TLS 1.3, and nothing a caller could smuggle a request with."""
    balancer = resources["aws_lb.this"]
    assert balancer["idle_timeout"] >= 120
    assert balancer["drop_invalid_header_fields"] and balancer["enable_deletion_protection"]
    assert balancer["access_logs"] == []
    assert "TLS13" in resources["aws_lb_listener.https"]["ssl_policy"]
    for color in ("blue", "green"):
        group = resources[f'aws_lb_target_group.color["{color}"]']
        assert (group["protocol"], group["protocol_version"], group["target_type"]) == ("HTTP", "HTTP1", "ip")
        assert (group["port"], group["deregistration_delay"]) == (8080, "660")
        [check] = group["health_check"]
        assert (check["path"], check["matcher"]) == ("/healthz/realtime", "200")
        assert check["interval"] * check["unhealthy_threshold"] <= 10, (
            "clients would give up before a draining pod is out"
        )


def test_nobody_but_the_next_in_line_can_connect(resources: dict[str, Any]) -> None:
    """Callers to the load balancer, it to the pods, they and operators to Redis, and nothing beside that."""
    group = {resources[f"aws_security_group.{name}"]["id"]: name for name in ("alb", "redis", "pods[0]")}
    found = {
        (
            kind,
            group[rule["security_group_id"]],
            group.get(rule["referenced_security_group_id"], rule["referenced_security_group_id"] or rule["cidr_ipv4"]),
            rule["from_port"],
            rule["to_port"],
            rule["ip_protocol"],
        )
        for address, rule in resources.items()
        for kind in ("ingress", "egress")
        if address.startswith(f"aws_vpc_security_group_{kind}_rule.")
    }
    assert found == {
        ("ingress", "alb", "0.0.0.0/0", 443, 443, "tcp"),
        ("ingress", "alb", "0.0.0.0/0", 80, 80, "tcp"),
        ("egress", "alb", "pods[0]", 8080, 8080, "tcp"),
        ("ingress", "pods[0]", "alb", 8080, 8080, "tcp"),
        ("egress", "pods[0]", "redis", 6379, 6379, "tcp"),
        ("egress", "pods[0]", "0.0.0.0/0", 443, 443, "tcp"),
        ("ingress", "redis", "pods[0]", 6379, 6379, "tcp"),
        ("ingress", "redis", "sg-operators", 6379, 6379, "tcp"),
    }


def test_redis_outlives_a_node_and_evicts_nothing(resources: dict[str, Any]) -> None:
    """Replicas in other zones, failover by itself, TLS, a password, and no write that one node alone holds."""
    redis = resources["aws_elasticache_replication_group.this"]
    assert redis["num_cache_clusters"] == 3
    assert redis["automatic_failover_enabled"] and redis["multi_az_enabled"]
    assert redis["transit_encryption_enabled"] and redis["at_rest_encryption_enabled"] == "true"
    assert redis["auth_token"] == VARIABLES["redis_auth_token"]
    assert redis["snapshot_retention_limit"] == 1
    group = resources["aws_elasticache_parameter_group.this"]
    assert redis["parameter_group_name"] == group["name"]
    assert {one["name"]: one["value"] for one in group["parameter"]} == {
        "maxmemory-policy": "noeviction",
        "min-replicas-to-write": "1",
        "min-replicas-max-lag": "2",
    }


def test_alarms_take_silence_for_what_it_is(resources: dict[str, Any]) -> None:
    """Dropped calls and sick pods by color; missing active calls are an alarm, never a zero; all tell the topic."""
    alarms = {
        address.removeprefix("aws_cloudwatch_metric_alarm."): values
        for address, values in resources.items()
        if address.startswith("aws_cloudwatch_metric_alarm.")
    }
    topic = [resources["aws_sns_topic.alarms"]["arn"]]
    assert all(alarm["alarm_actions"] == topic and alarm["alarm_description"] for alarm in alarms.values())
    silent = alarms["active_calls_silent"]
    assert silent["treat_missing_data"] == "breaching"
    assert watched(silent) == {("VoiceAgent", "ActiveCalls", color) for color in COLORS}
    for color in COLORS:
        dropped = alarms[f'dropped_calls["{color}"]']
        assert (dropped["namespace"], dropped["metric_name"]) == ("VoiceAgent", "DroppedCalls")
        assert (dropped["dimensions"], dropped["statistic"], dropped["threshold"]) == ({"Color": color}, "Sum", 0)
        sick = alarms[f'unhealthy_hosts["{color}"]']
        group = resources[f'aws_lb_target_group.color["{color}"]']
        assert sick["dimensions"]["TargetGroup"] == group["arn_suffix"]
        assert sick["period"] * sick["evaluation_periods"] > 600, "a drain would set it off"
    nodes = {f"voice-agent-00{number}" for number in (1, 2, 3)}
    assert {alarm["dimensions"]["CacheClusterId"] for name, alarm in alarms.items() if "redis_memory" in name} == nodes
    failover = [one["metric"][0] for one in alarms["redis_failover"]["metric_query"] if one["metric"]]
    assert {one["dimensions"]["CacheClusterId"] for one in failover} == nodes


def watched(alarm: dict[str, Any]) -> set[tuple[str, str, str]]:
    """Namespace, metric and color of every metric in an alarm's expression, each of which it uses."""
    metrics = {one["id"]: one["metric"][0] for one in alarm["metric_query"] if one["metric"]}
    [expression] = [one["expression"] for one in alarm["metric_query"] if one["return_data"]]
    assert all(name in expression for name in metrics)
    return {(one["namespace"], one["metric_name"], one["dimensions"]["Color"]) for one in metrics.values()}


def test_policies_allow_what_is_needed_and_no_more(resources: dict[str, Any], outputs: dict[str, Any]) -> None:
    """The publisher may write to one namespace; the tool may change the weighted rules and retire targets."""
    [publish] = json.loads(resources["aws_iam_policy.publish_metrics"]["policy"])["Statement"]
    assert publish["Action"] == ["cloudwatch:PutMetricData"]
    assert publish["Condition"] == {"StringEquals": {"cloudwatch:namespace": "VoiceAgent"}}
    statements = json.loads(resources["aws_iam_policy.cutover"]["policy"])["Statement"]
    allowed = {action: one["Resource"] for one in statements for action in one["Action"]}
    assert allowed.pop("elasticloadbalancing:ModifyRule") == outputs["alb_rule_arns"]["value"]
    retired = allowed.pop("elasticloadbalancing:DeregisterTargets")
    assert set(retired) == set(outputs["target_group_arns"]["value"].values())
    reads = [name.partition(":")[2] for name, where in allowed.items() if where == ["*"]]
    assert len(reads) == len(allowed) and all(name.startswith(("Describe", "Get")) for name in reads)


def test_security_groups_may_be_made_in_the_same_configuration(tmp_path: Path) -> None:
    """A plan needs how many there are, and not yet what AWS will call them."""
    terraform = an_example(tmp_path / "terraform")
    main = terraform.folder / "main.tf"
    text = main.read_text(encoding="utf-8")
    for name in ("pod_security_group_ids", "operator_security_group_ids"):
        assert f"= var.{name}" in text
        text = text.replace(f"= var.{name}", "= aws_security_group.cluster[*].id")
    group = 'resource "aws_security_group" "cluster" {\n  count = 2\n  name = "cluster"\n}\n'
    main.write_text(text + group, encoding="utf-8")
    made = terraform.changes()
    for name in ("redis_from_pods", "redis_from_operators"):
        assert made[f"{MODULE}.aws_vpc_security_group_ingress_rule.{name}[1]"] == ["create"]
    assert f"{MODULE}.aws_security_group.pods[0]" not in made


WRONG = {
    'color_key = "replace-me"': "16 to 100 letters",
    'ssl_policy = "ELBSecurityPolicy-2016-08"': "TLS 1.3",
    "redis_replicas = 0": "nothing to fail over to",
    'redis_auth_token = "short"': "32 to 128",
    'name = "-voice"': "start with a letter",
    'ingress_cidrs = ["everywhere"]': "IPv4 range",
    'cloudwatch_namespace = "AWS/Mine"': "reserved",
}
"""Values, and what is said of them: a plan names all that is wrong with any variable."""


def test_wrong_variables_stop_the_plan(tmp_path: Path) -> None:
    """A value that would cut calls off, or that AWS refuses, is named before anything is changed."""
    terraform = an_example(tmp_path / "terraform")
    complaints = complaints_about(terraform, "voice-agent", list(WRONG))
    assert passed_over(complaints, WRONG) == []
    other = {'color_key = "sixteen*or*more*letters"': "16 to 100 letters"}
    assert passed_over(complaints_about(terraform, "voice-agent", list(other)), other) == []


TOO_SHORT = "at least pre_stop_s + drain_deadline_s + 30"


@pytest.mark.parametrize(
    "wrong",
    [
        {
            "weights = { blue = 50, green = 60 }": "must add up to 100",
            "idle_timeout_s = 60": "120 to 4000",
            "sticky_s = 0": "1 to 604800",
            "termination_grace_s = 639": TOO_SHORT,
        },
        {"deregistration_delay_s = 639": TOO_SHORT},
        {"pre_stop_s = 60": TOO_SHORT},
    ],
    ids=["several", "delay", "pre-stop"],
)
def test_what_a_resource_cannot_be_made_with_stops_the_plan(tmp_path: Path, wrong: dict[str, str]) -> None:
    """Also what each of two values would be by itself: a drain needs longer than one of them."""
    complaints = complaints_about(an_example(tmp_path / "terraform"), "voice-agent", list(wrong))
    assert [text for text in wrong.values() if not any(text in complaint for complaint in complaints)] == []
