"""What is free goes back to the operating system."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from voice_agent.runtime.pod.allocator import LARGE_BLOCK_BYTES, give_back_large_blocks

GROWN = """
import gc, sys
from voice_agent.runtime.pod.allocator import give_back_large_blocks

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


@pytest.mark.parametrize(("answers", "is_told"), [([1, 1], True), ([1, 0], False), ([0, 1], False)])
def test_both_thresholds_are_set_or_it_is_said(
    monkeypatch: pytest.MonkeyPatch, answers: list[int], is_told: bool
) -> None:
    """Of trimming (-1 in malloc.h) and of mapping (-3): one alone would be of no use."""
    told: list[tuple[int, int]] = []

    def mallopt(option: int, size_bytes: int) -> int:
        told.append((option, size_bytes))
        return answers[len(told) - 1]

    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=mallopt))
    assert give_back_large_blocks() == is_told
    assert told == [(-1, LARGE_BLOCK_BYTES), (-3, LARGE_BLOCK_BYTES)]


@pytest.mark.parametrize("library", [SimpleNamespace(), None])
def test_other_c_libraries_cannot_be_told(monkeypatch: pytest.MonkeyPatch, library: Any) -> None:
    """They have no such function, or cannot be asked."""

    def load(name: None) -> Any:
        if library is None:
            raise OSError("no library")
        return library

    monkeypatch.setattr(ctypes, "CDLL", load)
    assert give_back_large_blocks() is False
