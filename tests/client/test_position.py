"""Where a call stands: what a resume names, and what is sent again after it.

Tests of `appends`, `outgoing` and `session_events`, too.
"""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.client.rules import Rules
from voice_agent.call.audio import PCM, PCMU, AudioFormat
from voice_agent.call.client_events import REMEMBERED_CLIENT_EVENTS
from voice_agent.client import outgoing
from voice_agent.client.outgoing import KEPT_MS, SPARE_MS
from voice_agent.client.position import CallPosition
from voice_agent.client.refusals import CallFailed


def greeting(number: int = 0, **more: Any) -> dict[str, Any]:
    """Of a server that has nothing of what the client sent."""
    call = {"id": "call_a", "resume_token": "t", "gap": None, "input_audio_ms": 0, "last_client_event_id": None}
    return {"type": "session.created", "event_id": f"evt_{number}", "session": {"call": {**call, **more}}}


def begun() -> CallPosition:
    """A call that heard one event and sent one, and 100 ms of audio."""
    position = CallPosition(PCM, name="said_")
    position.greeted(greeting())
    position.go_on()
    assert position.is_new({"type": "pong", "event_id": "evt_1"})
    position.append_audio(bytes(PCM.size(100)))
    position.add({"type": "input_audio_buffer.commit"})
    assert len(sent(position)) == 2
    return position


def sent(position: CallPosition) -> list[dict[str, Any]]:
    """All that waits to be sent."""
    found = []
    while (text := position.next_message()) is not None:
        found.append(orjson.loads(text))
    return found


def test_a_resume_names_the_call_its_token_and_what_was_heard() -> None:
    """And what the server lacks is sent again, in order and under the same ids."""
    position = begun()
    assert position.resume_query == {"call_id": "call_a", "resume_token": "t", "last_event_id": "evt_1"}
    position.greeted(greeting(1))
    position.go_on()
    again = sent(position)
    assert [event["type"] for event in again] == ["input_audio_buffer.append", "input_audio_buffer.commit"]
    assert again[1]["event_id"] == "said_1"
    assert (position.tally.resumes, position.tally.resent_ms, position.tally.lost_ms) == (1, 100, 0)


def test_a_connection_that_is_not_used_after_its_greeting_moves_nothing() -> None:
    """Of two tries at once only the one that won goes back to what the server has."""
    position = begun()
    position.greeted(greeting(1))
    assert sent(position) == []
    assert position.tally.resumes == 0


def test_another_call_is_not_gone_on_with() -> None:
    """Its events would be taken for those of the call that is gone."""
    position = begun()
    with pytest.raises(CallFailed, match="another call"):
        position.greeted(greeting(0, id="call_b"))
    assert position.call_id == "call_a"


def test_a_server_that_says_nothing_of_the_call_cannot_resume_it() -> None:
    """Its events go through unnumbered."""
    position = CallPosition(PCM)
    position.greeted({"type": "session.created", "event_id": "event_x", "session": {}})
    position.go_on()
    assert not position.can_resume
    assert position.is_new({"type": "pong", "event_id": "evt_7"})
    assert position.tally.gaps == 0


def test_what_is_said_before_the_first_greeting_is_said_once_it_has_come() -> None:
    """A machine may be so slow that the caller speaks first."""
    position = CallPosition(PCM)
    position.append_audio(b"a" * PCM.size(100))
    position.greeted(greeting())
    position.go_on()
    position.append_audio(b"b" * PCM.size(100))
    heard = b"".join(base64.b64decode(event["audio"]) for event in sent(position))
    assert heard == b"a" * PCM.size(100) + b"b" * PCM.size(100)
    assert position.tally.lost_ms == 0


# --- what the server has, to the byte ------------------------------------------------


def spoken(position: CallPosition) -> bytes:
    """The audio that waits to be sent."""
    return b"".join(base64.b64decode(event["audio"]) for event in sent(position))


