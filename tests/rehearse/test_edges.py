"""What a rehearsal reads of its edges; that they run is seen in `test_rehearse`."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from tests.rehearse.scripted import QuickClock
from voice_agent.edge.edge_call import RESUMED
from voice_agent.rehearse.edges import Edges
from voice_agent.rehearse.timeline import Move


class Noon(QuickClock):
    """A clock whose two times differ by a known amount."""

    def wall_ms(self) -> int:
        return 1_700_000_000_000 + super().wall_ms()


def told(**fields: object) -> bytes:
    """A line of an edge's log."""
    line = {
        "call_id": "call_a",
        "by": {"pod": "green-1", "color": "green"},
        "after": 1012,
        "reason": "drain",
        "gap_ms": 40.5,
        "event": RESUMED,
        "level": "info",
        "timestamp": "2023-11-14T22:13:25.500000Z",  # 5.5 s after noon
    }
    return orjson.dumps({**line, **fields}) + b"\n"


def test_moves_are_read_from_the_log_as_it_grows(tmp_path: Path) -> None:
    """Each once, whole lines only, and nothing else of what stands there."""
    clock = Noon()
    edges = Edges(tmp_path, [1, 2], "ws://127.0.0.1:3", clock)
    clock.now_s = 8.0
    assert edges.new_moves(2.0) == []
    log = tmp_path / "edge-2.log"
    line = told()
    log.write_bytes(b"voice-agent: edge holds callers\n" + told(event="edge leaves") + line[:40])
    assert edges.new_moves(2.0) == []
    with log.open("ab") as more:
        more.write(line[40:] + told(call_id="call_b", after=1006))
    first, second = edges.new_moves(2.0)
    assert first.at_s == pytest.approx(3.5)
    assert first == Move("call_a", "green", "green-1", first.at_s, 0.0405, 1012, "drain")
    assert (second.call_id, second.cause) == ("call_b", "crash")
    assert edges.new_moves(2.0) == []
