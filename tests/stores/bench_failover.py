"""How long a store of several servers is away when its master is killed, and what it says meanwhile.

    python -m tests.stores.bench_failover [--rounds 10]

Twenty calls write without a pause, each write again until it is answered, as a pod does. Between two rounds the killed
server comes back and all replicas follow.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics

from tests.replicated import sentinel_set
from tests.stores.test_replicated import RepeatingWriter, check_nothing_is_lost
from voice_agent.stores.factory import open_store

WRITES_BEFORE = 50
WRITES_AFTER = 200


async def measure(rounds: int) -> None:
    """Print one line a round, then the median and the worst."""
    silences_s = []
    with sentinel_set() as servers:
        for number in range(rounds):
            store = open_store(servers.url, ttl_s=600)
            with servers.client(servers.master()) as admin:
                admin.flushall()
            writer = RepeatingWriter(store)
            await writer.until(WRITES_BEFORE)
            killed = await asyncio.to_thread(servers.kill_master)
            await writer.until(min(writer.answered.values()) + WRITES_AFTER)
            await writer.stop()
            await check_nothing_is_lost(store, writer)
            await store.close()
            silences_s.append(writer.longest_silence_s)
            print(f"{number + 1:3}  {writer.longest_silence_s:5.2f} s without an answered write  {writer.failed}")
            await asyncio.to_thread(servers.await_failover, killed)
            await asyncio.to_thread(servers.revive, killed)
            await asyncio.to_thread(servers.await_settled)
    print(f"median {statistics.median(silences_s):.2f} s, worst {max(silences_s):.2f} s; no answered write was lost")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    asyncio.run(measure(parser.parse_args().rounds))
