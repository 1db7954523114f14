"""What is sent, and sent again, in order."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.call.audio import PCM, PCMU
from voice_agent.client.outgoing import CATCH_UP_MS, KEPT_EVENTS, Outgoing, Rewound


def drained(outgoing: Outgoing) -> Iterator[bytes | str]:
    """Everything that is to be sent: audio as bytes, events as their ids."""
    while (text := outgoing.next_message()) is not None:
        event = json.loads(text)
        yield base64.b64decode(event["audio"]) if "audio" in event else event["event_id"]


def add(outgoing: Outgoing, event_id: str) -> None:
    outgoing.add(event_id, json.dumps({"type": "test.event", "event_id": event_id}))


def test_a_piece_of_audio_is_sent_as_it_was_appended() -> None:
    """Who appends 250 ms at once sends 250 ms at once."""
    outgoing = Outgoing(PCM)
    for size_ms in (20, 250, 1):
        outgoing.append(bytes(PCM.size(size_ms)))
        assert [len(piece) for piece in drained(outgoing)] == [PCM.size(size_ms)]
    assert outgoing.next_message() is None
    assert outgoing.appended_ms == 271


def test_a_rewind_goes_back_to_the_sample_and_catches_up_in_pieces() -> None:
    """In no piece longer than 100 ms, and each byte once."""
    speech = bytes(range(250)) * 80
    outgoing = Outgoing(PCMU)
    for at in range(0, len(speech), 160):
        outgoing.append(speech[at : at + 160])
    list(drained(outgoing))
    assert outgoing.rewind(730, None) == Rewound(again_ms=2500 - 730, lost_ms=0)
    pieces = [piece for piece in drained(outgoing) if isinstance(piece, bytes)]
    assert b"".join(pieces) == speech[730 * 8 :]
    assert max(map(len, pieces)) == PCMU.size(CATCH_UP_MS)


def test_events_come_again_after_the_last_that_took_effect() -> None:
    """Each at its place in the audio; those before it do not come again."""
    outgoing = Outgoing(PCMU)
    for event_id, piece in (("a", b"1" * 80), ("b", b"2" * 80), ("c", b"3" * 80)):
        add(outgoing, event_id)
        outgoing.append(piece)
    assert list(drained(outgoing)) == ["a", b"1" * 80, "b", b"2" * 80, "c", b"3" * 80]
    outgoing.rewind(15, "a")
    assert list(drained(outgoing)) == ["b", b"2" * 40, "c", b"3" * 80]
    outgoing.rewind(30, "unknown")
    assert list(drained(outgoing)) == ["a", "b", "c"]
    outgoing.rewind(30, "c")
    assert list(drained(outgoing)) == []


def test_only_the_latest_audio_and_events_are_kept() -> None:
    """What is too old to be sent again is told as lost."""
    outgoing = Outgoing(PCMU, kept_ms=1000)
    for second in range(3):
        outgoing.append(bytes([second]) * 8000)
    for number in range(KEPT_EVENTS + 5):
        add(outgoing, str(number))
    assert outgoing.rewind(500, None) == Rewound(again_ms=1000, lost_ms=1500)
    again = list(drained(outgoing))
    assert b"".join(piece for piece in again if isinstance(piece, bytes)) == b"\2" * 8000
    assert [event for event in again if isinstance(event, str)] == [str(n) for n in range(5, KEPT_EVENTS + 5)]


def test_a_server_that_has_more_than_was_appended_gets_nothing_again() -> None:
    """Its position is that of another client of the same call."""
    outgoing = Outgoing(PCM)
    outgoing.append(bytes(960))
    assert outgoing.rewind(5000, None) == Rewound(again_ms=0, lost_ms=0)
    assert outgoing.next_message() is None


def test_a_call_that_others_began_is_counted_from_their_end() -> None:
    """Positions of the server stay positions of the server."""
    outgoing = Outgoing(PCM)
    outgoing.begin_at(4000)
    outgoing.append(bytes(960))
    assert outgoing.appended_ms == 4020
    assert [len(piece) for piece in drained(outgoing)] == [960]
    assert outgoing.rewind(4010, None) == Rewound(again_ms=10, lost_ms=0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 40)),
        st.tuples(st.just("event"), st.just(0)),
        st.tuples(st.just("send"), st.integers(1, 5)),
        st.tuples(st.just("break"), st.floats(0, 1)),
    ),
    max_size=60,
)


@given(STEPS)
def test_no_order_of_breaks_changes_what_arrives(steps: list[tuple[str, float]]) -> None:
    """A server that forgets any part of what it had, at any time, ends up with exactly what was said, in order."""
    outgoing = Outgoing(PCMU)
    said: list[bytes | str] = []
    arrived: list[bytes | str] = []
    for number, (kind, value) in enumerate(steps):
        if kind == "append":
            outgoing.append(bytes([number]) * 8 * int(value))
            said += [bytes([number]) * 8] * int(value)
        elif kind == "event":
            add(outgoing, f"event-{number}")
            said.append(f"event-{number}")
        elif kind == "send":
            arrived += take(outgoing, int(value))
        else:
            del arrived[int(len(arrived) * value) :]
            events = [one for one in arrived if isinstance(one, str)]
            outgoing.rewind(len(arrived) - len(events), events[-1] if events else None)
    arrived += take(outgoing, 10_000)
    assert arrived == said


def take(outgoing: Outgoing, messages: int) -> list[bytes | str]:
    """So many messages, audio cut into milliseconds."""
    taken: list[bytes | str] = []
    for _, piece in zip(range(messages), drained(outgoing), strict=False):
        taken += [piece] if isinstance(piece, str) else [piece[at : at + 8] for at in range(0, len(piece), 8)]
    return taken


@pytest.mark.parametrize("event_id", [None, "", "x"])
def test_an_unknown_last_event_sends_all_again(event_id: str | None) -> None:
    """The server ignores those that it remembers, so this is safe."""
    outgoing = Outgoing(PCM)
    add(outgoing, "a")
    list(drained(outgoing))
    outgoing.rewind(0, event_id)
    assert list(drained(outgoing)) == ["a"]
