"""What the document on the store says a call costs is what it costs."""

from __future__ import annotations

import pytest

from tests.stores.bench_call import SECOND_BYTES, appending_server, measure

IDLE_WRITES, IDLE_BYTES = 1, 600
OVERHEAD = 1.25
"""Of what is sent and kept, over the bare audio."""
NEW_BYTES, CALL_BYTES, ENDED_BYTES = 16_000, 2 * 1024 * 1024, 16_000


@pytest.mark.slow
async def test_a_call_costs_the_store_what_is_said_of_it() -> None:
    """A call that is idle next to nothing, one that talks its audio and a quarter at most, one that ended a few kB."""
    with appending_server() as server:
        rates, memory = await measure(server.unix_url, calls=10, seconds=3.0, long_calls=1)
    assert rates["idle"].writes <= IDLE_WRITES
    assert rates["idle"].sent_bytes <= IDLE_BYTES
    for name in ("caller talks", "agent talks"):
        assert rates[name].sent_bytes <= OVERHEAD * SECOND_BYTES
    assert memory.new <= NEW_BYTES
    assert memory.talking <= CALL_BYTES
    assert memory.ended <= ENDED_BYTES
