"""Connections before they are calls: whole requests, in time, not too many.

Tests of `exchange`, `handshakes` and `refusals`, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvloop
from structlog.testing import capture_logs

from tests.waiting import PATIENCE_S, until
from tests.web.rig import CALL_ID, CALL_KEY, Running, refuse, running
from voice_agent.runtime.ports import StartCall
from voice_agent.web.handshake import LINGER_BYTES, Handshake
from voice_agent.web.handshakes import IDLE_S, HandshakeLimits, WaitingConnection
from voice_agent.web.request_reader import MAX_BODY_BYTES, MAX_HEAD_BYTES, MAX_HEADERS
from voice_agent.web.waiting import Waiting

SOME_TURNS = 20
"""Of the event loop: what was said on loopback is read by then."""
SMALL = HandshakeLimits(waiting=4, idle=3, lingering=2)
UPGRADE = (
    b"Host: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
LIVE = b"GET /healthz/live HTTP/1.1\r\nHost: x\r\n\r\n"
ELSEWHERE: dict[str, Any] = {"additional_headers": {"X-Forwarded-For": "203.0.113.9"}}


def handshakes(queue: Waiting[WaitingConnection]) -> list[Handshake]:
    """The connections of a queue."""
    return [it for it in queue._since if isinstance(it, Handshake)]


class StoppedClock:
    """Goes on only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Peer:
    """A plain socket to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (small letters) and body of the next response."""
        async with asyncio.timeout(PATIENCE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            status, *lines = head.split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
            return int(status.split()[1]), headers, await self.reader.readexactly(int(headers.get("content-length", 0)))

    async def error(self) -> tuple[int, str]:
        """Status and code of a refusal, behind which the connection ends."""
        status, headers, body = await self.answer()
        assert headers["connection"] == "close"
        assert await self.rest() == b""
        return status, json.loads(body)["error"]["code"]

    async def rest(self) -> bytes:
        """Everything until the connection ends."""
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionResetError):
                return await self.reader.read()
            return b""


@contextlib.asynccontextmanager
async def peers(server: Running, count: int = 1) -> AsyncIterator[list[Peer]]:
    """So many sockets, accepted one after the other."""
    made: list[Peer] = []
    try:
        for _ in range(count):
            made.append(Peer(*await asyncio.open_connection("127.0.0.1", server.port)))
            await asyncio.sleep(0)
        yield made
    finally:
        for peer in made:
            peer.writer.close()


def counted(server: Running, label: str) -> float:
    """The sum of the counters with this label."""
    page = server.pod.observer.registry.page().decode()
    return sum(float(line.split()[-1]) for line in page.splitlines() if "_total{" in line and label in line)


@pytest.mark.parametrize(
    ("request_bytes", "status", "code", "limit"),
    [
        (b"GET /" + b"a" * MAX_HEAD_BYTES, 414, "uri_too_long", "head_bytes"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * MAX_HEAD_BYTES, 431, "headers_too_large", "head_bytes"),
        (b"GET / HTTP/1.1\r\n" + b"a:1\r\n" * (MAX_HEADERS + 1) + b"\r\n", 431, "too_many_headers", "header_lines"),
        (b"POST / HTTP/1.1\r\nContent-Length: 5000\r\n\r\n", 413, "body_too_large", "body_bytes"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411, "length_required", None),
        (b"GET /realtime HTTP/1.1\r\n" + UPGRADE + b"Content-Length: 5\r\n\r\n", 400, "invalid_request", None),
        (b"GET /realtime HTTP/1.1\r\n" + UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n", 400, "invalid_request", None),
        (b"nonsense\r\n\r\n", 400, "invalid_request", None),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400, "invalid_request", None),
        (b"GET / HTTP/1.1\r\nX: a\r\n b: c\x00\r\n\r\n", 400, "invalid_request", None),
    ],
)
@pytest.mark.parametrize("before", [b"", LIVE])
async def test_a_request_over_a_limit_is_answered_and_the_connection_closed(
    before: bytes, request_bytes: bytes, status: int, code: str, limit: str | None
) -> None:
    """The first as well as a later one on a kept connection; counted by the limit's name; health goes on."""
    async with running() as server, peers(server) as (peer,):
        peer.say(before + request_bytes)
        if before:
            assert (await peer.answer())[0] == 200
        assert await peer.error() == (status, code)
        if limit is not None:
            assert counted(server, f'limit="{limit}"') == 1
        assert (await server.http.get("/healthz/live")).status_code == 200


