"""Several workers on one port: each a pod of its own, none of them to be missed by its callers.

Tests of `host.supervisor` and `voice_agent.hosting`, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.pods import PodProcess, Pods, pods
from tests.servers import free_port
from tests.waiting import PATIENCE_S, until
from voice_agent.client.backoff import Backoff
from voice_agent.client.connection import RealtimeCall

CALLS = 12
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def worker_pids(host: PodProcess) -> list[int]:
    """The processes of the workers, by slot, as the parent tells; one that died may still be among them."""
    lines = [json.loads(line) for line in host.log.read_text().splitlines() if '"worker started"' in line]
    return list({line["worker"]: line["pid"] for line in lines}.values())


def pid_of(host: PodProcess, name: str) -> int:
    """The process of a worker, by its name in the fleet."""
    return worker_pids(host)[int(name.rpartition("-")[2]) - 1]


async def fleet(host: PodProcess) -> dict[str, dict[str, Any]]:
    """Every pod, by name."""
    async with httpx.AsyncClient(base_url=host.http) as admin:
        return {heartbeat["name"]: heartbeat for heartbeat in (await admin.get("/admin/fleet")).json()["pods"]}


async def start(its: Pods, **settings: Any) -> PodProcess:
    """A host with two workers, both in the fleet."""
    host = await its.start(workers=2, speech_workers=1, **settings)
    await host.until_health(capacity=400)
    return host


async def hold(call: RealtimeCall) -> None:
    """Listen, and say something now and then: a reply of the agent `echo` needs none."""
    async for _ in call.events():
        pass


@contextlib.asynccontextmanager
async def calls_on(host: PodProcess, count: int = CALLS) -> AsyncIterator[list[RealtimeCall]]:
    """Calls that resume by themselves; none may fail, lose an event or see one twice."""
    async with contextlib.AsyncExitStack() as stack:
        made = [await stack.enter_async_context(RealtimeCall(host.url, model="echo")) for _ in range(count)]
        listening = [asyncio.create_task(hold(call)) for call in made]
        yield made
        assert not [task for task in listening if task.done()]
        assert all((call.tally.gaps, call.tally.repeats) == (0, 0) for call in made)
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)


async def test_two_workers_share_the_port_the_fleet_and_the_figures(redis_url: str) -> None:
    """Both take calls; the port speaks for both: health, calls, hang-up, metrics."""
    async with pods(redis_url) as its:
        host = await start(its)
        async with calls_on(host) as made, httpx.AsyncClient(base_url=host.http) as admin:
            on = {name: [call for call in made if call.pod == name] for name in ("blue-0-1", "blue-0-2")}
            assert all(on.values()), "the kernel spread no call to one of the workers"
            assert sum(map(len, on.values())) == CALLS
            await host.until_health(active_calls=CALLS)
            health = await host.health()
            assert (health["pod"], health["status"], health["capacity"]) == ("blue-0", "ok", 400)
            listed = (await admin.get("/admin/calls")).json()
            assert listed["pod"] == "blue-0"
            assert {line["call_id"] for line in listed["calls"]} == {call.call_id for call in made}

            async def all_in_fleet() -> bool:
                return {name: heartbeat["active_calls"] for name, heartbeat in (await fleet(host)).items()} == {
                    name: len(calls) for name, calls in on.items()
                }

            await until(all_in_fleet)
            metrics = await host.metrics()
            for worker in "12":
                active = metrics[f'voice_active_calls{{worker="{worker}"}}']
                assert active == len(on[f"blue-0-{worker}"])
        # By now each was hung up by its caller.
        async with RealtimeCall(host.url, model="echo") as call, httpx.AsyncClient(base_url=host.http) as admin:
            assert (await admin.get(f"/admin/calls/{call.call_id}")).json()["status"] == "attached"
            statuses = [(await admin.delete(f"/admin/calls/{call.call_id}")).status_code for _ in range(2)]
            assert statuses == [200, 200], "what has ended can be erased, and what is erased is so"
            assert (await admin.get(f"/admin/calls/{call.call_id}")).json()["outcome"] == "admin"
        host.terminate()
        assert await host.exit_status() == 0


async def test_a_killed_worker_takes_no_call_along(redis_url: str) -> None:
    """kill -9: its calls resume on the other worker or its successor, the other's stay, and it is started again."""
    async with pods(redis_url) as its:
        host = await start(its)
        async with calls_on(host) as made:
            victims = [call for call in made if call.pod == "blue-0-1"]
            others = [call for call in made if call.pod == "blue-0-2"]
            before = set(worker_pids(host))
            os.kill(pid_of(host, "blue-0-1"), signal.SIGKILL)
            await until(lambda: all(call.tally.resumes == 1 for call in victims))
            assert [call.tally.resumes for call in others] == [0] * len(others)
            await until(lambda: set(worker_pids(host)) != before)
            await host.until_health(capacity=400)
            assert (await host.health())["active_calls"] == CALLS


@pytest.mark.parametrize("how", ["signal", "admin"])
async def test_a_worker_that_drains_hands_its_calls_to_its_sibling(redis_url: str, how: str) -> None:
    """One worker is drained: the port stays healthy, new calls and its own go to the other at once."""
    async with pods(redis_url) as its:
        host = await start(its)
        async with calls_on(host) as made, httpx.AsyncClient(base_url=host.http) as admin:
            moving = [call for call in made if call.pod == "blue-0-1"]
            if how == "signal":
                os.kill(pid_of(host, "blue-0-1"), signal.SIGTERM)
            else:
                told = await admin.post("/admin/drain", params={"pod": "blue-0-1"})
                assert told.status_code == 200
            for call in moving:
                call.lose_connection()
            await until(lambda: all(call.tally.resumes >= 1 for call in moving))
            assert (await host.health())["status"] == "ok"
            if how == "admin":
                assert {call.pod for call in made} == {"blue-0-2"}
                assert (await admin.post("/admin/drain", params={"pod": "nobody"})).status_code == 404
                for _ in range(6):
                    async with RealtimeCall(host.url, model="echo") as call:
                        assert call.pod == "blue-0-2"
                told = await admin.delete("/admin/drain", params={"pod": "blue-0-1"})
                assert told.json()["cancelled"] is True
            else:
                await host.until_health(capacity=400)


