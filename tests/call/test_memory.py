from __future__ import annotations

import subprocess
import sys

import pytest

from tests.waiting import PATIENCE_S

PROGRAM = """
import pathlib
from tests.call.calls import new_call
def resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096
calls = [new_call() for _ in range(10)]
before = resident()
for n in range(2500):
    for call in calls:
        call.outbox.emit({"type": "response.output_audio.delta", "item_id": f"item_{n}"}, bytes(960))
        call.outbox.unsaved.clear()
print((resident() - before) / len(calls) / 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_full_outbox_takes_little_more_than_its_limit() -> None:
    """Its entries' own sizes are what is counted, so nothing may lie about between them."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert float(done.stdout) < 1.5, done.stdout
