"""What heartbeats add up to."""

from __future__ import annotations

from voice_agent.runtime.pod.fleet import ColorSum, count, sum_by_color
from voice_agent.stores.base import PodHeartbeat, RouterWeights


def heartbeat(name: str, color: str, status: str, number: int) -> PodHeartbeat:
    """A pod whose figures are all different."""
    return PodHeartbeat(
        name=name,
        color=color,
        version="1",
        status=status,
        active_calls=number,
        parked_calls=10 * number,
        capacity=100 * number,
        started_at_ms=0,
        heartbeat_at_ms=0,
        calls_not_resumable=1000 * number,
    )


def test_every_figure_is_summed_by_color() -> None:
    """Colors in the order of their names; a pod that drains counts, and takes nothing."""
    pods = [
        heartbeat("c", "green", "ok", 1),
        heartbeat("a", "blue", "degraded", 2),
        heartbeat("b", "blue", "draining", 3),
    ]
    sums = sum_by_color(pods)
    assert list(sums) == ["blue", "green"]
    assert sums["blue"] == ColorSum(2, 1, 5, 50, 500, 5000)
    assert sums["green"] == ColorSum(1, 1, 1, 10, 100, 1000)
    assert ColorSum() == ColorSum(0, 0, 0, 0, 0, 0)


def test_a_color_with_any_weight_is_routed() -> None:
    """One percent is some of the callers."""
    assert RouterWeights({"blue": 0, "green": 1, "red": 99}, 0).routed == {"green", "red"}


def test_things_are_counted_in_words() -> None:
    """One of them, and any other number."""
    assert [count(number, "pod") for number in range(3)] == ["0 pods", "1 pod", "2 pods"]
