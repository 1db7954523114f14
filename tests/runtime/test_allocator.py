"""What is free goes back to the operating system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

GROWN = """
import gc, sys
from app.runtime.allocator import give_back_large_blocks

def resident_mib():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

if sys.argv[1] == "told":
    assert give_back_large_blocks()
before = resident_mib()
kept = []
for _ in range(4):
    messages = [bytearray(20 * 2**20) for _ in range(4)]
    kept.append(bytes(100_000))  # Something that lives on behind them.
    while messages:
        messages.pop()
        kept.append(bytes(100_000))
print(resident_mib() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no threshold that grows")
def test_large_messages_leave_nothing_behind() -> None:
    """Freed blocks of 20 MB between what lives on are unmapped, where by itself glibc keeps them."""

    def grown_mib(how: str) -> float:
        return float(subprocess.run([sys.executable, "-c", GROWN, how], check=True, capture_output=True).stdout)

    assert grown_mib("told") < 10 < grown_mib("untold")
