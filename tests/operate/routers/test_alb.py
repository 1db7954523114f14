"""An ALB: moto's server behind boto3, read back by the `aws` command; botocore's stub for what moto cannot play.

Tests of `operate.aws`, too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from botocore.stub import Stubber  # type: ignore[import-untyped]  # it has no types

from tests.operate.moto import STICKY, Balancer, Moto
from voice_agent.operate.ports import CutoverError, RouterError, Routing
from voice_agent.operate.routers.alb import AlbRouter

pytestmark = pytest.mark.xdist_group("moto")  # one server for all of them
BLUE_FIRST = {"blue": 100, "green": 0}


def router(balancer: Balancer, client: Any = None) -> AlbRouter:
    return AlbRouter(rules=balancer.weighted, target_groups=balancer.groups, client=client)


async def test_a_cutover_and_its_rollback_are_seen_by_the_aws_command(balancer: Balancer) -> None:
    """Both phases of a shift, and back: weights of every weighted rule; the smoke rules stay as they were."""
    alb = router(balancer)
    smoke = balancer.told(*balancer.smoke)
    assert await alb.read() == Routing(BLUE_FIRST)
    assert alb.name.startswith("alb voice")
    for routing in (
        Routing.split("green", 25, "blue"),
        Routing.split("green", 100, "blue"),
        Routing.alone("green"),
        Routing.split("blue", 100, "green"),
        Routing.alone("blue"),
    ):
        await alb.write(routing)
        assert balancer.weights() == [dict(routing.weights)] * 3
        assert (await alb.read(), await alb.changes(routing)) == (routing, [])
    assert balancer.told(*balancer.smoke) == smoke


async def test_first_connects_stay_sticky_and_resumes_stay_free(balancer: Balancer) -> None:
    """Also over the phase in which a rule has one group only."""
    alb, before = router(balancer), balancer.stickiness()
    for routing in (Routing.alone("green"), Routing.split("green", 50, "blue")):
        await alb.write(routing)
        assert balancer.stickiness() == before
    assert (before[0], [sticky["Enabled"] for sticky in before[1:]]) == (STICKY, [False, False])


async def test_stickiness_that_was_lost_comes_back_to_first_connects_only(balancer: Balancer) -> None:
    """Somebody set all rules to one plain group by hand; the order of the rules decides."""
    for arn in balancer.weighted:
        plain = {"TargetGroups": [{"TargetGroupArn": balancer.groups["green"], "Weight": 1}]}
        balancer.elb.modify_rule(RuleArn=arn, Actions=[{"Type": "forward", "ForwardConfig": plain}])
    alb = router(balancer)
    assert await alb.read() == Routing.alone("green")
    changes = await alb.changes(Routing(BLUE_FIRST))
    assert ["sticky again" in change for change in changes] == [True, False, False]
    await alb.write(Routing(BLUE_FIRST))
    assert [(sticky or {}).get("Enabled", False) for sticky in balancer.stickiness()] == [True, False, False]


async def test_what_stands_before_the_forward_is_kept(balancer: Balancer) -> None:
    """Callers who had to log in before a cutover have to log in after it; the secret is referred to, never sent."""
    oidc = {
        "Issuer": "https://login.example",
        "AuthorizationEndpoint": "https://login.example/a",
        "TokenEndpoint": "https://login.example/t",
        "UserInfoEndpoint": "https://login.example/u",
        "ClientId": "voice",
    }
    login = {"Type": "authenticate-oidc", "Order": 1, "AuthenticateOidcConfig": oidc}
    forward = balancer.forward(STICKY) | {"Order": 2}
    secret = {"AuthenticateOidcConfig": {**oidc, "ClientSecret": "s"}}
    balancer.elb.modify_rule(RuleArn=balancer.weighted[0], Actions=[login | secret, forward])
    client, sent = balancer.moto.client("elbv2"), []
    client.meta.events.register(
        "provide-client-params.elastic-load-balancing-v2.ModifyRule", lambda params, **_: sent.append(params)
    )
    await router(balancer, client).write(Routing.alone("green"))
    first = balancer.told()[0]["Actions"]
    assert [action["Type"] for action in first] == ["authenticate-oidc", "forward"]
    assert [action["Order"] for action in first] == [1, 2]
    assert {key: first[0]["AuthenticateOidcConfig"][key] for key in oidc} == oidc
    assert sent[0]["Actions"][0]["AuthenticateOidcConfig"]["UseExistingClientSecret"] is True


async def test_a_crash_between_two_rules_is_seen_and_healed(balancer: Balancer) -> None:
    """Whoever comes next sees which rules differ; a second write changes only what is left."""
    client, died = balancer.moto.client("elbv2"), []
    modify = client.modify_rule

    def dies_at_the_second(**arguments: Any) -> Any:
        died.append(arguments["RuleArn"])
        if len(died) == 2:
            raise KeyboardInterrupt
        return modify(**arguments)

    client.modify_rule = dies_at_the_second
    with pytest.raises(KeyboardInterrupt):
        router(balancer, client)._write(Routing.alone("green"))
    alb = router(balancer)
    left = await alb.read()
    assert (left, len(left.differing)) == (Routing.alone("green"), 2)
    changes = await alb.changes(Routing.alone("green"))
    assert len(changes) == 2
    assert all("blue 100, green 0 -> green 100" in change for change in changes)
    died.clear()
    with pytest.raises(KeyboardInterrupt):
        router(balancer, client)._write(Routing.alone("green"))
    assert died == balancer.weighted[1:]
    await alb.write(Routing.alone("green"))
    assert balancer.weights() == [{"green": 100}] * 3
    assert not (await alb.read()).differing


@pytest.mark.parametrize(
    ("blue", "green", "percents"),
    [(1, 1, (50, 50)), (999, 1, (99, 1)), (2, 1, (67, 33)), (7, 1, (87, 13)), (0, 3, (0, 100))],
)
async def test_weights_of_another_scale_are_read_as_percents(
    balancer: Balancer, blue: int, green: int, percents: tuple[int, int]
) -> None:
    """Half up; who gets anybody never reads as nobody."""
    for arn in balancer.weighted:
        balancer.elb.modify_rule(RuleArn=arn, Actions=[balancer.forward(None, blue, green)])
    read = await router(balancer).read()
    assert (read.weights["blue"], read.weights["green"]) == percents
    same = await router(balancer).changes(Routing({"blue": percents[0], "green": percents[1]}))
    assert (same == []) is (blue * 100 == percents[0] * (blue + green))


@pytest.mark.parametrize(("blue", "green"), [(0, 0), (1000, 0)])
async def test_weights_that_aws_would_not_take_are_told(balancer: Balancer, blue: int, green: int) -> None:
    """Moto takes them; an ALB never has them, so something is wrong."""
    balancer.elb.modify_rule(RuleArn=balancer.weighted[1], Actions=[balancer.forward(None, blue, green)])
    with pytest.raises(RouterError, match=r"rule 2 .* make no split"):
        await router(balancer).read()


async def test_a_rule_that_forwards_elsewhere_is_told(balancer: Balancer) -> None:
    """A third group, a rule that does not forward, a rule that is gone: never a guess."""
    with pytest.raises(RouterError, match="no color's target group"):
        other = {"blue": balancer.groups["blue"], "green": balancer.groups["green"] + "0"}
        alb = AlbRouter(rules=balancer.weighted, target_groups=other)
        balancer.elb.modify_rule(RuleArn=balancer.weighted[0], Actions=[balancer.forward(None, 50, 50)])
        await alb.read()
    refuse = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}
    balancer.elb.modify_rule(RuleArn=balancer.weighted[0], Actions=[refuse])
    with pytest.raises(RouterError, match="does not forward"):
        await router(balancer).read()
    balancer.elb.delete_rule(RuleArn=balancer.weighted[0])
    with pytest.raises(RouterError, match="RuleNotFound|there is no rule"):
        await router(balancer).read()


async def test_a_color_without_a_group_is_told_before_anything_changes(balancer: Balancer) -> None:
    """A typing mistake changes no rule."""
    with pytest.raises(RouterError, match="purple has no target group; there are groups for: blue, green"):
        await router(balancer).write(Routing.split("purple", 50, "blue"))
    assert balancer.weights() == [BLUE_FIRST] * 3


async def test_a_color_is_retired_once_no_rule_leads_to_it(balancer: Balancer) -> None:
    """Its targets are deregistered, the group stays; a second time there is nothing to do."""
    targets = [{"Id": "10.0.0.7", "Port": 8080}, {"Id": "10.0.0.8", "Port": 8080}]
    balancer.elb.register_targets(TargetGroupArn=balancer.groups["blue"], Targets=targets)
    alb = router(balancer)
    assert await alb.healthy_targets("blue") == 2
    with pytest.raises(RouterError, match="blue is still in a rule"):
        await alb.retire("blue")
    await alb.write(Routing.alone("green"))
    assert sorted(await alb.retire("blue")) == [f"deregister-targets blue: 10.0.0.{n}:8080" for n in (7, 8)]
    assert await alb.retire("blue") == []
    health = balancer.moto.cli("elbv2", "describe-target-health", "--target-group-arn", balancer.groups["blue"])
    assert health["TargetHealthDescriptions"] == []
    assert await alb.healthy_targets("blue") == 0


# --- what moto cannot play ----------------------------------------------------------------------

Stubbed = Callable[[], tuple[AlbRouter, Stubber]]


@pytest.fixture
def stubbed(balancer: Balancer, monkeypatch: pytest.MonkeyPatch) -> Stubbed:
    def make() -> tuple[AlbRouter, Stubber]:
        client = balancer.moto.client("elbv2")
        stub = Stubber(client)
        stub.activate()
        return router(balancer, client), stub

    return make


def health(*states: tuple[str, str | None]) -> dict[str, Any]:
    described = []
    for number, (state, reason) in enumerate(states):
        told = {"State": state} | ({"Reason": reason} if reason else {})
        described.append({"Target": {"Id": f"10.0.0.{number}", "Port": 8080}, "TargetHealth": told})
    return {"TargetHealthDescriptions": described}


@pytest.mark.parametrize(
    ("states", "healthy"),
    [
        ([("healthy", None), ("initial", "Elb.RegistrationInProgress"), ("draining", None)], 1),
        ([("unhealthy", "Target.Timeout"), ("initial", "Elb.InitialHealthChecking")], 0),
        ([("unused", "Target.NotInUse"), ("unused", "Target.NotInUse")], None),
        ([("unused", "Target.InvalidState"), ("healthy", None)], 1),
        ([("unavailable", "Target.HealthCheckDisabled")], None),
        ([], 0),
    ],
)
async def test_only_what_the_alb_checked_is_healthy(
    stubbed: Stubbed, states: list[tuple[str, str | None]], healthy: int | None
) -> None:
    """A group that no listener uses is not checked: that is unknown, not none."""
    alb, stub = stubbed()
    stub.add_response("describe_target_health", health(*states))
    assert await alb.healthy_targets("green") == healthy


async def test_draining_targets_are_not_deregistered_again(balancer: Balancer, stubbed: Stubbed) -> None:
    """Deregistering a target that drains would start its delay anew."""
    alb, stub = stubbed()
    forward = {"Type": "forward", "TargetGroupArn": balancer.groups["green"]}
    stub.add_response("describe_rules", {"Rules": [{"RuleArn": a, "Actions": [forward]} for a in balancer.weighted]})
    stub.add_response("describe_target_health", health(("draining", None), ("healthy", None)))
    stub.add_response(
        "deregister_targets",
        {},
        {"TargetGroupArn": balancer.groups["blue"], "Targets": [{"Id": "10.0.0.1", "Port": 8080}]},
    )
    assert await alb.retire("blue") == ["deregister-targets blue: 10.0.0.1:8080"]
    stub.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("code", "status", "retryable", "words"),
    [
        ("Throttling", 400, True, "AWS throttles DescribeRules"),
        ("AccessDenied", 403, False, "AWS does not allow DescribeRules; grant it"),
        ("ExpiredToken", 403, False, "renew them"),
        ("InternalFailure", 500, True, "refused with InternalFailure"),
        ("ValidationError", 400, False, "refused with ValidationError"),
    ],
)
async def test_a_refusal_says_what_to_do_and_whether_it_may_pass(
    stubbed: Stubbed, code: str, status: int, retryable: bool, words: str
) -> None:
    """One sentence without line breaks."""
    alb, stub = stubbed()
    stub.add_client_error("describe_rules", code, "line one\nline two", http_status_code=status)
    with pytest.raises(RouterError, match=words) as raised:
        await alb.read()
    assert (raised.value.retryable, "\n" in str(raised.value)) == (retryable, False)


async def test_a_rule_that_could_not_be_changed_is_named(balancer: Balancer, stubbed: Stubbed) -> None:
    """Throttled at the second of three: the first is changed, and trying again can help."""
    alb, stub = stubbed()
    rules = [{"RuleArn": arn, "Actions": [balancer.forward(None)]} for arn in balancer.weighted]
    stub.add_response("describe_rules", {"Rules": rules})
    stub.add_response("modify_rule", {})
    stub.add_client_error("modify_rule", "Throttling", http_status_code=400)
    with pytest.raises(RouterError, match=r"rule 2 \(.*\) was not changed: AWS throttles") as raised:
        await alb.write(Routing.alone("green"))
    assert raised.value.retryable


async def test_somebody_elses_change_is_told(balancer: Balancer, stubbed: Stubbed) -> None:
    """What was written is read again: an ALB has no condition "unless it was changed"."""
    alb, stub = stubbed()
    rules = [{"RuleArn": arn, "Actions": [balancer.forward(None)]} for arn in balancer.weighted]
    stub.add_response("describe_rules", {"Rules": rules})
    for _ in rules:
        stub.add_response("modify_rule", {})
    stub.add_response("describe_rules", {"Rules": rules})
    with pytest.raises(RouterError, match="somebody else changes it: modify-rule 1"):
        await alb.write(Routing.alone("green"))


async def test_an_unreachable_or_unconfigured_aws_is_told(
    balancer: Balancer, moto_process: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens; then no region; then no credentials."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(RouterError, match="AWS does not answer") as raised:
        await router(balancer).read()
    assert raised.value.retryable
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_process.url)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(RouterError, match=r"set up AWS as for the `aws` command"):
        await router(balancer).read()
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(RouterError, match="region"):
        router(balancer)


def test_a_missing_library_says_how_to_get_it(balancer: Balancer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not everybody has an ALB."""
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(CutoverError, match=r"pip install 'voice-agent\[operate\]'"):
        router(balancer)


@pytest.mark.parametrize(
    ("rules", "groups", "words"),
    [
        ([], ["blue", "green"], "at least one weighted rule"),
        (["voice"], ["blue", "green"], "'voice' is not the ARN of a rule"),
        (["rule", "rule"], ["blue", "green"], "named once"),
        (["rule"], ["blue", "blue"], "named once"),
        (["rule"], ["blue"], "target group for each color"),
    ],
)
def test_arns_are_checked_at_once(rules: list[str], groups: list[str], words: str) -> None:
    """Before anything is asked of AWS."""
    known = {"rule": "arn:aws:elasticloadbalancing:r:1:listener-rule/app/voice/1/2/3"}
    arns = {str(place): f"arn:aws:elasticloadbalancing:r:1:targetgroup/{name}/1" for place, name in enumerate(groups)}
    with pytest.raises(RouterError, match=words):
        AlbRouter(rules=[known.get(rule, rule) for rule in rules], target_groups=arns)
