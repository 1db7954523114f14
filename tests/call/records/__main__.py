"""`python -m tests.call.records`: store a call as this release does, for later ones to read.

Run by whoever releases a new schema, once: a file that is here is never made anew. Writes `schema-N.json`.
"""

from __future__ import annotations

import argparse
import sys

from tests.call.calls import append, feed, item_id, manual_call, response_id
from tests.call.engine import asked, done, first
from tests.call.records import RECORDS, packed
from voice_agent.call import inputs, machine
from voice_agent.call.alignment import Alignment
from voice_agent.call.audio import PCM
from voice_agent.call.changes import Snapshot
from voice_agent.call.record import CallRecord
from voice_agent.call.schema import SCHEMA
from voice_agent.call.writes import take_write
from voice_agent.stores.base import Claim, Claimed
from voice_agent.stores.memory import MemoryStore
from voice_agent.testing.virtual_loop import run_now

WORDS: Alignment = [[200, 4], [400, 11]]
"""Where words of the second answer begin."""
TENTH = bytes(range(48)) * (PCM.size(100) // 48)
"""100 ms of a voice."""


def main() -> int:
    """Exit status 1 if the record of this schema is there already."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.call.records",
        description=f"Store a call as this release does, in {RECORDS.name}/schema-{SCHEMA}.json.",
        epilog="example: python -m tests.call.records",
    )
    parser.parse_args()
    path = RECORDS / f"schema-{SCHEMA}.json"
    if path.exists():
        print(f"{path} is of the release that began schema {SCHEMA}, and stays as it is", file=sys.stderr)
        return 1
    path.write_bytes(packed(stored_call()))
    print(path)
    return 0


def stored_call() -> Snapshot:
    """All parts of a call: two turns, an answer under way, half an utterance; claimed by a second pod."""
    store = MemoryStore(ttl_s=60)
    call = manual_call()
    call.owner.claim = "made"
    call.record.write_whole = True
    _save(store, call, 10)
    for step in (_first_turn, _second_turn, _half_an_utterance):
        step(call)
        _save(store, call, 80)
    machine.step(call, inputs.ConnectionLost(hung_up=False), 90)
    _save(store, call, 100)
    claimed = run_now(store.claim(Claim(call.call_id, "pod-b", "green", 110, name="claimed")))
    assert isinstance(claimed, Claimed)
    return claimed.snapshot


def _save(store: MemoryStore, call: CallRecord, now_ms: int) -> None:
    run_now(store.commit([take_write(call, now_ms)]))


def _first_turn(call: CallRecord) -> None:
    frames: list[inputs.Input] = [inputs.AppendAudio(one.audio, f"client_{n}") for n, one in enumerate(_frames(10), 1)]
    feed(
        call,
        *frames,
        inputs.CommitAudio("client_11"),
        inputs.CreateResponse({"metadata": {"of": "first"}}, "client_12"),
    )
    feed(call, inputs.ResponseText(response_id(1), "The first answer"), inputs.ResponseAudio(response_id(1), TENTH))
    feed(call, inputs.Transcribed(item_id(1), "hello there"), asked, now_ms=30)
    done(call, now_ms=30, state={"state": 2})


def _second_turn(call: CallRecord) -> None:
    feed(call, *append(10), inputs.CommitAudio("client_13"), inputs.CreateResponse({}, "client_14"), now_ms=70)
    reply = response_id(2)
    feed(call, inputs.DtmfPressed("1"))
    number = first(call).number
    feed(call, inputs.OnceBegun(number, "book"), inputs.OnceDone(number, "book", {"booked": True}))
    feed(call, inputs.ResponseText(reply, "The second answer"))
    feed(call, inputs.ResponseAudio(reply, TENTH, 2 * len(TENTH), WORDS), now_ms=80)
    feed(call, inputs.ResponseAudio(reply, TENTH, 2 * len(TENTH), WORDS), now_ms=80)


def _half_an_utterance(call: CallRecord) -> None:
    feed(call, *append(10))


def _frames(count: int) -> list[inputs.AppendAudio]:
    return [one for one in append(count) if isinstance(one, inputs.AppendAudio)]


if __name__ == "__main__":
    sys.exit(main())
