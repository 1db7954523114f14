"""Mistakes in what watches and judges, and what `watching_lint` has to say of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.deploy.manifests import Manifests
from tests.deploy.places import metric, rollout, spec

MISTAKES: dict[str, tuple[Callable[[Manifests], Any], str]] = {
    "monitor that finds nothing": (
        lambda it: spec(it, "ServiceMonitor", "voice-agent")["selector"]["matchLabels"].update(app="voice"),
        "voice-agent-blue: no ServiceMonitor finds it",
    ),
    "monitor of another port": (
        lambda it: spec(it, "ServiceMonitor", "voice-agent")["endpoints"][0].update(port="metrics"),
        "has a port metrics",
    ),
    "canary of no service": (lambda it: rollout(it).update(canaryService="canary"), "there is no Service canary"),
    "canary without a judge": (
        lambda it: rollout(it)["analysis"]["templates"][0].update(templateName="voice"),
        "there is no AnalysisTemplate voice",
    ),
    "canary that an empty answer pleases": (
        lambda it: metric(it, "calls-dropped").update(successCondition="len(result) == 0 || result[0] == 0"),
        "calls-dropped: an empty answer passes",
    ),
    "canary that NaN pleases": (
        lambda it: metric(it, "error-rate").update(successCondition="isNaN(result[0]) || result[0] <= 0.02"),
        "error-rate: NaN passes",
    ),
    "canary that NaN lets wait": (
        lambda it: metric(it, "error-rate").update(failureCondition="result[0] > 0.02"),
        "error-rate: NaN is no failure",
    ),
    "canary that nothing pleases": (
        lambda it: metric(it, "first-audio-p95").update(successCondition="result[0] > 1.5"),
        "first-audio-p95: nothing passes",
    ),
    "canary that nobody judges": (lambda it: rollout(it).pop("analysis"), "nothing judges it"),
    "another namespace": (
        lambda it: it.one("Service", "voice-redis")["metadata"].update(namespace="default"),
        "not in the namespace voice",
    ),
    "cutover that is begun anew": (
        lambda it: spec(it, "Job", "voice-cutover").pop("podFailurePolicy"),
        "a cutover that rolled back would be begun anew",
    ),
    "cutover that is begun anew once its node is emptied": (
        lambda it: spec(it, "Job", "voice-cutover")["podFailurePolicy"]["rules"].reverse(),
        "a cutover that rolled back would be begun anew",
    ),
    "cutover that is begun anew in its pod": (
        lambda it: spec(it, "Job", "voice-cutover")["template"]["spec"].update(restartPolicy="OnFailure"),
        "a cutover that rolled back would be begun anew",
    ),
    "cutover that a kill ends": (
        lambda it: spec(it, "Job", "voice-cutover")["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"].append(
            137
        ),
        "another exit status than [1, 2, 3]",
    ),
    "cutover that nobody goes on with": (
        lambda it: spec(it, "Job", "voice-cutover").update(backoffLimit=0),
        "nobody goes on with a cutover",
    ),
    "rollback that is cut off": (
        lambda it: spec(it, "Job", "voice-cutover")["template"]["spec"].pop("terminationGracePeriodSeconds"),
        "takes as long as a drain",
    ),
}
