"""What the document on the store says a call costs is what it costs."""

from __future__ import annotations

import pytest

from tests.stores.bench_call import EDGE_S, SECOND_BYTES, appending_server, measure

IDLE_WRITES, IDLE_BYTES = 1, 600
OVERHEAD = 1.25
"""Of what is sent and kept, over the bare audio."""
NEW_BYTES, ENDED_BYTES = 16_000, 16_000
CALL_BYTES = 3 * 1024 * 1024
"""The outbox, as much again that a fast agent writes before the client has it, and the caller's turn of 15 s."""
SECONDS = 3.0


@pytest.mark.slow
async def test_a_call_costs_the_store_what_is_said_of_it() -> None:
    """A call that is idle next to nothing, one that talks its audio and a quarter at most, one that ended a few kB."""
    with appending_server() as server:
        rates, memory, _ = await measure(server.unix_url, calls=10, seconds=SECONDS, long_calls=1, held_calls=0)
    assert rates["idle"].writes <= IDLE_WRITES
    assert rates["idle"].sent_bytes <= IDLE_BYTES
    for name in ("caller talks", "agent talks"):
        # On a busy machine what was said just before is written in the time that is measured.
        assert rates[name].sent_bytes * SECONDS <= OVERHEAD * SECOND_BYTES * (SECONDS + EDGE_S)
    assert memory.new <= NEW_BYTES
    assert memory.talking <= CALL_BYTES
    assert memory.ended <= ENDED_BYTES