async def test_a_peer_that_is_still_sending_can_read_why_it_was_refused() -> None:
    """A close upon unread bytes would be a reset; but no more than a megabyte is read of it."""
    clock = StoppedClock()
    async with running(now_s=clock) as server, peers(server) as (peer,):
        peer.say(b"GET / HTTP/1.1\r\nX: " + b"a" * LINGER_BYTES * 20)
        assert (await peer.answer())[0] == 431
        assert await peer.reader.read() == b""
        (refused,) = server.server._handshakes.lingering._since
        assert isinstance(refused, Handshake)
        await until(lambda: refused._dropped_bytes > LINGER_BYTES)
        assert not refused._transport.is_reading()
        assert refused._dropped_bytes < 2 * LINGER_BYTES
        assert peer.writer.transport.get_write_buffer_size() > LINGER_BYTES
        clock.now += 5
        await until(lambda: not server.server.server_state.connections)


@pytest.mark.parametrize("piece", [b"Cookie: a=" + b"b" * 9000 + b"\r\n", b"a: 1\r\n" * 120])
async def test_an_upgrade_is_taken_up_to_the_same_limits(piece: bytes) -> None:
    """No library behind has smaller ones."""
    async with running() as server, peers(server) as (peer,):
        peer.say(b"GET /realtime?x=" + b"y" * 9000 + b" HTTP/1.1\r\n" + UPGRADE + piece + b"\r\n")
        status, headers, _ = await peer.answer()
        assert (status, headers["x-call-id"]) == (101, CALL_ID)


async def test_frames_that_come_with_the_request_are_not_lost() -> None:
    """RFC 6455 forbids them, but some clients do not wait for the answer."""
    async with running() as server, peers(server) as (peer,):
        peer.say(b"GET /realtime HTTP/1.1\r\n" + UPGRADE + b"\r\n" + b"\x81\x82\0\0\0\0hi")
        assert (await peer.answer())[0] == 101
        assert await peer.reader.readexactly(4) == b"\x81\x02hi"


async def test_pipelined_requests_are_answered_in_order() -> None:
    """One at a time, and none is lost."""
    async with running() as server, peers(server) as (peer,):
        peer.say((LIVE + b"\r\n" + LIVE.replace(b"/live", b"/none")) * 20)
        assert [(await peer.answer())[0] for _ in range(40)] == [200, 404] * 20


async def test_a_peer_that_sends_nothing_more_gets_its_answers() -> None:
    """A pipe into netcat ends with the request; the connection ends behind the last answer."""
    async with running() as server, peers(server) as (peer,):
        peer.say(LIVE + LIVE)
        peer.writer.write_eof()
        assert [(await peer.answer())[0] for _ in range(2)] == [200, 200]
        assert await peer.rest() == b""


async def test_another_upgrade_is_answered_as_the_request_it_is() -> None:
    """As curl asks for HTTP/2; the connection goes on."""
    async with running() as server, peers(server) as (peer,):
        h2c = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
        peer.say((LIVE[:-2] + h2c) * 2)
        assert [(await peer.answer())[0] for _ in range(2)] == [200, 200]


async def test_a_small_body_is_waited_for_and_100_continue_said_once() -> None:
    """The application sees the request when it is whole."""
    async with running() as server, peers(server) as (peer,):
        body = b'{"deadline_s": 5}'
        head = b"POST /admin/drain HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        peer.say(head % len(body))
        assert await peer.reader.readexactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        peer.say(body)
        assert (await peer.answer())[0] == 200
        assert server.pod.drains == [("handoff", 5)]
        long = b" " * (MAX_BODY_BYTES + 1)
        assert (await server.http.post("/admin/drain", content=long)).status_code == 413


