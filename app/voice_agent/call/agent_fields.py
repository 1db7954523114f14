"""How an `AgentLedger` stands in the record, and comes back.

Events, timers and responses that wait are a field each, as JSON, which a write carries when one of them changed. Acts
are a field each, so that an event in which a thousand things are done costs no more with each of them; another field,
in the same write, says how many there are. ::

    agent_events   {"made": 6, "waiting": [{"number": 6, "kind": "asked", "at_ms": …, "data": {…}}]}
    acts           2
    act:0          {"key": "note", "kind": "once", "status": "done", "result": …}
    act:1          {"key": "reply", "kind": "speak", "status": "begun", "span": {…}}
    timers         {"remind": 1764000000000}
    later          [{"params": {…}, "of_turn": true}]

A record without ``agent_events`` has no ledger. What a newer version adds to an event or an act is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

import orjson

from voice_agent.call.agent_ledger import (
    ActKind,
    ActStatus,
    AgentAct,
    AgentEvent,
    AgentLedger,
    EventKind,
    LaterResponse,
    SpokenSpan,
)
from voice_agent.call.record import CallRecord

EVENTS, ACTS, TIMERS, LATER, ACT = "agent_events", "acts", "timers", "later", "act:"

Shape = TypeVar("Shape", AgentEvent, AgentAct, SpokenSpan, LaterResponse)


def encode_events(call: CallRecord, to: dict[str, bytes]) -> None:
    """What waits, and the number of the newest."""
    if call.agent is not None:
        waiting = [_flat(event) for event in call.agent.waiting]
        to[EVENTS] = orjson.dumps({**call.agent.extras, "made": call.agent.made, "waiting": waiting})


def encode_acts(call: CallRecord, to: dict[str, bytes]) -> None:
    """The acts that changed; of a whole write all."""
    ledger = call.agent
    if ledger is None:
        return
    changed = ledger.acts.values() if call.record.write_whole else ledger.unsaved_acts.values()
    for act in changed:
        to[f"{ACT}{act.number}"] = orjson.dumps(_flat(act))
    for n in range(len(ledger.acts), ledger.stored_acts):
        to[f"{ACT}{n}"] = b""
    to[ACTS] = b"%d" % len(ledger.acts)
    ledger.stored_acts, ledger.unsaved_acts = len(ledger.acts), {}


def encode_timers(call: CallRecord, to: dict[str, bytes]) -> None:
    """All of them."""
    if call.agent is not None:
        to[TIMERS] = orjson.dumps(call.agent.timers)


def encode_later(call: CallRecord, to: dict[str, bytes]) -> None:
    """All of them."""
    if call.agent is not None:
        to[LATER] = orjson.dumps([_flat(one) for one in call.agent.later])


def restore_ledger(record: Mapping[str, bytes]) -> AgentLedger | None:
    """None if the record has none. Raises `LookupError`, `TypeError` or `ValueError` for what is damaged."""
    if not record.get(EVENTS):
        return None
    told = orjson.loads(record[EVENTS])
    ledger = AgentLedger(made=int(told.pop("made")))
    ledger.waiting = [_shaped(AgentEvent, {**one, "kind": EventKind(one["kind"])}) for one in told.pop("waiting")]
    ledger.extras = told
    ledger.stored_acts = int(record.get(ACTS) or b"0")
    for n in range(ledger.stored_acts):
        act = _act(orjson.loads(record[f"{ACT}{n}"]))
        ledger.acts[act.key] = act
    ledger.timers = {str(name): int(when_ms) for name, when_ms in orjson.loads(record.get(TIMERS) or b"{}").items()}
    ledger.later = [_shaped(LaterResponse, one) for one in orjson.loads(record.get(LATER) or b"[]")]
    return ledger


def is_act(name: str) -> bool:
    """Whether a record field is one of an act."""
    return name.startswith(ACT)


def _act(told: dict[str, Any]) -> AgentAct:
    span = told.get("span")
    kinds = {"kind": ActKind(told["kind"]), "status": ActStatus(told["status"])}
    return _shaped(AgentAct, {**told, **kinds, "span": _shaped(SpokenSpan, span) if span is not None else None})


def _flat(value: AgentEvent | AgentAct | SpokenSpan | LaterResponse) -> dict[str, Any]:
    told = {each.name: getattr(value, each.name) for each in fields(value)}
    if isinstance(value, AgentAct) and value.span is not None:
        told["span"] = _flat(value.span)
    return {**told.pop("extras"), **told}


def _shaped(shape: type[Shape], told: dict[str, Any]) -> Shape:
    """What a newer version added goes into `extras`, and from there back into the store.

    A new kind of event or act is no addition but a change of the format, and takes two releases (see `schema`).
    """
    names = {each.name for each in fields(shape)} - {"extras"}
    return shape(
        **{name: value for name, value in told.items() if name in names},
        extras={name: value for name, value in told.items() if name not in names},
    )
