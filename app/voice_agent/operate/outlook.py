"""What a drain of a color is expected to do to its calls, before anybody is asked for it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from voice_agent.operate.fleet import Fleet
from voice_agent.runtime.pod.fleet import ReadyPods, count, ready_pods, routed_colors, some
from voice_agent.stores.base import RouterWeights

MINUTE_S = 60
HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class Outlook:
    """Who takes over, and what it costs; `str()` is for people."""

    color: str
    ready_pods: ReadyPods
    """Pods of other colors: all of its own drain."""
    calls: int
    calls_not_resumable: int
    oldest_call_s: int
    """How long the oldest call has been under way; 0: there is none."""
    deadline_s: float

    def __str__(self) -> str:
        if self.ready_pods.pods:
            pods = self.ready_pods.pods
            says = f"{some(pods)} {'is' if len(pods) == 1 else 'are'} expected to take over"
        else:
            says = f"nobody is expected to take over: {self.ready_pods.why_none}"
        if not self.calls:
            return f"{says}; {self.color} has no call."
        oldest = f"the oldest {_age(self.oldest_call_s)} old" if self.oldest_call_s else "how old is not known"
        return f"{says}; {self.color} has {count(self.calls, 'call')}, {oldest}; {self.cost}."

    @property
    def cost(self) -> str:
        """Which calls cannot move."""
        return not_resumable(self.calls, self.calls_not_resumable, self.deadline_s)


def outlook(fleet: Fleet, told: RouterWeights | None, color: str, deadline_s: float) -> Outlook:
    """How a drain of a color would go, by the heartbeats and by what was told of the router."""
    own = [pod for pod in fleet.pods if pod.color == color]
    others = [pod for pod in fleet.pods if pod.color != color]
    ages_ms = [pod.heartbeat_at_ms - pod.oldest_call_at_ms for pod in own if pod.oldest_call_at_ms]
    return Outlook(
        color=color,
        ready_pods=ready_pods(others, routed_colors(fleet.pods, told)),
        calls=sum(pod.active_calls for pod in own),
        calls_not_resumable=sum(pod.calls_not_resumable for pod in own),
        oldest_call_s=max(0, *ages_ms, 0) // 1000,
        deadline_s=deadline_s,
    )


def price(fleet: Fleet, color: str, deadline_s: float) -> str:
    """What leaving a color is going to cost, in a sentence."""
    own = [pod for pod in fleet.pods if pod.color == color]
    calls, of_them = sum(pod.active_calls for pod in own), sum(pod.calls_not_resumable for pod in own)
    return f"{color} has {count(calls, 'call')}" + (f": {not_resumable(calls, of_them, deadline_s)}" if calls else "")


def not_resumable(calls: int, of_them: int, deadline_s: float) -> str:
    """What becomes of those that cannot resume."""
    if not of_them:
        return "all can resume"
    which = "it cannot resume" if calls == 1 else f"{of_them} cannot resume"
    return f"{which}, and {'is' if of_them == 1 else 'are'} lost unless ended within {deadline_s:g} s of the drain"


def _age(seconds: int) -> str:
    """``12 s``, ``5 min``, ``3 h``."""
    for unit_s, unit in ((HOUR_S, "h"), (MINUTE_S, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds // unit_s} {unit}"
    return f"{seconds} s"
