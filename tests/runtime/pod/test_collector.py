"""The collector is told what stays, and to come less often."""

from __future__ import annotations

import subprocess
import sys

SETTLED = """
import gc
from voice_agent.runtime.pod.collector import THRESHOLDS, settle
kept = [[] for _ in range(1000)]
settle()
assert gc.get_threshold() == THRESHOLDS
assert gc.get_freeze_count() > 1000
cycle = []
cycle.append(cycle)
del cycle
assert gc.collect()
"""


def test_what_stays_is_not_looked_at_again_and_cycles_still_are() -> None:
    """In a process of its own: the collector is one for all."""
    subprocess.run([sys.executable, "-c", SETTLED], check=True)
