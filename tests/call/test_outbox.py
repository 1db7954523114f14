"""The newest events of a call, bounded by bytes."""

from __future__ import annotations

import pytest

from voice_agent.call.changes import OutboxEntry
from voice_agent.call.outbox import ENTRY_OVERHEAD_BYTES, PRESSURE_SHARE, Outbox, entry_bytes

SIZE = 100
"""Of each event here, unless it is said to be larger."""


def event(n: int, *, more: int = 0) -> OutboxEntry:
    """One with a body and with audio."""
    return OutboxEntry(n, bytes(12), bytes(SIZE - 12 - ENTRY_OVERHEAD_BYTES + more))


def outbox(limit_bytes: int, count: int) -> Outbox:
    """That was given so many events."""
    return Outbox(limit_bytes, [event(n) for n in range(1, count + 1)])


def held(box: Outbox) -> list[int]:
    """The numbers of what it holds; its own figures agree with that."""
    entries = box.after(0)
    assert box.size_bytes == sum(map(entry_bytes, entries))
    assert len(box) == len(entries)
    assert box.first_n == (entries[0].n if entries else 0)
    return [entry.n for entry in entries]


def test_an_event_weighs_what_it_costs() -> None:
    """Its body, its audio, and what any event takes beside them."""
    assert entry_bytes(event(1)) == SIZE
    assert entry_bytes(OutboxEntry(1, b"", b"")) == ENTRY_OVERHEAD_BYTES


def test_the_newest_events_that_fit_are_kept() -> None:
    """To the byte; the oldest go first, and as many of them as must."""
    box = outbox(3 * SIZE, 3)
    assert held(box) == [1, 2, 3]
    box.add(event(4))
    assert held(box) == [2, 3, 4]
    box.add(event(5, more=1))
    assert held(box) == [4, 5]


@pytest.mark.parametrize("limit_bytes", [1, SIZE - 1, SIZE, 2 * SIZE - 1])
def test_the_newest_event_is_kept_however_large(limit_bytes: int) -> None:
    """Alone."""
    box = outbox(limit_bytes, 3)
    assert held(box) == [3]


def test_without_a_limit_nothing_is_kept() -> None:
    """However small."""
    assert held(outbox(0, 3)) == []


def test_a_spared_outbox_keeps_a_quarter_and_then_all_again() -> None:
    """What was let go of does not come back; what comes later finds all of the room. A byte of a limit stays one."""
    box = outbox(2 * PRESSURE_SHARE * SIZE, 2 * PRESSURE_SHARE)
    box.reduce(on=False)
    assert len(held(box)) == 2 * PRESSURE_SHARE
    box.reduce(on=True)
    assert held(box) == [7, 8]
    box.add(event(9))
    assert held(box) == [8, 9]
    box.reduce(on=False)
    for n in range(10, 20):
        box.add(event(n))
    assert held(box) == list(range(12, 20))
    least = outbox(1, 1)
    least.reduce(on=True)
    least.add(event(2))
    assert held(least) == [2]


def test_a_cleared_outbox_begins_anew() -> None:
    """With all of its room."""
    box = outbox(2 * SIZE, 2)
    box.clear()
    assert held(box) == []
    box.add(event(3))
    box.add(event(4))
    assert held(box) == [3, 4]


def test_events_after_a_number_are_those_that_follow_it() -> None:
    """In order, whether that one is held or not."""
    box = Outbox(10 * SIZE, [event(n) for n in (3, 4, 6)])
    assert {n: [entry.n for entry in box.after(n)] for n in (0, 3, 4, 5, 6, 7)} == {
        0: [3, 4, 6],
        3: [4, 6],
        4: [6],
        5: [6],
        6: [],
        7: [],
    }
