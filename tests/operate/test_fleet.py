"""A pod's admin door, when what answers there is no pod, or one of another version."""

from __future__ import annotations

import socket
from dataclasses import asdict
from typing import Any

import httpx
import pytest

from tests.servers import free_port
from tests.web.rig import running
from voice_agent.call.drain import DrainMode
from voice_agent.operate.drain import drain_pod
from voice_agent.operate.fleet import FleetError, RemotePod
from voice_agent.runtime.clock import SystemClock
from voice_agent.runtime.pod.fleet import count
from voice_agent.stores.base import PodHeartbeat

HEARTBEAT = PodHeartbeat("a", "blue", "2", "ok", 1, 0, 10, 0, 0)


class Answers:
    """What stands at the address: answers each path with a body, or breaks off."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **bodies: Any) -> None:
        self.bodies = bodies
        made = httpx.AsyncClient
        monkeypatch.setattr(httpx, "AsyncClient", lambda **_: made(transport=httpx.MockTransport(self.answer)))

    def answer(self, request: httpx.Request) -> httpx.Response:
        body = self.bodies[request.url.path.rpartition("/")[2]]
        if isinstance(body, list) and body:
            body = body.pop(0)
        if isinstance(body, Exception):
            raise body
        return httpx.Response(200, text=body) if isinstance(body, str) else httpx.Response(200, json=body)


async def test_a_pod_of_a_newer_version_may_say_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blue and green are different versions; what is not known is passed over."""
    Answers(monkeypatch, fleet={"pods": [asdict(HEARTBEAT) | {"mood": "good"}]})
    assert (await RemotePod("http://pod").fleet()).pods == [HEARTBEAT]


@pytest.mark.parametrize(
    "body", [{}, {"pods": 3}, {"pods": [1]}, {"pods": [{"name": "a"}]}, {"pods": [{"counters": 1}]}]
)
async def test_a_fleet_of_another_shape_is_told(monkeypatch: pytest.MonkeyPatch, body: dict[str, Any]) -> None:
    """In one line, and never as a fleet without pods."""
    Answers(monkeypatch, fleet=body)
    with pytest.raises(FleetError, match="does not understand"):
        await RemotePod("http://pod").fleet()


@pytest.mark.parametrize("body", ["<html>", "[]", '{"pages": 1}'])
async def test_what_is_no_pod_is_told(monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Another server at that port, in one line."""
    Answers(monkeypatch, realtime=body)
    with pytest.raises(FleetError, match="http://pod is not a voice-agent"):
        await RemotePod("http://pod").health()


def not_connected(*reasons: Exception) -> httpx.ConnectError:
    """As httpx tells that none of a name's addresses could be connected to."""
    error = httpx.ConnectError("All connection attempts failed")
    error.__cause__ = OSError("All connection attempts failed")
    error.__cause__.__cause__ = reasons[0] if len(reasons) == 1 else ExceptionGroup("several", list(reasons))
    return error


async def test_waiting_for_a_pod_outlasts_a_broken_answer_and_ends_with_the_pod(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that exits may break off one answer before it refuses the next; a network that fails says nothing."""
    begun = {"draining": True, "mode": "handoff", "deadline_s": 5, "active_calls": 2}
    health = [
        {"status": "draining", "active_calls": 1},
        httpx.ReadError("broke off"),
        not_connected(socket.gaierror("no such name, for a moment")),
        not_connected(OSError("no route to host"), ConnectionRefusedError()),
        not_connected(ConnectionRefusedError(), ConnectionRefusedError()),
    ]
    answers = Answers(monkeypatch, drain=begun, realtime=health)
    done = await drain_pod(RemotePod("http://pod"), None, None, SystemClock(), wait=True)
    assert (done.drained, done.active_calls, answers.bodies["realtime"]) == (True, 0, [])
    assert str(done) == "http://pod is drained; gone meanwhile: http://pod."


async def test_a_pod_is_gone_once_its_address_refuses_connections() -> None:
    """As the system says it."""
    assert await RemotePod(f"http://localhost:{free_port()}").health() is None


async def test_waiting_for_a_pod_ends_when_its_drain_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """No call left and taking new ones is not drained."""
    begun = {"draining": True, "mode": "handoff", "deadline_s": 5, "active_calls": 2}
    Answers(monkeypatch, drain=begun, realtime={"status": "ok", "active_calls": 0})
    with pytest.raises(FleetError, match="http://pod is ok: the drain was cancelled"):
        await drain_pod(RemotePod("http://pod"), None, None, SystemClock(), wait=True)


@pytest.mark.parametrize("calls", [0, 1])
async def test_a_drain_without_waiting_tells_what_is_so(calls: int) -> None:
    """A pod without calls is drained at once; one with a call is draining."""
    async with running() as server:
        server.pod.active = calls
        done = await drain_pod(RemotePod(f"http://127.0.0.1:{server.port}"), DrainMode.HANDOFF, 7, SystemClock())
    assert (done.draining, done.drained, done.active_calls) == (True, calls == 0, calls)
    assert (done.mode, done.deadline_s) == ("handoff", 7)


@pytest.mark.parametrize(("number", "words"), [(0, "0 pods"), (1, "1 pod"), (2, "2 pods")])
def test_things_are_counted_as_people_do(number: int, words: str) -> None:
    """One is singular."""
    assert count(number, "pod") == words
