"""An upgrade finds what it is for.

Tests of `fleet`, `pod` and `run`, too.
"""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis

from tests.chaos.caller import fleet_caller
from tests.servers import redis_server
from tests.upgrade.additions import Additions
from tests.upgrade.fleet import ROOT, MixedFleet, Program
from tests.upgrade.releases import ADDED, Release
from tests.upgrade.run import Plan, Verdict, upgrade
from tests.waiting import until


async def upgraded(**more: Any) -> Verdict:
    """What one round shows."""
    return await upgrade(Plan(seconds=0, callers=6, faults_each=1, seed=1, **more))


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("ahead", [False, True], ids=["before", "after"])
async def test_two_releases_lose_and_repeat_nothing(ahead: bool) -> None:
    """The release before beside this one, and this one beside the one after, which adds something everywhere."""
    verdict = await upgraded(ahead=ahead)
    assert verdict.is_clean, verdict
    assert verdict.figures["resumes"] > 12
    assert (verdict.figures["additions"] > 12) is ahead


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("planted", "found"), [("off-by-one replay", "repeated"), ("number left out", "lost")])
async def test_a_bug_of_the_release_before_is_found(planted: str, found: str) -> None:
    """The verdict says which promise it breaks."""
    verdict = await upgraded(planted=planted)
    assert not verdict.is_clean
    assert verdict.figures[found] > 0, verdict.figures


@pytest.mark.slow
@pytest.mark.timeout(200)
async def test_what_a_release_takes_away_from_a_call_that_it_takes_over_is_found(tmp_path: Path) -> None:
    """A reply that the release after this one began is ended by this one, which keeps of an item what it knows."""
    with redis_server() as server:
        forgetful = Program.made(Release.THIS, "unknown members dropped")
        programs = {"blue": forgetful, "green": Program.made(Release.AFTER)}
        fleet, additions = MixedFleet(tmp_path, server, random.Random(1), programs), Additions(server.url)
        talking: list[asyncio.Task[None]] = []
        client: Any = redis.Redis.from_url(server.url)
        async with client:
            try:
                await fleet.open()
                await fleet.until_well()
                await fleet.route("green")
                callers = [fleet_caller(f"caller-{seed}", fleet, seed) for seed in range(3)]
                talking = [asyncio.create_task(caller.run(lambda: False)) for caller in callers]

                async def looked_at() -> dict[str, dict[bytes, bytes]]:
                    calls = [caller.call.call_id for caller in callers if caller.call.call_id]
                    await additions.look(calls)
                    return {call_id: await client.hgetall(f"call:{{{call_id}}}:items") for call_id in calls}

                async def is_replying() -> bool:
                    items = [packed for held in (await looked_at()).values() for packed in held.values()]
                    return any(b'"in_progress"' in packed and ADDED.encode() in packed for packed in items)

                await until(is_replying)
                await fleet.route("blue")
                for pod in fleet.pods:
                    if pod.color == "green":
                        pod.signal(signal.SIGKILL)
                assert additions.gone == []

                async def is_found() -> bool:
                    await looked_at()
                    return bool(additions.gone)

                await until(is_found)
            finally:
                for task in talking:
                    task.cancel()
                await asyncio.gather(*talking, return_exceptions=True)
                await additions.close()
                await fleet.close()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout: there is no release before")
def test_a_release_of_the_history_is_run_from_its_own_files(tmp_path: Path) -> None:
    """And not from this one's, though it runs in the same environment."""
    program = Program.checked_out("HEAD", tmp_path)
    script = "import voice_agent; print(voice_agent.__file__)"
    found = subprocess.run(
        [program.command[0], "-c", script], env=program.environment, capture_output=True, text=True, check=True
    )
    assert Path(found.stdout.strip()).is_relative_to(tmp_path)
