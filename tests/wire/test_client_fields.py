"""What each field of a client event does, held against the official SDK's types."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import orjson
import pytest

from app.call import inputs, machine
from app.call.record import Call
from app.wire.realtime import parse
from tests.call.calls import emitted, happen, new_call
from tests.wire.client_events import SESSION, TAKEN
from tests.wire.sdk_fields import Field, fields

NULL_MEANS = {
    "session.audio.input.turn_detection": None,
    "session.audio.input.turn_detection.idle_timeout_ms": None,
    "session.audio.input.noise_reduction": None,
    "session.audio.input.transcription": None,
    "session.tracing": None,
    "session.max_output_tokens": "inf",
}
"""Where null says something, and what is in the session then."""
OPTIONAL = [field for field in fields() if field.is_optional and field.path not in NULL_MEANS]


def holders(value: Any, path: str) -> Iterator[dict[str, Any]]:
    """The objects in an event that have, or may have, the field at a path."""
    name, dot, rest = path.partition(".")
    if not dot:
        yield value
        return
    below = value.get(name.removesuffix("[]"))
    for entry in below if isinstance(below, list) else [below]:
        if isinstance(entry, dict):
            yield from holders(entry, rest)


def changed(event: dict[str, Any], path: str, change: Callable[[dict[str, Any], str], Any]) -> dict[str, Any] | None:
    """A copy of an event with its field at a path changed; None if nothing in it could have that field."""
    copy = deepcopy(event)
    found = list(holders(copy, path))
    for holder in found:
        change(holder, path.rpartition(".")[2])
    return copy if found else None


def drop(holder: dict[str, Any], name: str) -> None:
    """Take a field out."""
    holder.pop(name, None)


def set_null(holder: dict[str, Any], name: str) -> None:
    """Have a field say null."""
    holder[name] = None


def configured_call() -> Call:
    """A call with a session in which every field was set, something said, and a response under way."""
    call = new_call()
    session = {**SESSION, "audio": {**SESSION["audio"], "output": {**SESSION["audio"]["output"], "voice": "marin"}}}
    happen(
        call,
        inputs.UpdateSession(session),
        inputs.CreateItem(
            {"id": "spoken", "type": "message", "role": "assistant", "status": "completed", "content": []}
        ),
    )
    assert not [event for event in emitted(call) if event["type"] == "error"]
    return call


def outcome(event: dict[str, Any]) -> tuple[Any, ...]:
    """All that an event does to such a call."""
    call = configured_call()
    machine.step(call, parse(orjson.dumps(event)), 0)
    reply = call.reply
    said = [{**body, "error": None} if body["type"] == "error" else body for body in emitted(call)[3:]]
    return said, call.session, reply and reply.params


@pytest.mark.parametrize("field", OPTIONAL, ids=lambda field: f"{field.event} {field.path}")
def test_null_is_not_given(field: Field) -> None:
    """Clients written in typed languages send null for whatever nobody set: the same happens as without."""
    tried = 0
    for event in TAKEN:
        if event["type"] != field.event:
            continue
        without, with_null = changed(event, field.path, drop), changed(event, field.path, set_null)
        if without is not None and with_null is not None:
            tried += 1
            assert outcome(with_null) == outcome(without)
    assert tried or field.event == "output_audio_buffer.clear"


@pytest.mark.parametrize("path", NULL_MEANS)
def test_where_null_says_something_it_does_it(path: str) -> None:
    """What can be off is switched off, what was limited is not limited any more."""
    event = changed(TAKEN[0], path, set_null)
    assert event is not None
    after = outcome(event)[1]
    *above, name = path.split(".")[1:]
    for step in above:
        after = after[step]
    assert after[name] == NULL_MEANS[path]
