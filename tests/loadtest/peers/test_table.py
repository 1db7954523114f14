from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.peers.contenders import BASELINE, CONTENDERS, DURABLE, NO_OUTBOX, PIPECAT, chosen
from loadtest.peers.results import Comparison, Verdict
from loadtest.peers.table import BEGIN, END, Circumstances, NoMarkers, markdown, put_into, replaced

SEEN = Circumstances("2026-11-24", "2 shared cores", "make bench-peers")


def comparison(no_outbox_us: float = 50.0) -> Comparison:
    many = [{BASELINE: 50.0, NO_OUTBOX: no_outbox_us, DURABLE: 55.0, PIPECAT: 300.0}] * 3
    return Comparison(
        {one.name: one.title for one in CONTENDERS},
        {BASELINE: {"uvicorn": "0.54.0"}},
        few=many,
        many=many,
        most=[{BASELINE: 300.0, NO_OUTBOX: 55.0, PIPECAT: 50.0}],
        idle_kb=[{BASELINE: 41.0, DURABLE: 75.0}],
        many_calls={BASELINE: 296},
        notes=["pipecat was measured below 100 calls"],
    )


def verdict(found: Comparison, measure: str) -> Verdict:
    return next(one for one in found.verdicts() if one.measure.startswith(measure))


def test_each_target_is_judged_by_its_limit() -> None:
    """Within the limit is reached, beyond it is not; both say what was seen."""
    assert verdict(comparison(), "CPU a frame, no outbox").reached
    missed = verdict(comparison(no_outbox_us=62.0), "CPU a frame, no outbox")
    assert not missed.reached
    assert missed.value == pytest.approx(1.24)
    assert verdict(comparison(), "KiB an idle call").value == 34.0


def test_what_was_not_measured_is_not_judged() -> None:
    """A comparison without pipecat says nothing about pipecat."""
    alone = Comparison({}, {}, few=[], many=[{BASELINE: 50.0, NO_OUTBOX: 20.0}])
    assert [one.measure for one in alone.verdicts()] == ["CPU a frame, no outbox, by bare echo's, core nearly full"]


def test_the_table_shows_values_ratios_and_what_was_left_out() -> None:
    """A row for each contender; a dash is what was not measured; a missed target stands out."""
    text = markdown(comparison(no_outbox_us=62.0), SEEN)
    lines = [line for line in text.split("\n\n")[1].splitlines() if line.startswith("|")]
    rows = {line.split(" | ")[0].strip("| "): line for line in lines}
    assert "| 62 | 1.24 |" in rows["**voice-agent**, `VOICE_OUTBOX_BYTES=0`"]
    assert "| 296 |" in rows["bare uvicorn + FastAPI, orjson (baseline)"]
    assert set(rows["picows + orjson"].split(" | ")[1:]) <= {"–", "– |"}
    assert "**not reached**" in text
    assert "- pipecat was measured below 100 calls" in text
    assert "uvicorn 0.54.0" in text
    assert "2026-11-24 on 2 shared cores by `make bench-peers`" in text


def test_every_row_has_as_many_cells_as_heads() -> None:
    """Markdown drops what goes beyond."""
    for table in markdown(comparison(), SEEN).split("\n\n"):
        if table.startswith("|"):
            assert len({line.count(" | ") for line in table.splitlines()}) == 1


def test_the_text_around_the_markers_stays(tmp_path: Path) -> None:
    """What a person wrote is not the runner's to change, and a second run replaces the first."""
    document = tmp_path / "performance.md"
    document.write_text(f"# Before\n{BEGIN}\nold\n{END}\nafter\n")
    put_into(document, "first")
    put_into(document, "second")
    assert document.read_text() == f"# Before\n{BEGIN}\n\nsecond\n\n{END}\nafter\n"


@pytest.mark.parametrize("whole", ["nothing", f"{END} {BEGIN}", BEGIN])
def test_a_document_without_markers_is_left_alone(whole: str) -> None:
    """Guessing a place could overwrite somebody's words."""
    with pytest.raises(NoMarkers, match="begin"):
        replaced(whole, "text")


def test_a_choice_always_holds_the_baseline() -> None:
    """Without it there would be no ratio; a name that is unknown is told with the known ones."""
    assert [one.name for one in chosen([PIPECAT])] == [BASELINE, PIPECAT]
    assert len(chosen([])) == len(CONTENDERS)
    with pytest.raises(ValueError, match="node is no contender; known are bare"):
        chosen(["node"])
