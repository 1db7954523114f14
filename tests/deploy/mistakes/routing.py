"""Mistakes on the way in, and what `routing_lint` has to say of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.deploy.manifests import Manifests
from tests.deploy.places import ALB, notes, replace_note, reweigh, rule, spec, stick

MISTAKES: dict[str, tuple[Callable[[Manifests], Any], str]] = {
    "weights that do not add up": (lambda it: rule(it, 3)["backendRefs"][1].update(weight=10), "add up to 110"),
    "negative weight": (lambda it: rule(it, 2)["backendRefs"][1].update(weight=-1), "weights have to be 0 to 100"),
    "route to a service that is not there": (
        lambda it: rule(it, 2)["backendRefs"][0].update(name="voice-agent-bleu"),
        "no Service voice-agent-bleu",
    ),
    "route to a port that is not there": (lambda it: rule(it, 3)["backendRefs"][0].update(port=80), "with port 80"),
    "route to the admin's door": (
        lambda it: rule(it, 3)["matches"].append({"path": {"type": "PathPrefix", "value": "/admin"}}),
        "/admin is not for outside",
    ),
    "call that the route lets nobody start": (
        lambda it: rule(it, 2)["matches"].pop(),
        "HTTPRoute/voice-agent: nobody gets to /openai/realtime",
    ),
    "call that only somebody with a header starts": (
        lambda it: rule(it, 3)["matches"][1].update(headers=[{"name": "X-A", "value": "b"}]),
        "HTTPRoute/voice-agent: nobody gets to /v1/realtime",
    ),
    "call that the canary lets nobody start": (
        lambda it: spec(it, "HTTPRoute", "voice-agent-rollout")["rules"][0]["matches"].pop(2),
        "HTTPRoute/voice-agent-rollout: nobody gets to /openai/v1/realtime",
    ),
    "call that the ALB lets nobody start": (
        lambda it: spec(it, "Ingress", "voice-agent")["rules"][0]["http"]["paths"].pop(4),
        "Ingress/voice-agent: nobody gets to /openai/v1/realtime",
    ),
    "route for everything": (
        lambda it: rule(it, 3)["matches"].append({"path": {"type": "PathPrefix", "value": "/"}}),
        "/ is not for outside",
    ),
    "sticky resumes": (
        lambda it: rule(it, 2).update(sessionPersistence={"type": "Cookie"}),
        "resumes must not be sticky",
    ),
    "color for whoever asks": (
        lambda it: rule(it, 1)["matches"][1]["headers"][0].update(value="green"),
        "anybody may choose voice-agent-green",
    ),
    "new revision for whoever comes": (
        lambda it: spec(it, "HTTPRoute", "voice-agent-rollout-smoke")["rules"][0]["matches"][3].pop("headers"),
        "anybody may choose voice-agent-canary",
    ),
    "color for whoever comes": (
        lambda it: rule(it, 1)["matches"][2].pop("headers"),
        "anybody may choose voice-agent-green",
    ),
    "color for a pattern": (
        lambda it: rule(it, 0)["matches"][0]["headers"][0].update(type="RegularExpression"),
        "anybody may choose voice-agent-blue",
    ),
    "color for whoever asks an ALB": (
        lambda it: replace_note(it, "conditions.voice-agent-green", "green:replace-me", "green"),
        "anybody may choose voice-agent-green",
    ),
    "color for two values of an ALB": (
        lambda it: replace_note(
            it, "conditions.voice-agent-green", '["green:replace-me"]', '["green:replace-me", "green"]'
        ),
        "anybody may choose voice-agent-green",
    ),
    "color for whoever comes to an ALB": (
        lambda it: notes(it).pop(f"{ALB}conditions.voice-agent-blue"),
        "anybody may choose voice-agent-blue",
    ),
    "color whose target group goes with its weights": (
        lambda it: spec(it, "Ingress", "voice-agent")["rules"][0]["http"]["paths"].pop(1),
        "leaves voice-agent-green the controller deletes its target group",
    ),
    "crossed header": (
        lambda it: rule(it, 0)["matches"][0]["headers"][0].update(value="green:replace-me"),
        "anybody may choose voice-agent-blue",
    ),
    "calls cut off by a timeout": (lambda it: rule(it, 2).pop("timeouts"), "cut off at the implementation's timeout"),
    "gateway of another name": (
        lambda it: spec(it, "HTTPRoute", "voice-agent")["parentRefs"][0].update(name="gateway"),
        "a Gateway gateway",
    ),
    "annotation that is no JSON": (
        lambda it: replace_note(it, "actions.voice-resume", '"weight": 100', '"weight": 100,,'),
        "actions.voice-resume is not JSON",
    ),
    "action of a service that is not there": (
        lambda it: replace_note(it, "actions.voice-first", "voice-agent-green", "voice-agent-red"),
        "names voice-agent-red",
    ),
    "annotation weights that do not add up": (
        lambda it: reweigh(it, "voice-resume-path", 100, 100),
        "add up to 200",
    ),
    "sticky resumes behind an ALB": (lambda it: stick(it, "voice-resume"), "voice-resume has it the other way"),
    "action that is not there": (
        lambda it: notes(it).pop(f"{ALB}actions.voice-resume-path"),
        "no annotation actions.voice-resume-path",
    ),
    "conditions of nothing": (
        lambda it: notes(it).update({f"{ALB}conditions.voice-resumes": "[]"}),
        "conditions.voice-resumes belongs to no path",
    ),
    "more values than an ALB takes": (
        lambda it: replace_note(it, "conditions.voice-agent-blue", '"/v1/realtime"', '"/v1/realtime", "/twilio/*"'),
        "has 6 values",
    ),
    "metrics for everybody": (
        lambda it: spec(it, "Ingress", "voice-agent")["rules"][0]["http"]["paths"][-1].update(path="/metrics"),
        "/metrics is not for outside",
    ),
    "first connects before resumes": (
        lambda it: spec(it, "Ingress", "voice-agent")["rules"][0]["http"]["paths"].reverse(),
        "is never reached",
    ),
    "ALB that waits too briefly": (
        lambda it: replace_note(it, "target-group-attributes", "=660", "=300"),
        "cuts calls off after 300 s",
    ),
    "ALB that waits for the drain alone": (
        lambda it: replace_note(it, "target-group-attributes", "=660", "=639"),
        "preStop and drain need 640 s",
    ),
    "ALB that ends calls": (
        lambda it: replace_note(it, "load-balancer-attributes", "=300", "=30"),
        "idle timeout of 30 s",
    ),
    "node ports": (lambda it: notes(it).update({f"{ALB}target-type": "instance"}), "target-type has to be ip"),
    "old TLS": (
        lambda it: notes(it).update({f"{ALB}ssl-policy": "ELBSecurityPolicy-2016-08"}),
        "TLS policy is an old one",
    ),
    "no readiness gate": (
        lambda it: it.parts["routing/aws-load-balancer-controller"][0]["metadata"]["labels"].clear(),
        "no readiness gate",
    ),
}