@pytest.mark.parametrize(("told", "again"), [({"input_audio_bytes": 4094}, 4094), ({}, 85 * 48)])
def test_a_server_that_counts_bytes_is_sent_what_it_lacks_from_the_very_byte(told: dict[str, Any], again: int) -> None:
    """One that only counts milliseconds gets the rest of the last one twice."""
    speech = bytes(range(250)) * 24
    position = CallPosition(PCM)
    position.greeted(greeting())
    position.go_on()
    for at in range(0, len(speech), 2_000):
        position.append_audio(speech[at : at + 2_000])
    sent(position)
    position.greeted(greeting(input_audio_ms=4094 // 48, **told))
    position.go_on()
    assert spoken(position) == speech[again:]


def test_nothing_is_sent_before_the_server_has_replayed_what_it_had() -> None:
    """An error among it says that an append did not count, and that moves all behind it."""
    position = CallPosition(PCM)
    position.greeted(greeting(newest_event_id="evt_0"))
    position.go_on()
    for piece in (b"ab", b"odd", b"cd"):
        position.append_audio(piece)
    sent(position)
    position.append_audio(b"ef")
    position.greeted(greeting(input_audio_bytes=2, newest_event_id="evt_2"))
    position.go_on()
    assert not position.has_unsent
    position.append_audio(b"gh")
    refused = {"type": "error", "event_id": "evt_1", "error": {"message": "odd", "input_audio_bytes": 2}}
    assert position.is_new(refused)
    assert not position.has_unsent
    assert position.is_new({"type": "pong", "event_id": "evt_2"})
    assert spoken(position) == b"cdefgh"


def test_an_id_that_a_client_uses_twice_is_that_of_the_first() -> None:
    """What lies between the two would be lost otherwise."""
    position = talked(0)
    for event_id in ("x", "y", "x"):
        position.add({"type": "response.create", "event_id": event_id})
    sent(position)
    position.greeted(greeting(last_client_event_id="x"))
    position.go_on()
    assert [event["event_id"] for event in sent(position)] == ["y", "x"]


def in_format(audio_format: AudioFormat, message: dict[str, Any]) -> dict[str, Any]:
    """A greeting, or another event, that holds the session."""
    message["session"]["audio"] = {"input": {"format": audio_format.as_json()}}
    return message


def test_a_format_is_believed_though_the_event_is_lost_that_brought_it() -> None:
    """The greeting names both, what is lost and the format; a later change counts from its own place."""
    position = CallPosition(PCM, name="said_")
    position.greeted(in_format(PCM, greeting()))
    position.go_on()
    update = {"type": "session.update", "session": {}}
    position.append_audio(bytes(PCM.size(10)))
    position.add(update)
    position.add(update)
    position.append_audio(b"abcd")
    sent(position)
    lost = greeting(2, gap={"from": "evt_1", "to": "evt_2"}, last_client_event_id="said_2")
    lost["session"]["call"]["input_audio_bytes"] = PCMU.size(10) + 2
    position.greeted(in_format(PCMU, lost))
    position.go_on()
    assert spoken(position) == b"cd"
    position.add(update)
    position.append_audio(b"efgh")
    updated = {"type": "session.updated", "event_id": "evt_3", "session": {}}
    assert position.is_new(in_format(PCM, updated))
    assert position.appended_ms == 10
    position.greeted(in_format(PCM, greeting(3, input_audio_bytes=PCM.size(10) + 2, last_client_event_id="said_3")))
    position.go_on()
    assert spoken(position) == b"gh"


def test_positions_are_those_of_the_format_that_the_server_names() -> None:
    """Also of a call that somebody else began."""
    position = CallPosition(PCM)
    position.greeted(in_format(PCMU, greeting(input_audio_ms=1000, input_audio_bytes=8001)))
    position.go_on()
    position.append_audio(bytes(PCMU.size(20)))
    assert position.appended_ms == 1020


UPDATES: dict[str, dict[str, Any]] = {
    "pcm": {"format": {"type": "audio/pcm", "rate": 24_000}},
    "pcmu": {"format": {"type": "audio/pcmu"}},
    "refused": {"format": {"type": "audio/mp3"}},
}
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.integers(1, 3000)),
        st.tuples(st.just("update"), st.sampled_from([*UPDATES])),
        st.tuples(st.sampled_from(["event", "send", "write", "cut", "reconnect", "die", "acknowledge"]), st.just(0)),
    ),
    max_size=60,
)


