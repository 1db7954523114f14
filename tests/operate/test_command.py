"""`voice-agent cutover` as an operator runs it: real pods, a live call, and AWS as far as moto plays it.

Tests of `choosing`, `dry_run`, `options`, `preflight` and `request`, too.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Never

import httpx
import pytest
from typer.testing import CliRunner

from tests.chaos.caller import FleetCall, fleet_caller
from tests.e2e.pods import PodProcess, Pods, pods
from tests.operate.moto import STICKY, Balancer, moto_server, use
from tests.waiting import until
from voice_agent.cli import cli
from voice_agent.client.sockets import Socket, open_socket
from voice_agent.errors import SettingsError, StoreUnavailable
from voice_agent.operate import command
from voice_agent.operate.ports import RouterError, Routing
from voice_agent.rehearse.caller import RehearsedCaller
from voice_agent.runtime.clock import SystemClock
from voice_agent.stores.layout import check_layout
from voice_agent.stores.memory import MemoryStore
from voice_agent.stores.redis import RedisStore


@pytest.fixture
def balancer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Balancer]:
    """An ALB with the rules of `deploy/terraform`."""
    with moto_server() as moto:
        balancer = Balancer(use(moto, monkeypatch))
        for number, group in enumerate(balancer.groups.values()):
            balancer.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": f"10.0.{number}.9", "Port": 8080}])
        yield balancer


class Routed:
    """The pods behind the ALB, as a load balancer reaches them by its rules."""

    def __init__(self, its: Pods, balancer: Balancer) -> None:
        self.by_color = {pod.color: pod for pod in its.running}
        self.balancer = balancer

    async def _pod(self) -> PodProcess:
        # What an ALB does with a request that matches the resume's rule: it has no stickiness.
        (weights, *_) = (await asyncio.to_thread(self.balancer.weights))[1:]
        return self.by_color[max(weights, key=lambda of: weights[of])]

    async def open_socket(self, url: str, headers: Mapping[str, str]) -> Socket:
        return await open_socket(url.replace("ws://fleet/v1/realtime", (await self._pod()).url), headers)

    async def record(self, call_id: str) -> dict[str, Any]:
        async with httpx.AsyncClient(base_url=(await self._pod()).http) as http:
            body: dict[str, Any] = (await http.get(f"/admin/calls/{call_id}")).json()
            return body


@asynccontextmanager
async def talking(its: Pods, balancer: Balancer) -> AsyncIterator[RehearsedCaller[FleetCall]]:
    """A live call for the length of a block, after which not an event or word of it may be missing."""
    caller = fleet_caller("caller", Routed(its, balancer), 1)
    enough = asyncio.Event()
    task = asyncio.create_task(caller.run(enough.is_set))
    try:
        await until(lambda: caller.talk.turns > 1 or task.done())
        yield caller
        assert not task.done(), task
        enough.set()
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert caller.found.is_clean, caller.found


async def cut_over(
    to: str,
    its: Pods,
    balancer: Balancer,
    *options: str,
    on_step: Mapping[str, Callable[[asyncio.subprocess.Process], None]] | None = None,
) -> tuple[int, list[dict[str, Any]]]:
    """Run the command; `on_step` does something to its process when a step begins."""
    named = [word for color, arn in balancer.groups.items() for word in ("--target", f"{color}={arn}")]
    named += [word for arn in balancer.weighted for word in ("--rule", arn)]
    waits = ["--buffer", "5", "--hold", "1", "--drain-deadline", "30", "--json", "--router", "alb"]
    command = [sys.executable, "-m", "voice_agent", "cutover", "--to", to]
    command += [*waits, *named, "--store", its.store_url, *options]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("VOICE_")}
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=kept)
    lines: list[dict[str, Any]] = []
    assert process.stdout is not None
    async for line in process.stdout:
        lines.append(json.loads(line))
        if lines[-1]["event"] == "step" and on_step and lines[-1]["step"] in on_step:
            on_step[lines[-1]["step"]](process)
    return await process.wait(), lines


@pytest.mark.slow
async def test_cutovers_over_an_alb(redis_url: str, balancer: Balancer) -> None:
    """To green; a smoke call that fails; Ctrl-C in the drain; a killed tool, run again: one call lives through all."""
    smoke_rules = balancer.told(*balancer.smoke)
    async with pods(redis_url) as its:
        blue = await its.start("blue", speech_workers=1)
        green = await its.start("green", speech_workers=1)
        async with talking(its, balancer) as caller:
            status, lines = await cut_over("green", its, balancer, "--smoke-url", green.url, "--smoke-limit", "10")
            assert (status, lines[-1]["ok"], lines[-1]["step"]) == (0, True, "done"), lines[-1]["reason"]
            assert balancer.weights() == [{"green": 100}] * 3
            assert caller.call.color == "green"
            assert lines[-1]["drain_seconds"] < 30

            # What was said is not what blue's smoke call is told to expect.
            options = ("--smoke-url", blue.url, "--smoke-expect", "purple zebra", "--smoke-limit", "10")
            status, lines = await cut_over("blue", its, balancer, *options)
            assert (status, lines[-1]["ok"], lines[-1]["step"]) == (1, False, "rolled_back")
            assert "purple zebra" in lines[-1]["reason"]
            assert balancer.weights() == [{"green": 100}] * 3

            interrupt = {"watch": lambda process: process.send_signal(signal.SIGINT)}
            status, lines = await cut_over("blue", its, balancer, "--no-smoke", on_step=interrupt)
            assert (status, lines[-1]["step"], lines[-1]["reason"]) == (1, "rolled_back", "interrupted")
            assert balancer.weights() == [{"green": 100}] * 3
            assert caller.call.color == "green"

            status, _ = await cut_over("blue", its, balancer, "--no-smoke", on_step={"drain": lambda it: it.kill()})
            assert status == -signal.SIGKILL
            assert balancer.weights() == [{"blue": 100}] * 3
            status, lines = await cut_over("blue", its, balancer, "--no-smoke")
            assert (status, lines[0]["again"], lines[-1]["step"]) == (0, True, "done"), lines[-1]
            assert balancer.weights() == [{"blue": 100}] * 3
            assert caller.call.color == "blue"
            status, lines = await cut_over("blue", its, balancer, "--no-smoke")
            assert (status, lines[-1]["ok"]) == (0, True)
            assert "blue alone serves all callers already" in lines[-1]["reason"]
        assert {resumed.color for resumed in caller.call.resumes} == {"blue", "green"}
    assert balancer.stickiness()[0] == STICKY
    assert [kept for kept in balancer.stickiness()[1:] if kept and kept["Enabled"]] == []
    assert balancer.told(*balancer.smoke) == smoke_rules


class AwayStore(MemoryStore):
    """Cannot be opened at first."""

    def __init__(self) -> None:
        super().__init__(ttl_s=60)
        self.opens = 0

    async def open(self) -> None:
        self.opens += 1
        if self.opens < 3:
            raise StoreUnavailable("failing over")


class QuickClock(SystemClock):
    """Waits for nothing."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("--forget", "no cutover is unfinished; nothing was changed"),
        ("--to green --no-smoke", "install it; nothing was changed"),
        ("--to green --dry-run", "install it; nothing was changed"),
        ("--rollback --no-smoke", "install it; nothing was changed"),
    ],
)
def test_what_fails_before_anything_is_begun_is_refused(
    arguments: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With status 2, after a failover of the store was waited for."""
    store = AwayStore()

    def choose_router(_: object) -> Never:
        raise RouterError("install it")

    monkeypatch.setattr(command, "open_store", lambda *_, **__: store)
    monkeypatch.setattr(command, "SystemClock", QuickClock)
    monkeypatch.setattr(command, "choose_router", choose_router)
    outcome = CliRunner().invoke(cli, ["cutover", *arguments.split(), "--json"])
    over = json.loads(outcome.stdout.splitlines()[-1])
    assert (outcome.exit_code, over["exit"], over["reason"]) == (2, 2, reason)
    assert store.opens == 3


class StillRouter:
    """Its weights stay as they are, and no pod is behind it."""

    def __init__(self, _: object) -> None:
        self.name = "still"

    async def read(self) -> Routing:
        """Blue has all callers."""
        return Routing({"blue": 100, "green": 0})

    async def changes(self, routing: Routing) -> list[str]:
        """Nothing would be done."""
        return []

    async def healthy_targets(self, color: str) -> int:
        """None."""
        return 0


@pytest.mark.parametrize(
    "arguments", ["--to green --no-smoke", "--to green --dry-run", "--rollback --no-smoke", "--forget"]
)
def test_a_tool_that_comes_before_any_pod_leaves_a_store_that_pods_take(
    arguments: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it writes of itself is no sign of a version before schemas were told."""
    monkeypatch.setattr(command, "choose_router", StillRouter)
    outcome = CliRunner().invoke(cli, ["cutover", *arguments.split(), "--json", "--store", redis_url])
    assert outcome.exit_code == 2, outcome.output

    async def begins() -> None:
        store = RedisStore(redis_url, ttl_s=60)
        await store.open()
        try:
            await check_layout(store, begins=True)
        finally:
            await store.close()

    asyncio.run(begins())


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("", "give one of --to COLOR, --rollback and --forget"),
        ("--rollback --dry-run", "--dry-run goes with --to COLOR"),
        ("--to green --rollback", "give one of --to COLOR, --rollback and --forget"),
        ("--to green", "--smoke-url: where does the smoke call go"),
        ("--to green --smoke-url localhost:80", "--url: localhost:80 is not a WebSocket address; try ws://"),
        ("--to green --no-smoke --color-key replace-me", "VOICE_COLOR_KEY is not a key of 16 to 100"),
        ("--to green --no-smoke --steps 5,a", "--steps: '5,a' is not a list of percents"),
        ("--to green --no-smoke --steps 5,50", "--steps: weights must grow and end with 100"),
        ("--to green --no-smoke --deadline 60 --buffer 60", "--deadline: the wait for an empty color"),
        ("--to green --no-smoke --target green", "--target: 'green' is not COLOR=TARGET"),
        ("--to green --no-smoke --terraform /nowhere.json", "--terraform: cannot read /nowhere.json"),
        ("--to green --no-smoke --router haproxy", "--router haproxy needs --haproxy"),
        ("--to green --no-smoke --router alb", "--router alb needs --rule"),
        ("--to green --no-smoke --watch prometheus --haproxy x", "--watch prometheus needs --prometheus"),
    ],
)
def test_wrong_arguments_are_named(arguments: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to give instead, before anything is asked of anybody."""
    monkeypatch.setenv("VOICE_STORE_URL", "memory://")
    outcome = CliRunner().invoke(cli, ["cutover", *arguments.split()])
    assert isinstance(outcome.exception, SettingsError)
    assert str(outcome.exception).startswith(problem)
