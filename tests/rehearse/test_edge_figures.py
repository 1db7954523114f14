"""Figures and verdict of callers whom edges held, made up."""

from __future__ import annotations

from voice_agent.rehearse.edge_figures import EdgeCounts, EdgeFigures, counts_in
from voice_agent.rehearse.timeline import CallLine, Move, PodFault

ENDS = {"handoff": (1012, ""), "crash": (1006, ""), "silence": (1006, "silent for 5 s")}


def held_call(*causes: str, gap_s: float = 0.1) -> CallLine:
    """A call that an edge held, and that was moved for these causes, ten seconds apart."""
    line = CallLine("plain-0", "plain", "call_a", edge="edge-1")
    line.begin_leg("blue", "blue-1", 0)
    for number, cause in enumerate(causes, 1):
        line.moved(Move("call_a", "green", f"green-{number}", 10.0 * number, gap_s, *ENDS[cause]))
    line.end_leg(100)
    return line


def figures(*lines: CallLine, faults: tuple[PodFault, ...] = (), edges: tuple[EdgeCounts, ...] = ()) -> EdgeFigures:
    """Of a rehearsal that is made up."""
    return EdgeFigures(lines, [], faults, edges or (EdgeCounts("edge-1"),))


def test_gaps_are_told_by_what_ended_the_connection_before() -> None:
    """A pod that hands off, one that is gone, and one that does not say anything any more are not the same."""
    told = figures(held_call("handoff", "crash"), held_call("silence", "crash", gap_s=0.3)).as_json()
    assert told["moves"] == {"handoff": 1, "crash": 2, "silence": 1}
    assert told["gap_ms"]["crash"] == {"p50": 100.0, "p99": 300.0, "max": 300.0}
    assert told["gap_ms"]["silence"]["p50"] == 300.0
    assert told["longest_silence_ms"] == {"p50": None, "p99": None, "max": None}


def test_nothing_speaks_against_edges_that_lost_nobody() -> None:
    """Whatever was done to the pods."""
    assert figures(held_call("crash"), faults=(PodFault("stop", "green-1", 3, 5.5),)).verdict == []


def test_a_caller_that_an_edge_counts_as_lost_fails_it() -> None:
    """Also if the caller itself has not said so."""
    (told,) = figures(held_call("crash"), edges=(EdgeCounts("edge-2", {"gap": 2}),)).verdict
    assert told == "edge-2 counts 2 callers that it closed though nobody hung up: gap"


def test_callers_who_stay_on_a_pod_that_is_gone_fail_it() -> None:
    """A minute is enough for anything."""
    (told,) = figures(held_call("crash"), faults=(PodFault("kill -9", "green-1", 3, None),)).verdict
    assert told == "kill -9 green-1: not all of its 3 calls were served elsewhere within a minute"


def test_a_rehearsal_in_which_no_caller_was_moved_shows_nothing() -> None:
    """So it is no success."""
    assert figures(held_call()).verdict == ["no call that an edge holds was moved: nothing is shown of them"]


def test_counts_are_read_from_the_page_of_metrics() -> None:
    """Only what is not 0."""
    page = """# HELP voice_edge_lost_total Callers
voice_edge_lost_total{cause="gap"} 2.0
voice_edge_lost_total{cause="drain"} 0.0
voice_edge_limits_total{limit="edge_kept_bytes"} 7.0
voice_edge_calls 3.0
"""
    assert counts_in("edge-1", page) == EdgeCounts("edge-1", {"gap": 2}, {"edge_kept_bytes": 7})
    assert counts_in("edge-1", "") == EdgeCounts("edge-1")
