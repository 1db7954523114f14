"""Tests wait for what must come with the patience of `waiting`, none with a deadline of its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S

TESTS = Path(__file__).parent
SHORTEST_S = 1
"""Whoever waits for less wants to see that something does not come."""


def deadlines(source: str) -> Iterator[tuple[int, float]]:
    """Line and seconds of each deadline that is written as a number: of a block, a process, a thread, a request."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        name = called.rpartition(".")[2]
        given = [word.value for word in node.keywords if word.arg == "timeout" and name != "update"]
        in_thread = called == "asyncio.to_thread" and ast.unparse(node.args[0]).endswith((".wait", ".join"))
        if node.args and (in_thread or called == "asyncio.wait_for" or name in {"timeout", "wait", "join"}):
            given.append(node.args[-1])
        for value in given:
            if isinstance(value, ast.Constant) and isinstance(value.value, int | float):
                yield node.lineno, value.value


@pytest.mark.parametrize("path", sorted(TESTS.rglob("test_*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_no_deadline_judges_the_machine(path: Path) -> None:
    """What ends a test that has failed is long: on a machine that is busy all takes many times as long."""
    short = [(line, seconds) for line, seconds in deadlines(path.read_text()) if SHORTEST_S <= seconds < PATIENCE_S]
    assert short == []


@pytest.mark.parametrize(
    "text",
    [
        "asyncio.timeout(5)",
        "pytest.mark.timeout(5)",
        "asyncio.wait_for(ends, 5)",
        "process.wait(timeout=5)",
        "process.wait(5)",
        "thread.join(5)",
        "asyncio.to_thread(process.wait, 5)",
        "subprocess.run(command, timeout=5)",
    ],
)
def test_deadlines_are_found(text: str) -> None:
    """However they are written."""
    assert list(deadlines(f"async def test():\n    await {text}")) == [(2, 5)]


def test_nothing_of_the_package_waits_with_what_swallows_cancellations() -> None:
    """`asyncio.wait_for` does until Python 3.12; `asyncio.timeout` does not. Ruff looks at less than all of it."""
    package = TESTS.parent / "app"
    found = [str(path) for path in package.rglob("*.py") if "asyncio.wait_for(" in path.read_text(encoding="utf-8")]
    assert found == []