async def test_no_whole_request_in_time_is_408_or_a_close() -> None:
    """Half a head and a body that does not come are told, a silent socket is not; one that came in time stays."""
    clock = StoppedClock()
    async with running(now_s=clock) as server, peers(server, 4) as (silent, head, body, served):
        head.say(LIVE[:-4])
        body.say(b"POST /admin/drain HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n")
        served.say(LIVE)
        assert (await served.answer())[0] == 200
        shared = server.server._handshakes
        await until(lambda: sum(it._reader.has_begun for it in handshakes(shared.waiting)) == 2)
        clock.now += 9.9
        shared.expire()
        assert len(shared.waiting) == 3
        clock.now += 0.2
        assert await head.error() == (408, "request_timeout")
        assert await body.error() == (408, "request_timeout")
        assert await silent.rest() == b""
        assert counted(server, 'limit="request_seconds"') == 3
        served.say(LIVE)
        assert (await served.answer())[0] == 200


async def test_a_later_request_has_its_own_time_from_its_first_byte() -> None:
    """However long the connection was idle before; an hour of that is kept, as balancers want it."""
    clock = StoppedClock()
    async with running(now_s=clock) as server, peers(server, 2) as (slow, idle):
        for peer in (slow, idle):
            peer.say(LIVE)
            assert (await peer.answer())[0] == 200
        clock.now += IDLE_S - 1
        shared = server.server._handshakes
        slow.say(LIVE[:5])
        await until(lambda: len(shared.waiting) == 1)
        clock.now += 9
        slow.say(LIVE[5:6])
        assert await idle.rest() == b""
        clock.now += 2
        assert await slow.error() == (408, "request_timeout")


async def test_of_sockets_that_say_nothing_the_oldest_goes() -> None:
    """Counted each time and logged once; health answers, and idle connections of balancers are none of them."""
    async with running(limits=SMALL) as server:
        with capture_logs() as logged:
            async with peers(server, 2) as kept:
                for peer in kept:
                    peer.say(LIVE)
                    await peer.answer()
                async with peers(server, 30) as silent:
                    for peer in silent[:26]:
                        assert await peer.rest() == b""
                    for peer in [*kept, silent[-1]]:
                        peer.say(LIVE)
                        assert (await peer.answer())[0] == 200
        assert counted(server, 'limit="waiting_sockets"') == 26
        assert [line["limit"] for line in logged if line["log_level"] == "warning"] == ["waiting_sockets"]


async def test_of_idle_connections_the_longest_idle_goes() -> None:
    """Else a peer that asks one thing each would keep all sockets."""
    async with running(limits=HandshakeLimits(waiting=9, idle=3)) as server, peers(server, 5) as asking:
        for peer in asking:
            peer.say(LIVE)
            assert (await peer.answer())[0] == 200
        for peer in asking[:2]:
            assert await peer.rest() == b""
        assert counted(server, 'limit="idle_sockets"') == 2
        asking[-1].say(LIVE)
        assert (await asking[-1].answer())[0] == 200


def test_no_balancer_keeps_idle_connections_longer_than_a_pod_does() -> None:
    """Or it sends a request into a connection that is being closed, and makes a 502 of it."""
    deploy = Path(__file__).parents[2]
    told = {
        "deploy/terraform/modules/routing-plan/variables.tf": r"idle_timeout_s <= (\d+)",
        "k8s/routing/aws-load-balancer-controller/ingress.yaml": r"idle_timeout.timeout_seconds=(\d+)",
    }
    kept = [int(found) for name, pattern in told.items() for found in re.findall(pattern, (deploy / name).read_text())]
    assert len(kept) == len(told)
    googles_s, envoys_s = 600, 3600
    assert max(*kept, googles_s, envoys_s) < IDLE_S


async def test_a_refused_peer_that_stays_is_cut() -> None:
    """After five seconds, or at once if too many do."""
    clock = StoppedClock()
    async with running(limits=SMALL, now_s=clock) as server, peers(server, 3) as refused:
        for peer in refused:
            peer.say(b"nonsense\r\n\r\n")
            assert (await peer.answer())[0] == 400
        shared = server.server._handshakes
        assert len(shared.lingering) == 2
        clock.now += 5
        await until(lambda: not shared.lingering)
        await until(lambda: not server.server.server_state.connections)


