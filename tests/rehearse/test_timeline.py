"""The arithmetic on what happened to every call."""

from __future__ import annotations

from dataclasses import replace

from voice_agent.rehearse.timeline import CallLine, Move, active_calls, held_calls, percentile


def line(*legs: tuple[str, float, float | None]) -> CallLine:
    """A call served in these legs."""
    call = CallLine("sdk-0", "sdk", "call_a")
    for color, from_s, to_s in legs:
        call.begin_leg(color, f"{color}-1", from_s)
        if to_s is not None:
            call.end_leg(to_s, 1012)
    return call


def test_active_calls_are_counted_by_color() -> None:
    """From the moment of the greeting until the moment of the loss; a leg without an end lasts on."""
    calls = [line(("blue", 1, 4), ("green", 5, None)), line(("blue", 2, 4))]
    assert active_calls(calls, "blue", [0, 1, 2, 3.9, 4, 9]) == [0, 1, 2, 2, 0, 0]
    assert active_calls(calls, "green", [4.9, 5, 100]) == [0, 1, 1]
    assert active_calls(calls, "blue", [3, 0, 3]) == [2, 0, 2]
    assert active_calls([], "blue", [1]) == [0]


def test_gaps_lie_between_legs() -> None:
    """One for each resume."""
    assert line(("blue", 1, 4), ("green", 4.5, 8), ("blue", 9, None)).gaps_s == [0.5, 1.0]
    assert line(("blue", 1, None)).gaps_s == []


def test_a_call_is_on_a_pod_only_while_it_is_served() -> None:
    """Not after its last connection."""
    assert line(("blue", 1, 4), ("green", 5, 6)).is_on is None
    assert line(("blue", 1, None)).is_on == "blue-1"


def test_the_first_to_notice_an_end_says_so() -> None:
    """A loss and a hang-up may both be told."""
    call = line(("blue", 1, 4))
    call.end_leg(7)
    assert (call.legs[0].to_s, call.legs[0].ended_with) == (4, 1012)
    CallLine("sdk-0", "sdk").end_leg(1)


def test_percentiles_are_values_that_occurred() -> None:
    """Nearest rank; nothing of nothing."""
    assert percentile([], 0.5) is None
    assert percentile([3, 1, 2], 0.5) == 2
    assert percentile(list(range(1, 101)), 0.99) == 99
    assert percentile([7], 0.99) == 7


MOVE = Move("call_a", "green", "green-2", at_s=5, gap_s=1, after=1006, reason="silent for 5 s")


def test_a_call_that_an_edge_moves_is_served_in_two_legs() -> None:
    """From its pod's greeting until the edge knew, and from the next pod's greeting on."""
    call = line(("blue", 1, None))
    call.moved(MOVE)
    assert [(leg.pod, leg.from_s, leg.to_s, leg.ended_with) for leg in call.legs] == [
        ("blue-1", 1, 4, 1006),
        ("green-2", 5, None, None),
    ]
    assert call.gaps_s == [1]
    assert call.brief_gaps_s == []  # as long as it takes to be sure that a pod is silent
    call.moved(replace(MOVE, pod="green-1", at_s=9, gap_s=0.5, reason=""))
    assert call.brief_gaps_s == [0.5]
    assert call.is_on == "green-1"


def test_a_move_may_be_told_after_the_call_has_ended() -> None:
    """Its end stays where it was."""
    call = line(("blue", 1, None))
    call.end_leg(9)
    call.moved(MOVE)
    assert [(leg.from_s, leg.to_s) for leg in call.legs] == [(1, 4), (5, 9)]
    CallLine("plain-0", "plain").moved(MOVE)


def test_callers_are_held_through_every_gap() -> None:
    """Those of edges; what a caller has past them is not counted."""
    held = line(("blue", 1, None))
    held.edge = "edge-1"
    held.moved(MOVE)
    held.end_leg(9)
    assert held_calls([held, line(("blue", 1, 9))], [0, 1, 4.5, 8.9, 9]) == [0, 1, 1, 1, 0]
