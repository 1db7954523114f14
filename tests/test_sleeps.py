"""Nobody sleeps in a test to let something happen: `waiting.until` waits for it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOOPS = (ast.While, ast.AsyncFor)
"""What sleeps in one looks again, or keeps a pace."""


def sleeps(source: str) -> Iterator[int]:
    """Lines of sleeps that are in no loop, are no mere yield, and have no comment beside or above that says why."""
    lines = source.splitlines()
    tree = ast.parse(source)
    looped = {inner for loop in ast.walk(tree) if isinstance(loop, LOOPS) for inner in ast.walk(loop)}
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or call in looped or not call.args:
            continue
        name = ast.unparse(call.func)
        if name in {"asyncio.sleep", "time.sleep", "sleep"} and ast.unparse(call.args[0]) != "0":
            at = call.lineno - 1
            if "#" not in lines[at] and not lines[at - 1].lstrip().startswith("#"):
                yield call.lineno


def test_every_sleep_waits_for_something_or_says_why() -> None:
    """In tests and in what loads a server."""
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for folder in ("tests", "loadtest")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not {"simulation", "testing"} & set(path.parts)  # Time is simulated there.
        for line in sleeps(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("await asyncio.sleep(0.1)", [1]),
        ("await asyncio.sleep(0)", []),
        ("while not done():\n    time.sleep(0.1)", []),
        ("for one in all:\n    time.sleep(0.1)", [2]),
        ("await asyncio.sleep(1)  # so long a loop that spins is watched", []),
        ("# A caller thinks.\nawait asyncio.sleep(1)", []),
        ("await clock.sleep(1)", []),
    ],
)
def test_a_sleep_that_waits_for_nothing_is_found(source: str, found: list[int]) -> None:
    """So the test above is none that always passes."""
    assert list(sleeps(source)) == found
