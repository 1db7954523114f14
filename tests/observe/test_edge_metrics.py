"""What an edge counts."""

from __future__ import annotations

import re
from pathlib import Path

import voice_agent.edge
from voice_agent.observe.edge_metrics import EdgeMetrics

LOST = re.compile(r'\blost\("(\w+)"\)')


def test_every_cause_of_a_loss_is_shown_before_the_first() -> None:
    """Those that the edge tells, and no others: alerts see a counter rise, and never one that begins at 1."""
    (folder,) = voice_agent.edge.__path__
    told = {cause for file in Path(folder).glob("*.py") for cause in LOST.findall(file.read_text())}
    page = EdgeMetrics().page().decode()
    assert told == set(re.findall(r'voice_edge_lost_total{cause="(\w+)"} 0.0', page))
    assert told