async def test_peers_that_ask_and_do_not_read_are_cut() -> None:
    """After a minute, or at once if there are too many: while bytes wait to be sent, a close would never end."""
    clock = StoppedClock()
    limits = HandshakeLimits(waiting=9, answering=2)
    async with running(limits=limits, now_s=clock) as server:
        answering = server.server._handshakes.answering
        with contextlib.ExitStack() as held:
            for stuck in (1, 2, 2):
                mute = held.enter_context(socket.socket())
                mute.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                mute.connect(("127.0.0.1", server.port))
                mute.setblocking(False)
                paused: list[Handshake] = []
                while mute.getsockname() not in {it._exchange.client for it in paused if it._exchange}:
                    paused = [it for it in handshakes(answering) if it._exchange and it._exchange.flow.write_paused]
                    with contextlib.suppress(BlockingIOError):
                        mute.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
                    await asyncio.sleep(0)
                assert len(paused) == stuck
            assert counted(server, 'limit="answering_sockets"') == 1
            clock.now += 60
            await until(lambda: not server.server.server_state.connections)
            assert counted(server, 'limit="answer_seconds"') == 2


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET / HTTP/1.1\r\nX: ",
        b"POST /admin/drain HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
        b"GET /realtime HTTP/1.1\r\n" + UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n",
        b"GET /realtime HTTP/1.1\r\n" + UPGRADE.replace(b"13", b"12") + b"\r\n",
        b"GET /realtime HTTP/1.1\r\n" + UPGRADE + b"X: " + b"a" * MAX_HEAD_BYTES,
        LIVE,
    ],
)
async def test_the_exit_is_clean_whatever_half_made_handshakes_hang_about(begun: bytes) -> None:
    """A signal ends the server, and its task raises nothing."""
    async with running() as server, peers(server, 2) as hanging:
        for peer in hanging:
            peer.say(begun)
        await until(lambda: server.server.server_state.connections or begun)
        for _ in range(SOME_TURNS):
            await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.shield(server.task)


async def test_the_exit_answers_an_upgrade_under_way() -> None:
    """The caller connects again, to another pod."""
    async with running() as server, peers(server) as (peer,):
        stuck = asyncio.Event()

        async def start(request: StartCall) -> Any:
            stuck.set()
            await asyncio.Event().wait()

        server.pod.start = start  # type: ignore[method-assign]
        peer.say(b"GET /realtime HTTP/1.1\r\n" + UPGRADE + b"\r\n")
        await stuck.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        assert await peer.error() == (503, "draining")
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.shield(server.task)


@pytest.mark.parametrize("refuses", [True, False])
async def test_a_caller_who_left_during_the_handshake_gets_no_answer(refuses: bool) -> None:
    """Nor is it a fault of the pod's: nothing is refused that nobody asks for any more, and nothing logged."""
    async with running() as server, peers(server) as (peer,):
        asked, left = asyncio.Event(), asyncio.Event()
        begin = server.pod.start

        async def start(request: StartCall) -> Any:
            asked.set()
            await left.wait()
            if refuses:
                raise refuse(429, "too_many_calls")
            return await begin(request)

        server.pod.start = start  # type: ignore[method-assign]
        state = server.server.server_state
        with capture_logs() as logs:
            peer.say(b"GET /realtime HTTP/1.1\r\n" + UPGRADE + b"\r\n")
            await asked.wait()
            peer.writer.transport.abort()
            await until(lambda: not state.connections)
            left.set()
            await until(lambda: not state.tasks)
        assert counted(server, 'status="500"') == 0
        assert [line for line in logs if line["log_level"] == "error"] == []


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ((b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 12"), 400),
        ((b"AAAAAAAAAAAAAAAAAAAAAA==", b"short"), 400),
        ((b"GET", b"POST"), 405),
        ((b"HTTP/1.1", b"HTTP/1.0"), 505),
        ((b"/realtime", b"/re\xc3\xa4ltime"), 400),
    ],
)
async def test_what_is_no_handshake_is_answered(change: tuple[bytes, bytes], status: int) -> None:
    """As RFC 6455 and RFC 9110 say, in the same shape as every refusal."""
    async with running() as server, peers(server) as (peer,):
        peer.say((b"GET /realtime HTTP/1.1\r\n" + UPGRADE + b"\r\n").replace(*change))
        assert (await peer.error())[0] == status
        assert server.pod.requests == []


