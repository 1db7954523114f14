"""Which request goes where, by the listener's rules as Terraform would create them."""

from __future__ import annotations

from typing import Any

import pytest
from moto import mock_aws

from tests.deploy.listener import Answer, Listener, values_of
from tests.deploy.replay import replay
from tests.deploy.terraform import KEY
from voice_agent.operate.ports import Routing
from voice_agent.operate.smoke import color_asked
from voice_agent.web.parameters import NEW_CALL_PATHS

pytestmark = pytest.mark.xdist_group("terraform")  # one example for all of them
SPLIT = {"blue": 100, "green": 0}
WEIGHTED = ("first-connect", "resume-by-query", "resume-by-path", "stateless")
"""The weighted rules as the cutover tool wants them."""


@pytest.fixture(scope="module")
def listener(resources: dict[str, dict[str, Any]]) -> Listener:
    return Listener.of(resources, "aws_lb_listener.https")


@pytest.mark.parametrize(
    "url",
    [
        "/admin",
        "/admin/calls",
        "/admin/drain?call_id=call_x",
        "/metrics",
        "/%61dmin/calls",
        "/%61dmin/calls?call_id=call_x&call_key=k",
        "/healthz/realtime",
        "/favicon.ico",
    ],
)
@pytest.mark.parametrize("headers", [{}, {"X_Voice_Color": f"green:{KEY}"}])
def test_private_pages_cannot_be_reached(listener: Listener, url: str, headers: dict[str, str]) -> None:
    """Admin and metrics answer 404 whatever query, header or spelling a request comes with."""
    assert listener.answer(url, **headers) == Answer(status=404)


@pytest.mark.parametrize("url", ["/realtime", "/v1/realtime?model=echo", "/"])
def test_first_connects_are_sticky(listener: Listener, url: str) -> None:
    """A first connect follows the weights and is bound to its color for 300 s."""
    assert listener.answer(url) == Answer(weights=SPLIT, sticky_s=300)


@pytest.mark.parametrize("path", NEW_CALL_PATHS)
def test_wherever_a_call_may_start_there_is_a_way_in(listener: Listener, path: str) -> None:
    """A new path of the server is routed, too."""
    assert listener.answer(path).weights == SPLIT


@pytest.mark.parametrize(
    "url",
    [
        "/realtime?call_id=call_x&last_event_id=evt_4",
        "/v1/realtime?model=echo&call_key=8f0c",
        "/v1/realtime?last_event_id=evt_4&resume_token=t&call_id=call_x",
        "/realtime/call_x?last_event_id=evt_4",
        "/realtime/call_x",
        "/twilio/voice",
        "/twilio/media",
        "/v1/realtime/client_secrets",
        "/openai/realtime?deployment=echo",
        "/openai/v1/realtime?call_key=8f0c",
    ],
)
def test_whatever_any_pod_can_answer_is_not_sticky(listener: Listener, url: str) -> None:
    """Resumes and webhooks follow the weights, both colors in the rule, and no cookie binds them."""
    assert listener.answer(url) == Answer(weights=SPLIT)


@pytest.mark.parametrize("color", ["blue", "green"])
@pytest.mark.parametrize("url", ["/realtime", "/v1/realtime", "/v1/realtime?call_id=call_x", "/realtime/call_x"])
def test_smoke_header_reaches_its_color_at_any_weight(listener: Listener, color: str, url: str) -> None:
    """A smoke call, and its resume, come to the color they name, at weight 0, too."""
    assert listener.answer(url, X_Voice_Color=color_asked(color, KEY)) == Answer(weights={color: 100})


@pytest.mark.parametrize("asked", ["green", "green:", f"green:{KEY[:-1]}", f"mauve:{KEY}", KEY, "*"])
@pytest.mark.parametrize("url", ["/realtime", "/v1/realtime?call_id=call_x", "/realtime/call_x"])
def test_who_does_not_show_the_key_is_routed_like_any_caller(listener: Listener, url: str, asked: str) -> None:
    """A color without the key, and a key without a color, change nothing."""
    assert listener.answer(url, X_Voice_Color=asked) == listener.answer(url)


def test_rules_are_within_the_limits_of_a_listener(listener: Listener) -> None:
    """At most three values a condition and five a rule, or AWS refuses the rule; no two of one priority."""
    for rule in listener.rules:
        counts = [len(values_of(condition)) for condition in rule["condition"]]
        assert all(1 <= count <= 3 for count in counts) and sum(counts) <= 5, rule["tags"]
    assert len({rule["priority"] for rule in listener.rules}) == len(listener.rules) == 7


def test_aws_takes_the_rules_and_gives_them_back(resources: dict[str, Any]) -> None:
    """Created through the real client on moto's AWS, every weighted rule says what Terraform said."""
    with mock_aws():
        made = replay(resources)
        rules = {rule["RuleArn"]: rule for rule in made.elb.describe_rules(ListenerArn=made.listener)["Rules"]}
    color = {arn: color for color, arn in made.target_groups.items()}
    for name in WEIGHTED:
        rule = rules[made.rules[name]]
        assert rule["Priority"] == str(resources[f'aws_lb_listener_rule.weighted["{name}"]']["priority"])
        [action] = rule["Actions"]
        forward = action["ForwardConfig"]
        assert {color[one["TargetGroupArn"]]: one["Weight"] for one in forward["TargetGroups"]} == SPLIT
        sticky = forward.get("TargetGroupStickinessConfig", {"Enabled": False})
        assert sticky == ({"Enabled": True, "DurationSeconds": 300} if name == "first-connect" else {"Enabled": False})


async def test_cutover_tool_shifts_these_rules(resources: dict[str, Any]) -> None:
    """Both phases and back, on the load balancer that Terraform describes; stickiness stays where it was."""
    alb = pytest.importorskip("voice_agent.operate.routers.alb")
    with mock_aws():
        made = replay(resources)
        arns = [made.rules[name] for name in WEIGHTED]
        router = alb.AlbRouter(rules=arns, target_groups=made.target_groups, client=made.elb)
        for weights in ({"blue": 0, "green": 100}, {"green": 100}, {"blue": 100, "green": 0}):
            await router.write(Routing(weights))
            assert await router.read() == Routing(weights)
        forwards = {
            rule["RuleArn"]: rule["Actions"][0]["ForwardConfig"]
            for rule in made.elb.describe_rules(RuleArns=arns)["Rules"]
        }
    sticky = [forwards[arn].get("TargetGroupStickinessConfig", {}).get("Enabled", False) for arn in arns]
    assert sticky == [True, False, False, False]


def test_default_action_forwards_nobody(resources: dict[str, Any]) -> None:
    """modify-rule cannot change a default action, so no weights may hide there; plain HTTP is sent to HTTPS."""
    assert resources["aws_lb_listener.https"]["default_action"][0]["type"] == "fixed-response"
    [redirect] = resources["aws_lb_listener.http"]["default_action"][0]["redirect"]
    assert (redirect["protocol"], redirect["port"]) == ("HTTPS", "443")
