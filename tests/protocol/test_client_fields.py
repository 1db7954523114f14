"""What each field of `client_events` does, as its `taken` says, held against the official SDK's types."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.call.calls import emitted, feed, new_call
from tests.protocol.client_events import REFUSED, SESSION, TAKEN
from tests.protocol.sdk_fields import Field, fields
from voice_agent.call import inputs, machine
from voice_agent.call.agent_ledger import AgentEvent, EventKind
from voice_agent.call.record import CallRecord
from voice_agent.call.session_config import settings_under, transcription_on, transcription_prompt
from voice_agent.kit.events import Asked
from voice_agent.protocol.realtime import parse
from voice_agent.runtime.engine.notices import notice_of, session_of

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


def configured_call() -> CallRecord:
    """A call with a session in which every field was set, and something said."""
    call = new_call()
    session = {**SESSION, "audio": {**SESSION["audio"], "output": {**SESSION["audio"]["output"], "voice": "marin"}}}
    item = {"id": "spoken", "type": "message", "role": "assistant", "status": "completed"}
    feed(
        call,
        inputs.UpdateSession(session),
        inputs.CreateItem({**item, "content": [{"type": "output_audio", "transcript": "Hi."}]}),
    )
    assert not [event for event in emitted(call) if event["type"] == "error"]
    return call


def outcome(event: dict[str, Any]) -> tuple[Any, ...]:
    """All that an event does to such a call."""
    call = configured_call()
    machine.step(call, parse(orjson.dumps(event)), 0)
    reply = call.response
    said = [{**body, "error": None} if body["type"] == "error" else body for body in emitted(call)[3:]]
    return said, call.session.fields, reply and reply.asked.params


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


# --- the table in the documents ----------------------------------------------

ROW = re.compile(r"\| `([\w.]+)` \| `([^`]+)`( and all below)? \| (works|agent|no effect|refused) \|")
IN_EVERY_EVENT = {"type", "event_id"}
EXTENSIONS = "call."
"""How types of our own events begin, of which the SDK knows nothing."""
NOTHING_TO_DO = {"input_audio_buffer.commit", "response.cancel"}
"""Right in form, and wrong in a call in which nobody speaks."""


def table() -> dict[tuple[str, str], str]:
    """What the document says of each field."""
    rows = [
        row
        for row in ROW.findall((Path(__file__).parents[2] / "docs/protocol.md").read_text(encoding="utf-8"))
        if not row[0].startswith(EXTENSIONS)
    ]
    said: dict[tuple[str, str], str] = {}
    for field in fields():
        for event, path, with_all_below, verdict in rows:
            below = with_all_below and field.path.startswith((f"{path}.", f"{path}[")) and "(" not in field.path
            if event == field.event and (field.path == path or below):
                assert (event, field.path) not in said
                said[event, field.path] = verdict
    assert {(event, path) for event, path, *_ in rows} <= said.keys()
    return said


SAID = table()


def said(verdict: str) -> list[tuple[str, str]]:
    """The fields of which the document says this."""
    return sorted(field for field, its in SAID.items() if its == verdict)


def test_the_table_has_every_field_of_the_sdk() -> None:
    """None is missing, none is invented."""
    declared = {(field.event, field.path) for field in fields() if field.path not in IN_EVERY_EVENT}
    assert {field for field in SAID if field[1] not in IN_EVERY_EVENT} == declared


def test_every_field_that_is_not_refused_is_taken() -> None:
    """Some event that has it is answered without an error."""
    for event, path in said("works") + said("agent") + said("no effect"):
        having = [each for each in TAKEN if each["type"] == event and has(each, path)]
        assert having, (event, path)
    for each in TAKEN:
        errors = [body for body in outcome(each)[0] if body["type"] == "error"]
        assert not errors or each["type"] in NOTHING_TO_DO


def test_every_field_that_is_refused_is_answered_with_an_error() -> None:
    """And nothing of the event takes effect."""
    for event, path in said("refused"):
        kind = path.partition(" (")[2].rstrip(")")
        having = [each for each in REFUSED if each["type"] == event and has(each, path.partition(" (")[0])]
        having = [each for each in having if kind in str(each)]
        assert having, (event, path)
    for wrong in REFUSED:
        assert [body["type"] for body in outcome(wrong)[0]] == ["error"]


def has(event: dict[str, Any], path: str) -> bool:
    """Whether an event has the field at a path."""
    *_, name = path.split(".")
    bare = name.removesuffix("[]")
    return any(holder.get(bare) not in (None, []) for holder in holders(event, path))


def consequences(event: dict[str, Any]) -> tuple[Any, ...] | None:
    """What an event changes beside what the session shows: what the agent is told, what is listened to and said.

    None: it is answered with an error.
    """
    call = new_call()
    machine.step(call, parse(orjson.dumps(event)), 0)
    if any(body["type"] == "error" for body in emitted(call)):
        return None
    if call.response is None:
        machine.step(call, inputs.CreateResponse({}), 0)
    assert call.response is not None
    asked = notice_of(call, AgentEvent(1, EventKind.ASKED, 0, "", {"response_id": call.response.response_id}))
    assert isinstance(asked, Asked)
    told = (asdict(replace(asked, items=list(asked.items))), asdict(session_of(call)))
    output_format = settings_under(call.session.fields, {}).output_format
    return (
        told,
        call.session.turn_detection,
        call.session.input_format,
        output_format,
        transcription_on(call.session.fields),
        transcription_prompt(call.session.fields),
    )


@pytest.mark.parametrize(("event", "path"), said("agent") + said("no effect"))
def test_only_what_is_said_to_reaches_the_agent(event: str, path: str) -> None:
    """Taking the field out changes what the agent is told, or changes nothing at all."""
    for each in TAKEN:
        without = changed(each, path.removesuffix("[]"), drop) if each["type"] == event and has(each, path) else None
        if without is None or (after := consequences(without)) is None or path.endswith(".type"):
            continue
        assert (after != consequences(each)) == (SAID[event, path] == "agent")
