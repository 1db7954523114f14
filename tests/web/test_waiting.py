"""Connections that wait for their peers."""

from __future__ import annotations

from voice_agent.web.waiting import Waiting


def test_the_oldest_goes_for_one_too_many() -> None:
    """Waiting already is not waiting twice."""
    waiting = Waiting[str](2, 10, lambda: 0.0)
    assert [waiting.add(name) for name in "abac"] == [None, None, None, "a"]
    assert (len(waiting), "a" in waiting, "c" in waiting) == (2, False, True)


def test_who_waited_too_long_is_given_away_once() -> None:
    """In the order in which they came; who no longer waits is none of them."""
    now_s = 0.0
    waiting = Waiting[str](9, 10, lambda: now_s)
    waiting.add("a")
    now_s = 1.0
    waiting.add("b")
    waiting.add("c")
    waiting.discard("b")
    now_s = 9.9
    assert waiting.pop_overdue() is None
    now_s = 11.0
    assert [waiting.pop_overdue() for _ in range(3)] == ["a", "c", None]
