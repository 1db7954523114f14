"""What is remembered of client events; `test_replaying` and `test_machine` have what comes again."""

from __future__ import annotations

import pytest

from voice_agent.call.client_events import REMEMBERED_CLIENT_EVENTS, ClientEvents, pack_seen


@pytest.mark.parametrize(
    ("heard_to", "left", "last"),
    [(3000, "abcd", "d"), (2999, "abd", "d"), (1000, "abd", "d"), (999, "bd", "d"), (0, "bd", "d")],
)
def test_appends_beyond_a_position_are_forgotten(heard_to: int, left: str, last: str) -> None:
    """Those that reach it exactly took effect, as did all that is no audio."""
    known = ClientEvents()
    for event_id, position in (("a", 1000), ("b", 0), ("c", 3000), ("d", 0)):
        known.remember(event_id, heard_to=position)
    known.forget_beyond(heard_to)
    assert "".join(known.seen) == "".join(event_id for event_id, *_ in known.unsaved) == left
    assert known.last_id == last


@pytest.mark.parametrize(("heard_to", "last"), [(3000, "c"), (2000, "b"), (0, None)])
def test_the_last_client_event_is_the_last_that_is_not_forgotten(heard_to: int, last: str | None) -> None:
    """None if all are."""
    known = ClientEvents()
    for event_id, position in (("a", 1000), ("b", 2000), ("c", 3000)):
        known.remember(event_id, heard_to=position)
    known.forget_beyond(heard_to)
    assert known.last_id == last


def test_what_is_saved_of_client_events_is_bounded_too() -> None:
    """While the store is away they gather; those that are remembered are among them."""
    known = ClientEvents()
    for number in range(3 * REMEMBERED_CLIENT_EVENTS):
        known.remember(f"e{number}", heard_to=0)
    assert len(known.unsaved) == 2 * REMEMBERED_CLIENT_EVENTS
    assert [event_id for event_id, *_ in known.unsaved][-len(known.seen) :] == list(known.seen)


def test_positions_begin_again() -> None:
    """No id waits for audio of another format; numbers stay."""
    known = ClientEvents()
    known.remember("a", heard_to=1000)
    known.remember("b", heard_to=2000)
    known.restart_positions()
    assert known.seen == {"a": (1, 0), "b": (2, 0)}
    assert known.unsaved == [("a", 1, 0), ("b", 2, 0)]


def test_ids_of_a_record_are_known_in_their_order_whenever_somebody_asks() -> None:
    """A take-over does not wait for them; the newest is told at once."""
    packed = [pack_seen("c", 12, 0), pack_seen("a", 10, 4800), pack_seen("used twice", 9, 0), pack_seen("a", 8, 0)]
    packed.append(pack_seen("used twice", 11, 960))
    known = ClientEvents.restored(packed)
    assert (known.made, known.last_id, known.saved_id) == (12, "c", "c")
    assert list(known.seen.items()) == [("a", (10, 4800)), ("used twice", (11, 960)), ("c", (12, 0))]
    known.remember("d", heard_to=0)
    assert (known.made, known.saved_id) == (13, "c")
    assert ClientEvents.restored([]) == ClientEvents()


@pytest.mark.parametrize("damaged", [b"", b"1", b"x a", b"1:x a", b"-1 a", b"1 \xff"])
def test_what_is_no_id_of_a_client_event_is_found_at_once(damaged: bytes) -> None:
    """Not in the middle of the call, when its caller says something."""
    with pytest.raises(ValueError, match=r"client event|decode"):
        ClientEvents.restored([pack_seen("a", 1, 0), damaged])
