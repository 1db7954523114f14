"""The checks of a chaos run find what they are for, and a short run is clean."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock, patch

import httpx
import orjson
import pybase64
import pytest

from tests.chaos.caller import CallersVerdict, FleetCall, fleet_caller, fleet_callers
from tests.chaos.run import Plan, chaos
from tests.e2e.pods import Pods, pods
from tests.waiting import until
from voice_agent.client.connection import RealtimeCall
from voice_agent.client.sockets import open_socket
from voice_agent.rehearse.caller import RehearsedCaller
from voice_agent.rehearse.conversation import Found

Change = Callable[[dict[str, Any]], list[dict[str, Any]]]


class Near:
    """A fleet of one pod."""

    def __init__(self, started: Pods) -> None:
        self.pods = started.running

    async def open_socket(self, url: str, headers: Any) -> Any:
        return await open_socket(url.replace("ws://fleet/v1/realtime", self.pods[0].url), headers)

    async def record(self, call_id: str) -> dict[str, Any]:
        async with httpx.AsyncClient() as http:
            body: dict[str, Any] = (await http.get(f"{self.pods[0].http}/admin/calls/{call_id}")).json()
            return body


def lose(event: dict[str, Any]) -> list[dict[str, Any]]:
    """The 12th event never comes."""
    return [] if event.get("event_id") == "evt_12" else [event]


def repeat(event: dict[str, Any]) -> list[dict[str, Any]]:
    """The 12th event comes twice."""
    return [event, event] if event.get("event_id") == "evt_12" else [event]


def garble(event: dict[str, Any]) -> list[dict[str, Any]]:
    """One sample of each chunk is another."""
    if event["type"] == "response.output_audio.delta":
        audio = bytearray(pybase64.b64decode(event["delta"]))
        audio[0] ^= 1
        event["delta"] = pybase64.b64encode_as_string(audio)
    return [event]


def untouched(event: dict[str, Any]) -> list[dict[str, Any]]:
    """All is well."""
    return [event]


class Twisted:
    """A socket whose events are changed on the way."""

    def __init__(self, socket: Any, change: Change) -> None:
        self._socket = socket
        self._change = change
        self._waiting: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    async def recv(self) -> str:
        while not self._waiting:
            event = orjson.loads(await self._socket.recv())
            self._waiting = [orjson.dumps(one).decode() for one in self._change(event)]
        return self._waiting.pop(0)


async def talked(redis_url: str, change: Change, **patched: Any) -> RehearsedCaller[FleetCall]:
    """A caller who has had a few turns with events changed on the way."""
    async with pods(redis_url) as started:
        await started.start("blue", agent="echo")
        near: Any = Near(started)
        opened = near.open_socket

        async def open_socket(url: str, headers: Any) -> Any:
            return Twisted(await opened(url, headers), change)

        near.open_socket = open_socket
        caller, enough = fleet_caller("caller", near, 5), asyncio.Event()
        for name, value in patched.items():
            setattr(caller, name, value)
        talking = asyncio.create_task(caller.run(enough.is_set))
        await until(lambda: caller.talk.turns >= 3 or talking.done())
        enough.set()
        await talking
        return caller


async def test_a_lost_event_is_found(redis_url: str) -> None:
    """By the numbers."""
    assert (await talked(redis_url, lose, _chance=Typist())).found.lost == 1


async def test_a_repeated_event_is_found(redis_url: str) -> None:
    """By the numbers."""
    assert (await talked(redis_url, repeat, _chance=Typist())).found.repeated == 1


async def test_changed_audio_is_found(redis_url: str) -> None:
    """By its hash."""
    assert (await talked(redis_url, garble)).found.wrong_audio


async def test_a_lost_turn_is_found(redis_url: str) -> None:
    """By the record of the conversation."""
    send = RealtimeCall.send

    async def forgetful(self: RealtimeCall, event: dict[str, Any]) -> None:
        if "types 2" not in str(event):
            await send(self, event)

    with patch.object(RealtimeCall, "send", forgetful):
        caller = await talked(redis_url, untouched, _chance=Typist())
    assert caller.found.lost_words == 1


class Typist:
    """Chance that always types."""

    def random(self) -> float:
        return 0.0

    def uniform(self, low: float, high: float) -> float:
        return low


async def test_nothing_is_found_where_nothing_is_wrong(redis_url: str) -> None:
    """The checks are not so strict that a good call fails them."""
    assert (await talked(redis_url, untouched)).found.is_clean


async def test_a_caller_that_breaks_is_a_dropped_call() -> None:
    """Whatever ended it: none is counted as served because nobody looked at its error."""

    class Broken:
        async def open_socket(self, url: str, headers: Any) -> Any:
            raise ValueError("no such thing")

        async def record(self, call_id: str) -> dict[str, Any]:
            return {}

    verdict = CallersVerdict()
    verdict.begin(fleet_callers(Broken(), [1]))
    await verdict.finish()
    assert verdict.totals.dropped == 1
    assert "no such thing" in verdict.bad_callers[0]
    assert not verdict.is_clean


async def test_callers_call_again_until_something_is_wrong() -> None:
    """Every call is counted; a line on which one was dropped is silent, the others go on."""
    verdict = CallersVerdict()
    calls: list[int] = []

    class Short:
        """Done at once."""

        def __init__(self, line: int) -> None:
            self.name, self.found, self.call = f"{line}", Found(), Mock(call_id="call_a")
            self._is_bad = line == 0 and calls.count(0) == 2

        async def run(self, is_enough: Callable[[], bool]) -> None:
            if self._is_bad:
                self.found.dropped = "cut off"
            await asyncio.sleep(0)

    def again(line: int) -> Any:
        calls.append(line)
        return Short(line)

    verdict.begin([again(0), again(1)], again)
    await until(lambda: calls.count(1) >= 5)
    await verdict.finish()
    assert calls.count(0) == 2
    assert len(verdict.callers) == len(calls)
    assert verdict.totals.dropped == 1


@pytest.mark.soak
async def test_a_short_chaos_run_is_clean() -> None:
    """Half a minute with one failover and a short outage; `make chaos` makes a long one."""
    verdict = await chaos(Plan(seconds=30, faults=30, callers=8, seed=7, failovers=1, outage_s=6))
    assert verdict.is_clean, verdict.bad_callers + verdict.complaints