async def test_a_pod_that_takes_no_new_calls_refuses_them_before_it_parses_them() -> None:
    """With all that a refusal says; the application never sees them. Resumes it always sees, and plain HTTP."""
    async with running() as server:
        server.pod.full = refuse(503, "at_capacity", retry_after_s=1)
        for path in ("/realtime", "/v1/realtime?model=echo&x=%26", "/v1/realtime"):
            response = await server.refused(path)
            assert response.status_code == 503
            assert response.headers["Retry-After"] == "1"
            assert response.headers["X-Voice-Pod"] == "pod-a"
            assert response.headers["X-Voice-Color"] == "green"
            assert json.loads(response.body)["error"]["code"] == "at_capacity"
        assert server.pod.requests == []
        assert counted(server, 'reason="at_capacity"') == 3
        assert (await server.refused(f"/realtime?call_id={CALL_ID}")).status_code == 403
        assert (await server.refused(f"/realtime/{CALL_ID}")).status_code == 403
        assert (await server.refused(f"/realtime?call%5Fid={CALL_ID}")).status_code == 403
        async with server.connect(f"/realtime?call_key={CALL_KEY}"):
            pass
        assert (await server.http.get("/v1/realtime")).status_code == 426


async def test_an_address_that_connects_too_often_is_refused() -> None:
    """By what trusted proxies tell; resumes by id never, and loopback is not counted."""
    async with running(trusted_proxies="127.0.0.0/8,::1", connects_per_minute=2, now_s=StoppedClock()) as server:
        for _ in range(2):
            async with server.connect(**ELSEWHERE):
                pass
        response = await server.refused(**ELSEWHERE)
        assert (response.status_code, response.headers["Retry-After"]) == (429, "30")
        error = json.loads(response.body)["error"]
        assert error["code"] == "too_many_connects"
        assert "2 times a minute" in error["message"]
        assert (await server.refused(f"/realtime?model=call_id={CALL_ID}", **ELSEWHERE)).status_code == 429
        assert (await server.refused(f"/realtime?call_id={CALL_ID}", **ELSEWHERE)).status_code == 403
        assert (await server.refused(f"/realtime/{CALL_ID}", **ELSEWHERE)).status_code == 403
        for _ in range(5):
            async with server.connect():
                pass
        assert counted(server, 'limit="connects_per_minute"') == 2
        told = [request.address for request in server.pod.requests if isinstance(request, StartCall)]
        assert told == ["203.0.113.9"] * 2 + ["127.0.0.1"] * 5


async def test_forwarded_addresses_open_nothing() -> None:
    """Whoever comes through a proxy is not on loopback for `/admin`, whatever the proxy is told."""
    async with running(trusted_proxies="127.0.0.1") as server:
        for told in ("203.0.113.9", "127.0.0.1", "::ffff:127.0.0.1"):
            assert (await server.http.get("/admin/calls", headers={"X-Forwarded-For": told})).status_code == 403


@pytest.mark.parametrize(
    "scenario",
    [
        test_a_peer_that_is_still_sending_can_read_why_it_was_refused,
        test_frames_that_come_with_the_request_are_not_lost,
        test_pipelined_requests_are_answered_in_order,
        test_a_peer_that_sends_nothing_more_gets_its_answers,
        test_no_whole_request_in_time_is_408_or_a_close,
        test_of_idle_connections_the_longest_idle_goes,
        test_a_refused_peer_that_stays_is_cut,
        test_the_exit_answers_an_upgrade_under_way,
        partial(test_a_caller_who_left_during_the_handshake_gets_no_answer, refuses=True),
        partial(test_a_caller_who_left_during_the_handshake_gets_no_answer, refuses=False),
    ],
)
def test_it_holds_on_the_event_loop_that_serves_pods(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """uvloop's transports are none of asyncio's, and close in another order."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())