@pytest.mark.parametrize("listens", [True, False])
@given(STEPS)
def test_the_rules_of_a_call_hear_what_was_said_byte_for_byte(listens: bool, steps: list[tuple[str, Any]]) -> None:
    """Pieces of any size, any format, appends that are refused; whenever the server writes, dies, is reached again."""
    position = CallPosition(PCM)
    rules = Rules(position, tells=True, **({} if listens else {"audio": {"input": {"turn_detection": None}}}))
    said, now, events = [b""], PCM, 0
    for number, (kind, value) in enumerate(steps):
        if kind == "say":
            audio = bytes((number + at) % 251 for at in range(value))
            position.append_audio(audio)
            said[-1] += audio if len(audio) % now.sample_bytes == 0 else b""
        elif kind == "update":
            position.add(
                {"type": "session.update", "session": {"type": "realtime", "audio": {"input": UPDATES[value]}}}
            )
            after: AudioFormat = {"pcm": PCM, "pcmu": PCMU}.get(value, now)
            if after != now:
                now = after
                said.append(b"")
        elif kind == "event":
            events += 1
            item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": str(number)}]}
            position.add({"type": "conversation.item.create", "item": item})
        elif kind == "send":
            rules.take_all()
        elif kind == "acknowledge":
            position.acknowledge()
        else:
            getattr(rules, kind)()
    rules.take_all()
    rules.reconnect()
    rules.take_all()
    assert rules.heard == said
    assert position.appended_ms == rules.call.input_audio.base_ms + now.ms(len(said[-1]))
    assert len(rules.call.conversation) == events
    tally = position.tally
    assert (tally.gaps, tally.repeats, tally.forgotten, tally.lost_ms) == (0, 0, 0, 0)


# --- what is kept -----------------------------------------------------------------------


def kept_ms(position: CallPosition, **told: Any) -> int:
    """How much is sent again to a server that has nothing."""
    position.greeted(greeting(**told))
    position.go_on()
    return PCM.ms(len(spoken(position)))


def talked(seconds: int, **told: Any) -> CallPosition:
    """A call in which so much was said, a second at a time."""
    position = CallPosition(PCM, name="said_")
    position.greeted(greeting(**told))
    position.go_on()
    for _ in range(seconds):
        position.append_audio(bytes(PCM.size(1000)))
        sent(position)
    return position


def test_what_a_crash_could_take_away_is_kept_for_as_long_as_it_could() -> None:
    """And some of what it could not, for a store may lose its newest writes; what went before that is let go."""
    durable: dict[str, Any] = {"newest_event_id": "evt_0"}
    assert kept_ms(talked(60, **durable), **durable) == 60_000
    position = talked(60, **durable)
    position.is_new({"type": "call.received", "input_audio_bytes": PCM.size(58_000), "last_client_event_id": None})
    assert kept_ms(position, **durable) == 2_000 + SPARE_MS
    assert position.tally.lost_ms == 48_000


def test_of_a_server_that_does_not_tell_what_is_durable_half_a_minute_is_kept() -> None:
    """It is not known better."""
    assert kept_ms(talked(40)) == KEPT_MS


def test_there_is_an_end_to_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a server whose store is away for minutes the oldest is let go."""
    monkeypatch.setattr(outgoing, "MAX_KEPT_BYTES", 1_000_000)
    durable: dict[str, Any] = {"newest_event_id": "evt_0"}
    assert 10_000 < kept_ms(talked(60, **durable), **durable) < 20_000


def test_events_are_kept_until_they_are_durable_and_as_many_as_a_server_remembers() -> None:
    """However many there are: one that took no effect is sent again."""
    durable: dict[str, Any] = {"newest_event_id": "evt_0"}
    position = talked(0, **durable)
    for _ in range(2 * REMEMBERED_CLIENT_EVENTS):
        position.add({"type": "response.create"})
    sent(position)
    position.greeted(greeting(last_client_event_id="said_10", **durable))
    position.go_on()
    assert sent(position)[0]["event_id"] == "said_11"
    position.is_new({"type": "call.received", "input_audio_bytes": 0, "last_client_event_id": "said_500"})
    position.greeted(greeting(last_client_event_id="said_10", **durable))
    position.go_on()
    assert len(sent(position)) == REMEMBERED_CLIENT_EVENTS


def test_what_has_come_is_acknowledged_once_to_a_server_that_knows_of_it() -> None:
    """Another one would answer with an error."""
    position = talked(0, newest_event_id="evt_0")
    position.acknowledge()
    assert not position.has_unsent
    position.is_new({"type": "pong", "event_id": "evt_1"})
    position.acknowledge()
    position.acknowledge()
    assert sent(position) == [{"type": "call.acknowledge", "event_id": "evt_1"}]
    unknowing = talked(0)
    unknowing.is_new({"type": "pong", "event_id": "evt_1"})
    unknowing.acknowledge()
    assert not unknowing.has_unsent


def test_what_is_durable_is_no_event_of_the_call() -> None:
    """Nobody but the library needs to see it."""
    position = talked(0, newest_event_id="evt_0")
    assert not position.is_new({"type": "call.received", "input_audio_bytes": 0, "last_client_event_id": None})
    assert (position.tally.events, position.tally.repeats) == (0, 0)
