"""Figures, verdict and report of a rehearsal that is made up.

Tests of `drawing`, `figures`, `conversation` and `cutovers`, too.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from tests.rehearse.test_edge_figures import held_call
from voice_agent.rehearse.conversation import Found
from voice_agent.rehearse.cutovers import Outcome
from voice_agent.rehearse.edge_figures import EdgeCounts
from voice_agent.rehearse.figures import CallResult, RehearsalRecording, ScriptedCutover
from voice_agent.rehearse.report import render
from voice_agent.rehearse.timeline import CallLine, Mark, PodFault

DONE = Outcome("green", 0, ok=True, reason="", drain_seconds=21.04)
REFUSED = Outcome("green", 1, ok=False, reason="the smoke call <failed>", drain_seconds=None)


def recording() -> RehearsalRecording:
    """Two callers, four cutovers, one crash."""
    made = RehearsalRecording(2, cutovers_planned=4, seconds=100)
    moved = CallLine("sdk-0", "sdk", "call_a")
    moved.begin_leg("blue", "blue-1", 0)
    moved.end_leg(30, 1012)
    moved.begin_leg("green", "green-1", 30.5)
    moved.end_leg(90)
    plain = CallLine("plain-3", "plain", "call_b")
    plain.begin_leg("blue", "blue-2", 1)
    plain.end_leg(20)
    made.calls = [CallResult(moved, Found(), 9, 300), CallResult(plain, Found(), 2, 60)]
    made.cutovers = [
        ScriptedCutover("blue to green", DONE),
        ScriptedCutover("back to blue", DONE),
        ScriptedCutover("the faulty green", REFUSED, is_to_fail=True),
        ScriptedCutover("to green, blue-2 killed", DONE, crash="blue-2"),
    ]
    made.marks = [
        Mark(10, "phase", "blue to green"),
        Mark(25, "shift", "blue to green: shift"),
        Mark(70, "crash", "kill -9 blue-2"),
    ]
    return made


def test_the_figures_count_each_cutover_once() -> None:
    """Two that went through, one rollback, one crash; gaps and drains of all of them."""
    figures = recording().as_json()
    assert figures["ok"]
    assert (figures["cutovers"], figures["rollbacks"], figures["crashes"]) == (2, 1, 1)
    assert figures["drain_seconds"] == [21.0, 21.0, 21.0]
    assert figures["resume_gap_ms"] == {"p50": 500.0, "p99": 500.0, "max": 500.0}
    assert (figures["calls"], figures["events"], figures["resumes"]) == (2, 360, 1)
    assert figures["resumes_by_cause"] == {"handoff": 1, "crash": 0, "silence": 0}
    assert (figures["dropped"], figures["events_lost"], figures["events_repeated"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (Found(dropped="closed with 1011"), "closed with 1011"),
        (Found(lost=2), "2 events lost"),
        (Found(repeated=1), "1 events repeated"),
        (Found(wrong_audio=["turn 3: other sound"]), "turn 3: other sound"),
        (Found(lost_words=1), "1 turns lost"),
        (Found(extra_words=1), "1 turns too many"),
        (Found(lost_speech_ms=40), "40 ms of speech lost"),
    ],
)
def test_any_fault_of_any_call_fails_it(found: Found, word: str) -> None:
    """And is told, in the verdict and on the page."""
    made = recording()
    made.calls[0].found = found
    assert not made.as_json()["ok"]
    assert word in made.verdict[0]
    assert word in render(made)


@pytest.mark.parametrize("number", range(4))
def test_a_cutover_that_ends_otherwise_fails_it(number: int) -> None:
    """One that was to go through and did not, or the other way round, or that was not made at all."""
    made = recording()
    cutover = made.cutovers[number]
    made.cutovers[number] = replace(cutover, outcome=DONE if cutover.is_to_fail else REFUSED)
    assert cutover.title in made.verdict[0]
    del made.cutovers[number]
    assert made.verdict == ["only 3 of 4 cutovers were made"]


def test_a_refused_release_must_not_move_anybody() -> None:
    """Nor may a rehearsal without calls count for anything."""
    made = recording()
    made.moved_by_rollback = 1
    assert made.verdict
    assert RehearsalRecording(2, cutovers_planned=0).verdict == ["there was no call"]


def test_the_report_tells_what_was_behind_the_edges() -> None:
    """Gaps by cause, faults of pods, and a line for the callers whose connection stands."""
    made = recording()
    assert "Behind the edges" not in render(made)
    held = held_call("crash", gap_s=0.04)
    made.calls.append(CallResult(held, Found(), 4, 100, silence_s=0.3))
    made.edges = [EdgeCounts("edge-1"), EdgeCounts("edge-2")]
    made.faults = [PodFault("stop", "green-1", 12, 6.25)]
    page = render(made)
    assert "1 calls were held by 2 edges" in page
    assert "<td>crash<td>1<td>40 ms<td>40 ms<td>40 ms" in page
    assert "<td>stop<td>green-1<td>12<td>6.2 s" in page
    assert "held by an edge" in page
    assert "at most 300 ms" in page


def test_what_speaks_against_the_edges_is_in_the_verdict() -> None:
    """As what speaks against the callers' calls is."""
    made = recording()
    made.edges = [EdgeCounts("edge-1")]
    assert made.verdict == ["no call that an edge holds was moved: nothing is shown of them"]


def test_the_report_is_one_page_that_needs_nothing_else() -> None:
    """Three drawings that are well-formed, no script, no address of anything outside, what others said escaped."""
    page = render(recording())
    assert "No call was dropped" in page
    assert "the smoke call &lt;failed&gt;" in page
    assert page.count("<svg") == 3
    drawings = ["<svg" + part.partition("</svg>")[0] + "</svg>" for part in page.split("<svg")[1:]]
    for drawing in drawings:
        ET.fromstring(drawing)  # noqa: S314  # our own drawing
    assert "kill -9 blue-2" in drawings[0]
    assert "plain-3" in drawings[2]
    assert "<script" not in page
    outside = [part for part in page.split('href="')[1:] if not part.startswith("#")]
    assert not [part for part in outside if not part.startswith("http://www.w3.org")]
    ids = [part.partition('"')[0] for part in page.split(' id="')[1:]]
    assert len(ids) == len(set(ids))