async def test_a_drain_of_the_port_is_one_of_all_workers_and_can_be_cancelled(redis_url: str) -> None:
    """Both refuse, nobody is handed to another worker that drains too, and the signal lets them all go with exit 0."""
    async with pods(redis_url) as its:
        host = await start(its, drain_mode="handoff", drain_deadline=1)
        async with calls_on(host, 4) as made, httpx.AsyncClient(base_url=host.http) as admin:
            for call in made:
                await call.send({"type": "input_audio_buffer.clear"})
            assert (await admin.post("/admin/drain", json={"deadline_s": 60})).json()["active_calls"] == 4
            answers = [await admin.get("/healthz/realtime", headers={"Connection": "close"}) for _ in range(8)]
            assert {(it.status_code, it.json()["status"]) for it in answers} == {(503, "draining")}
            assert {it.json()["active_calls"] for it in answers} == {4}
            assert (await admin.delete("/admin/drain")).json()["cancelled"] is True
            await host.until_health(status="ok")
            assert [call.tally.resumes for call in made] == [0] * 4
        host.terminate()
        assert await host.exit_status() == 0
        assert "worker lost" not in host.log.read_text()


async def test_a_second_signal_ends_all_workers_at_once(redis_url: str) -> None:
    """Callers who stay keep the first signal waiting; the second closes them, and no process is left."""
    async with pods(redis_url) as its:
        host = await start(its, drain_mode="finish", drain_deadline=300)
        pids = worker_pids(host)
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(4):
                await stack.enter_async_context(RealtimeCall(host.url, model="echo", backoff=Backoff(0.1)))
            host.terminate()
            await host.until_health(status="draining")
            host.terminate()
            assert await host.exit_status() == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


async def test_a_worker_that_left_first_leaves_no_question_without_an_answer(redis_url: str) -> None:
    """A drain keeps the worker with a call and lets the other go: whoever asks still gets an answer, every time."""
    async with pods(redis_url) as its:
        host = await start(its, drain_mode="finish", drain_deadline=300)
        async with RealtimeCall(host.url, model="echo", backoff=Backoff(0.1)) as call:
            (other,) = set(worker_pids(host)) - {pid_of(host, call.pod)}
            host.terminate()
            await until(lambda: not Path(f"/proc/{other}").exists())
            # As many connections as it takes for the kernel to have put some into either queue.
            for _ in range(32):
                assert (await host.health())["status"] == "draining"
            host.terminate()
        assert await host.exit_status() == 0


async def test_workers_leave_when_their_parent_is_gone(redis_url: str) -> None:
    """kill -9 of the parent drains them: they end like a pod that was told to, after their calls."""
    async with pods(redis_url) as its:
        host = await start(its)
        pids = worker_pids(host)
        host.kill()
        await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
        assert "drain started" in host.log.read_text()


async def test_the_embedded_store_outlives_every_worker(tmp_path: Path) -> None:
    """It is the parent's: after kill -9 of both workers, one after the other, a call is still known."""
    async with pods(f"embedded://{tmp_path}/store") as its:
        host = await start(its)
        async with RealtimeCall(host.url, model="echo") as call:
            listening = asyncio.create_task(hold(call))
            for resumes in (1, 2):
                os.kill(pid_of(host, call.pod), signal.SIGKILL)
                await until(lambda wanted=resumes: call.tally.resumes == wanted)
            assert (call.tally.gaps, call.tally.repeats) == (0, 0)
            listening.cancel()
        host.terminate()
        assert await host.exit_status() == 0
        assert "store" not in host.log.read_text()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"VOICE_WORKERS": "-1"}, "VOICE_WORKERS: -1 is too small; allowed: 0–256."),
        ({"VOICE_WORKERS": "2", "VOICE_STORE_URL": "memory://"}, "VOICE_WORKERS: 2 workers cannot share memory://"),
        ({"VOICE_WORKERS": "2", "VOICE_STORE_URL": "nosuch://"}, "unknown store nosuch://"),
        ({"VOICE_WORKERS": "2", "VOICE_AGENT": "nobody"}, "there is no agent 'nobody'"),
    ],
)
def test_a_wrong_setting_is_one_line_for_all_workers(variables: dict[str, str], words: str, tmp_path: Path) -> None:
    """Told by the parent, before any worker is started."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VOICE_")}
    known = {"VOICE_PORT": str(free_port()), "VOICE_STORE_URL": f"embedded://{tmp_path}/store"}
    done = subprocess.run(
        [sys.executable, "-m", "voice_agent", "serve"],
        env={**kept, **known, **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert words in done.stderr


def test_a_store_that_cannot_be_reached_is_one_line_for_all_workers() -> None:
    """The first worker says so, and no other is started."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VOICE_")}
    url = f"redis://127.0.0.1:{free_port()}/0"
    done = subprocess.run(
        [sys.executable, "-m", "voice_agent", "serve", "--workers", "2", "--port", str(free_port()), "--store", url],
        env=kept,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
