"""Where a call stands: what a resume names, and what is sent again after it."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from voice_agent.call.audio import PCM
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
