"""The resuming client, against a server that breaks where it hurts.

Tests of `addresses` and `sockets`, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from websockets.asyncio.server import ServerConnection

from tests.client.scripted import (
    CALL_ID,
    ImpatientBackoff,
    ScriptedServer,
    cut_after,
    cut_after_messages,
    finish,
    leave,
    running,
    stay,
)
from tests.waiting import PATIENCE_S
from voice_agent.client import connection, sockets
from voice_agent.client.connection import RealtimeCall, ResumedConnection
from voice_agent.client.refusals import CallFailed, CallRefused
from voice_agent.client.sockets import Socket, open_socket

EVENTS = 6
BREAKS: list[int | str] = [1001, 1011, 1012, 1013, "abort", "within", "no code"]


def caller(server: ScriptedServer, **options: Any) -> RealtimeCall:
    return RealtimeCall(server.url, **{"backoff": ImpatientBackoff(), **options})


async def ids(call: RealtimeCall) -> list[str]:
    return [event["event_id"] async for event in call.events()]


async def follow(call: RealtimeCall) -> None:
    async for _ in call.events():
        pass


def numbered(server: ScriptedServer, count: int = EVENTS) -> list[str]:
    for n in range(count):
        server.emit("test.event", n=n)
    return [f"evt_{n + 1}" for n in range(count)]


@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("position", range(EVENTS + 1))
async def test_a_cut_anywhere_loses_and_repeats_nothing(position: int, how: int | str) -> None:
    """Whatever breaks the connection after whichever event, each event comes exactly once, in order."""
    async with running(ScriptedServer(cut_after(position, how), finish)) as server:
        expected = numbered(server)
        async with caller(server) as call:
            assert await ids(call) == expected
    assert (call.tally.events, call.tally.gaps, call.tally.repeats, call.tally.resumes) == (EVENTS, 0, 0, 1)
    assert server.query(1) == {
        "resumable": ["1"],
        "received": ["1"],
        "call_id": [CALL_ID],
        "last_event_id": [f"evt_{position}"],
    }


async def test_many_cuts_in_one_call() -> None:
    """A cut before, between and after events, one after another, is no different from one."""
    async with running(ScriptedServer(*(cut_after(n, "abort") for n in (0, 0, 2, 2, 5)), finish)) as server:
        expected = numbered(server)
        async with caller(server) as call:
            assert await ids(call) == expected
    assert (call.tally.gaps, call.tally.repeats, call.tally.resumes) == (0, 0, 5)


async def test_the_token_travels_in_a_header_and_the_key_beside_it() -> None:
    """The URL of a resume opens nothing to whoever reads it in a log; the caller's own parameters stay in it."""
    async with running(ScriptedServer(cut_after(0, "abort"), finish)) as server:
        url = server.url + "?tenant=7&empty="
        call = RealtimeCall(url, model="echo", api_key="key-1", going_away=True, backoff=ImpatientBackoff())
        async with call:
            await follow(call)
    first, second = server.requests
    assert first.headers["Authorization"] == second.headers["Authorization"] == "Bearer key-1"
    assert "X-Resume-Token" not in first.headers
    assert second.headers["X-Resume-Token"] == "token-of-the-call"
    assert "token-of-the-call" not in second.path
    for path in (first.path, second.path):
        assert {"tenant=7", "empty=", "model=echo", "going_away=1"} <= set(path.partition("?")[2].split("&"))


@pytest.mark.parametrize(("query", "said"), [("", "1"), ("?tenant=7", "1"), ("?resumable=0", "0")])
async def test_it_says_that_it_can_resume_unless_its_url_denies_it(query: str, said: str) -> None:
    """From the first connect on: else a server that drains would have to wait for the end of the call."""
    async with running(ScriptedServer(cut_after(0, 1012), finish)) as server:
        async with RealtimeCall(server.url + query, backoff=ImpatientBackoff()) as call:
            await follow(call)
        assert [server.query(number)["resumable"] for number in range(2)] == [[said], [said]]


async def test_who_serves_is_known_before_and_after_a_resume() -> None:
    """Color and pod follow the call, and a listener hears of the resume as it happens."""
    told: list[ResumedConnection] = []

    async def move(server: ScriptedServer, socket: ServerConnection) -> None:
        await cut_after(0, 1012)(server, socket)
        server.color = "green"

    async with running(ScriptedServer(move, finish)) as server, caller(server) as call:
        assert (call.call_id, call.color, call.pod) == (CALL_ID, "blue", "blue-1")
        call.on_resumed = told.append
        await follow(call)
    assert [(one.code, one.color, one.pod) for one in told] == [(1012, "green", "green-1")]
    assert 0 < told[0].break_s == call.tally.longest_break_s


# --- what was sent -----------------------------------------------------------------


@pytest.mark.parametrize(("release", "again"), [(1, 46), (2, 0)])
@pytest.mark.parametrize("chunk_bytes", [960, 2048, 1922, 11_998])
async def test_speech_is_sent_again_from_the_very_byte_where_the_server_lost_it(
    release: int, again: int, chunk_bytes: int
) -> None:
    """Of a server that counts milliseconds what it has of the last one comes twice."""
    keep_bytes = 170 * 48 + 46
    speech = random.Random(1).randbytes(500 * 48)
    async with running(ScriptedServer(cut_after_messages(len(speech) // chunk_bytes), stay)) as server:
        server.keep_bytes, server.release = keep_bytes, release
        async with caller(server) as call:
            following = asyncio.create_task(follow(call))
            for at in range(0, len(speech), chunk_bytes):
                await call.append_audio(speech[at : at + chunk_bytes])
            await server.until(lambda: len(server.heard) == len(speech) + again and len(server.requests) == 2)
        await following
    assert bytes(server.heard) == speech[:keep_bytes] + speech[keep_bytes - again :]
    assert call.tally.lost_ms == 0


async def test_what_was_handed_over_is_acknowledged_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside whatever else is sent; not to a server of a release that does not know of it."""
    monkeypatch.setattr(connection, "ACKNOWLEDGE_S", 0.0)

    async def talk(server: ScriptedServer, socket: ServerConnection) -> None:
        start = await server.greet(socket)
        await server.send_from(socket, start)
        await server.take(socket, 1)
        await leave(socket, "abort" if server.release > 1 else 1000)

    async def old(server: ScriptedServer, socket: ServerConnection) -> None:
        server.release = 1
        server.emit("test.event")
        await talk(server, socket)

    async with running(ScriptedServer(talk, old)) as server:
        numbered(server)
        async with caller(server) as call:
            async for _ in call.events():
                if len(server.requests) == 2:
                    await call.send({"type": "response.create"})
    assert server.acknowledged == ["evt_1"]
    assert [kind for kind, _ in server.applied] == ["response.create"]


async def test_a_commit_stays_behind_the_audio_that_it_commits() -> None:
    """Audio, a commit, more audio: after a resume that has none of it, in the same order."""
    async with running(ScriptedServer(cut_after_messages(3), stay)) as server:
        server.keep_bytes = 0
        async with caller(server) as call:
            await call.append_audio(b"\1\0" * 2400)
            await call.send({"type": "input_audio_buffer.commit", "event_id": "mine"})
            await call.append_audio(b"\2\0" * 2400)
            # The server that died took it, but it was not durable.
            await server.until(lambda: len(server.heard) == 9600)
            server.seen.clear()
            server.applied.clear()
            following = asyncio.create_task(follow(call))
            await server.until(lambda: len(server.requests) == 2 and len(server.heard) == 9600)
        await following
    assert server.applied == [("input_audio_buffer.commit", 4800)]
    assert bytes(server.heard) == b"\1\0" * 2400 + b"\2\0" * 2400


async def test_talking_goes_on_through_cuts() -> None:
    """Frames are appended all the time, the server forgets at every cut, and ends up with exactly the speech."""
    frames = [bytes([n % 256, n // 256]) * 480 for n in range(400)]
    cuts = [cut_after_messages(n) for n in (37, 1, 60, 11)]
    async with running(ScriptedServer(*cuts, stay)) as server:
        server.keep_bytes = 100 * 48
        async with caller(server) as call:
            following = asyncio.create_task(follow(call))
            for number, frame in enumerate(frames):
                await call.append_audio(frame)
                if number % 50 == 49:
                    await call.send({"type": "input_audio_buffer.commit"})
                await asyncio.sleep(0)
            await server.until(lambda: len(server.requests) == 5 and len(server.heard) == 400 * 960)
        await following
    assert bytes(server.heard) == b"".join(frames)
    assert server.applied == [("input_audio_buffer.commit", n * 50 * 960) for n in range(1, 9)]


async def test_both_ends_full_of_data_do_not_wait_for_each_other() -> None:
    """A long replay and 30 s of audio to send again pass each other, even if the server reads only after its replay."""

    async def write_then_read(server: ScriptedServer, socket: ServerConnection) -> None:
        start = await server.greet(socket)
        await server.send_from(socket, start)
        await server.take(socket)

    async with running(ScriptedServer(cut_after_messages(30), write_then_read)) as server:
        server.keep_bytes = 0
        for _ in range(300):
            server.emit("test.event", padding="x" * 20_000)
        async with caller(server) as call:
            for _ in range(30):
                await call.append_audio(bytes(48_000))
            following = asyncio.create_task(follow(call))
            await server.until(lambda: len(server.requests) == 2 and len(server.heard) == 30 * 48_000)
        await following
    assert (call.tally.events, call.tally.gaps, call.tally.resent_ms) == (300, 0, 30_000)


async def test_client_events_get_ids_that_no_other_client_of_the_call_has() -> None:
    """A call that two processes hold one after the other (by `call_key`) applies the events of both."""
    async with running(ScriptedServer(stay)) as server:
        for _ in range(2):
            async with caller(server) as call:
                await call.send({"type": "response.create"})
                await call.send({"type": "response.cancel"})
                await server.until(lambda: len(server.seen) % 2 == 0 and bool(server.seen))
        assert len(set(server.seen)) == 4


async def test_audio_is_not_accepted_as_an_event() -> None:
    """It could not be sent again from where it was lost."""
    call = RealtimeCall("ws://127.0.0.1:1")
    with pytest.raises(ValueError, match="append_audio"):
        await call.send({"type": "input_audio_buffer.append", "audio": ""})


async def test_a_call_taken_up_by_key_counts_from_where_it_is() -> None:
    """The greeting of the first connection may start at any event and with any amount of audio."""

    async def taken_up(server: ScriptedServer, socket: ServerConnection) -> None:
        info = {"id": CALL_ID, "resume_token": "t", "input_audio_ms": 7000}
        greeting = {"type": "session.created", "event_id": "evt_40", "session": {"id": CALL_ID, "call": info}}
        await socket.send(json.dumps(greeting))
        await socket.send('{"type":"test.event","event_id":"evt_41"}')
        await server.take(socket, 1)
        await leave(socket, "abort")

    async with running(ScriptedServer(taken_up, stay)) as server:
        server.base_ms = 7000
        async with caller(server) as call:
            assert call.appended_ms == 7000
            await call.append_audio(bytes(960))
            following = asyncio.create_task(follow(call))
            await server.until(lambda: len(server.requests) == 2)
        await following
    assert server.query(1)["last_event_id"] == ["evt_41"]
    assert (call.tally.gaps, call.tally.resent_ms) == (0, 0)


# --- what the server gets wrong --------------------------------------------------


async def test_a_missing_and_a_repeated_event_are_counted() -> None:
    """They are the server's fault, so they are told; a repeated one is not handed on."""
    async with running(ScriptedServer(finish)) as server:
        server.outbox = [{"type": "test.event", "event_id": f"evt_{n}"} for n in (1, 2, 2, 5)]
        async with caller(server) as call:
            assert await ids(call) == ["evt_1", "evt_2", "evt_5"]
    assert (call.tally.gaps, call.tally.repeats) == (2, 1)


async def test_events_that_the_server_says_it_lost_are_no_gap() -> None:
    """`session.call.gap` names them; they are counted apart."""

    async def with_gap(server: ScriptedServer, socket: ServerConnection) -> None:
        server.gap = {"from": "evt_3", "to": "evt_4"}
        await server.greet(socket)
        await server.send_from(socket, 4)
        await socket.close(1000)

    async with running(ScriptedServer(cut_after(2, "abort"), with_gap)) as server:
        numbered(server)
        async with caller(server) as call:
            assert await ids(call) == ["evt_1", "evt_2", "evt_5", "evt_6"]
    assert (call.tally.gaps, call.tally.forgotten) == (0, 2)


async def test_a_server_without_resume_is_told_from_ours() -> None:
    """Its events are handed on unchecked, and a lost connection ends the call with a reason."""
    async with running(ScriptedServer(cut_after(2, "abort"), resumable=False)) as server:
        server.outbox = [{"type": "test.event", "event_id": f"event_{n}X"} for n in range(2)]
        async with caller(server) as call:
            with pytest.raises(CallFailed, match=r"broke \(1006\) and this server cannot resume"):
                await follow(call)
    assert call.tally.events == 2
    assert len(server.requests) == 1


@pytest.mark.parametrize("message", ["{", "[]", '{"no":"type"}', b"\xff"])
async def test_nonsense_is_one_line(message: str | bytes) -> None:
    """What is no event ends the call with a reason, not with a traceback."""

    async def babble(server: ScriptedServer, socket: ServerConnection) -> None:
        await server.greet(socket)
        await socket.send(message)
        await server.take(socket)

    async with running(ScriptedServer(babble)) as server, caller(server) as call:
        with pytest.raises(CallFailed, match="no event"):
            await follow(call)


# --- refusals and closes -----------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "words"),
    [(400, "parameters"), (401, "--api-key"), (403, "token"), (404, "expired"), (410, "new call"), (429, "another")],
)
@pytest.mark.parametrize("resuming", [False, True])
async def test_a_refusal_for_good_is_final(status: int, words: str, resuming: bool) -> None:
    """One try, and one line with what the server said and what to do."""
    async with running(ScriptedServer(cut_after(0, "abort"), finish)) as server:
        refusal: tuple[int, dict[str, str], bytes] = (status, {}, b'{"error":{"message":"because of this"}}')
        server.refusals.extend([None, refusal] if resuming else [refusal])
        with pytest.raises(CallRefused, match=rf"^refused with {status}: because of this \(.*{words}.*\)$"):
            async with caller(server) as call:
                await follow(call)
    assert len(server.requests) == 1 + resuming


async def test_a_call_that_was_transferred_meanwhile_ends_with_that() -> None:
    """The connection broke before the event came that says whom to call; the refusal of the resume says it."""
    error = {"message": "over", "outcome": "transferred", "last_event_id": "evt_1", "transfer": {"target": "+49"}}
    async with running(ScriptedServer(cut_after(0, "abort"), finish)) as server:
        server.refusals.extend([None, (410, {}, orjson.dumps({"error": error}))])
        async with caller(server) as call:
            events = [event async for event in call.events()]
    assert events == [{"event_id": "evt_1", "type": "call.transfer", "target": "+49"}]


PAGE = b"<html><body><h1>Sorry</h1>\nNo server is available.</body></html>"


@pytest.mark.parametrize(
    ("status", "words"), [(502, "502 Bad Gateway"), (503, "503 Service Unavailable"), (504, "504 Gateway Timeout")]
)
async def test_a_refusal_that_may_pass_is_tried_again(status: int, words: str) -> None:
    """A pod that drains, or a load balancer between two pods, whose page of HTML is not shown.

    `Retry-After` reaches the pauses.
    """
    backoff = ImpatientBackoff()
    waited: list[str] = []
    async with running(ScriptedServer(cut_after(1, "abort"), finish)) as server:
        expected = numbered(server, 2)
        server.refusals.extend([None, (status, {"Retry-After": "3"}, PAGE), (status, {}, b"[]")])
        async with caller(server, backoff=backoff) as call:
            call.on_waiting = lambda code, reason: waited.append(reason)
            assert await ids(call) == expected
    assert backoff.asked == [None, 3.0, None]
    assert len(server.requests) == 4
    assert waited == [f"refused with {words} (try again in 3 s)", f"refused with {words} (try again later)"]


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (520, PAGE, "refused with 520"),
        (418, b'{"detail":"teapot"}', "refused with 418 I'm a Teapot"),
        (418, b'{"error":{"message":"first\\nsecond ' + b"x" * 500 + b'"}}', "refused with 418: first second x"),
    ],
)
def test_a_refusal_is_one_short_line(status: int, body: bytes, words: str) -> None:
    """Whatever a server, or what stands before it, puts into the body."""
    told = str(CallRefused(status, body, None))
    assert told.startswith(words)
    assert "\n" not in told
    assert "<" not in told
    assert len(told) < 300


async def test_the_first_connect_does_not_wait() -> None:
    """Somebody who starts a call is told at once that it does not work now."""
    async with running(ScriptedServer(finish)) as server:
        server.refusals.append((503, {"Retry-After": "2"}, b'{"error":{"message":"draining"}}'))
        with pytest.raises(CallRefused, match=r"^refused with 503: draining \(try again in 2 s\)$"):
            async with caller(server):
                pass
    assert len(server.requests) == 1


@pytest.mark.parametrize("upgrades", [False, True])
async def test_a_first_connect_that_is_never_answered_is_given_up(
    monkeypatch: pytest.MonkeyPatch, upgrades: bool
) -> None:
    """Before the upgrade or after it, where pings are answered and no greeting comes."""
    monkeypatch.setattr(connection, "HANDSHAKE_S", 0.1)
    monkeypatch.setattr(sockets, "HANDSHAKE_S", 3600.0)

    async def never(server: ScriptedServer, socket: ServerConnection) -> None:
        await socket.wait_closed()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with silent, running(ScriptedServer(never)) as server:
        port = server.port if upgrades else silent.sockets[0].getsockname()[1]
        with pytest.raises(CallFailed, match="no answer in time"):
            async with asyncio.timeout(PATIENCE_S), RealtimeCall(f"ws://127.0.0.1:{port}/v1/realtime"):
                pass


@pytest.mark.parametrize(
    ("code", "words"),
    [(1008, "does not allow"), (1009, "smaller"), (4408, "new call"), (4409, "another client"), (4410, "new call")],
)
async def test_a_close_for_good_is_final(code: int, words: str) -> None:
    """No reconnect after these, and a line that says what to do."""
    async with running(ScriptedServer(cut_after(0, code))) as server, caller(server) as call:
        with pytest.raises(CallFailed, match=rf"closed with {code}.*{words}"):
            await follow(call)
        assert len(server.requests) == 1


async def test_the_servers_hang_up_ends_the_events() -> None:
    """1000 is no fault: the iteration just ends."""
    async with running(ScriptedServer(finish)) as server:
        expected = numbered(server)
        async with caller(server) as call:
            assert await ids(call) == expected
    assert len(server.requests) == 1


async def test_leaving_hangs_up() -> None:
    """The end of the block is close code 1000, after which the server ends the call."""
    async with running(ScriptedServer(stay)) as server:
        async with caller(server) as call:
            await call.append_audio(bytes(960))
        await server.until(lambda: bool(server.close_codes))
    assert server.close_codes == [1000]


async def test_hanging_up_while_a_resume_connects_still_hangs_up() -> None:
    """The caller leaves between two pods: the one that answers is told, and the events end."""
    connecting, left = asyncio.Event(), asyncio.Event()

    async def slow_link(url: str, headers: Mapping[str, str]) -> Socket:
        if server.requests:
            connecting.set()
            await left.wait()
        return await open_socket(url, headers)

    async with running(ScriptedServer(cut_after(0, "abort"), stay)) as server:
        call = caller(server, open_socket=slow_link)
        async with call:
            following = asyncio.create_task(follow(call))
            await asyncio.wait_for(connecting.wait(), PATIENCE_S)
        left.set()
        await asyncio.wait_for(following, PATIENCE_S)
        await server.until(lambda: len(server.close_codes) == 2)
    assert server.close_codes[1] == 1000
    assert call.tally.resumes == 0


async def test_hanging_up_ends_a_long_pause() -> None:
    """Whoever leaves does not wait for `Retry-After` to pass."""
    async with running(ScriptedServer(cut_after(0, "abort"))) as server:
        server.refusals.extend([None, (503, {"Retry-After": "30"}, b"")])
        waiting = asyncio.Event()
        async with RealtimeCall(server.url) as call:
            call.on_waiting = lambda code, reason: waiting.set()
            following = asyncio.create_task(follow(call))
            await asyncio.wait_for(waiting.wait(), PATIENCE_S)
        await asyncio.wait_for(following, PATIENCE_S)


async def test_nobody_there_is_one_line_with_what_to_do() -> None:
    """Connection refused: where, and how to start a server. Nothing of the query, which may hold a key."""
    async with running(ScriptedServer(finish)) as server:
        url = server.url
    with pytest.raises(CallFailed) as failure:
        async with RealtimeCall(url + "?call_key=secret"):
            pass
    assert str(failure.value).startswith(f"nobody takes calls at {url} (")
    assert str(failure.value).endswith("start a server with: voice-agent serve")
    assert "secret" not in str(failure.value)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "empty; try ws://127.0.0.1:8080/v1/realtime"),
        ("http://host:8080", "try ws://host:8080/v1/realtime"),
        ("https://host/v1", "try wss://host/v1/realtime"),
        ("http://host/voice/realtime?call_key=secret", "try ws://host/voice/realtime"),
        ("localhost:8080", "try ws://localhost:8080/v1/realtime"),
        ("ftp://host/x", "try one like ws://127.0.0.1:8080/v1/realtime"),
        ("ws://", "names no host; try one like ws://127.0.0.1:8080/v1/realtime"),
        ("ws:///v1/realtime", "names no host"),
        ("ws://host:99999/v1/realtime", "Port out of range"),
    ],
)
async def test_an_address_that_cannot_work_is_told(url: str, words: str) -> None:
    """No retry and no traceback, but an address to try."""
    with pytest.raises(CallFailed, match=re.escape(words)) as failure:
        async with RealtimeCall(url):
            pass
    assert "secret" not in str(failure.value)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", "takes no calls (404); try {url}/v1/realtime"),
        ("/v1", "takes no calls (404); try {url}/v1/realtime"),
        ("/v1/realtime", "refused with 404"),
    ],
)
async def test_a_path_without_calls_is_told_with_the_one_to_try(path: str, words: str) -> None:
    """The server is there and has no such path; on the right path, 404 means the call."""
    async with running(ScriptedServer(finish)) as server:
        url = f"ws://127.0.0.1:{server.port}"
        server.refusals.append((404, {}, b'{"error":{"message":"nothing here"}}'))
        with pytest.raises(CallFailed, match=re.escape(words.format(url=url))):
            async with RealtimeCall(url + path):
                pass


async def test_tls_to_a_server_without_it_is_told() -> None:
    """`wss://` by mistake is the most common reason on one's own machine."""
    async with running(ScriptedServer(finish)) as server:
        at = f"127.0.0.1:{server.port}/v1/realtime"
        with pytest.raises(CallFailed, match=rf"^wss://{at} does not speak TLS, it seems \(.+\); try ws://{at}$"):
            async with RealtimeCall(f"wss://{at}"):
                pass


async def test_a_server_of_another_kind_is_told() -> None:
    """A WebSocket that greets otherwise is not ours."""

    async def other(server: ScriptedServer, socket: ServerConnection) -> None:
        await socket.send('{"type":"hello"}')
        await server.take(socket)

    async with running(ScriptedServer(other)) as server:
        with pytest.raises(CallFailed, match="greets with 'hello'"):
            async with caller(server):
                pass


class LossyLink:
    """Opens real connections, but breaks some tries with errors of the network."""

    def __init__(self, *troubles: Exception | None) -> None:
        self.troubles = list(troubles)

    async def __call__(self, url: str, headers: Mapping[str, str]) -> Socket:
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble is not None:
            raise trouble
        return await open_socket(url, headers)


async def test_network_errors_while_resuming_are_tried_again() -> None:
    """No route, refused, reset, no answer: the pod may be back in a moment."""
    link = LossyLink(None, ConnectionRefusedError(), ConnectionResetError(), TimeoutError(), OSError("no route"))
    async with running(ScriptedServer(cut_after(1, "abort"), finish)) as server:
        expected = numbered(server, 3)
        async with caller(server, open_socket=link) as call:
            assert await ids(call) == expected
    assert not link.troubles


async def test_a_handshake_that_is_broken_off_is_tried_again() -> None:
    """A load balancer hangs up without an answer while the pod behind it dies."""
    hang_ups = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal hang_ups
        if server.requests and hang_ups < 2:
            hang_ups += 1
            writer.close()
            return
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(pipe(reader, up_writer), pipe(up_reader, writer))

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async with running(ScriptedServer(cut_after(1, "abort"), finish)) as server:
        expected = numbered(server, 2)
        balancer = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with balancer:
            port = balancer.sockets[0].getsockname()[1]
            async with RealtimeCall(f"ws://127.0.0.1:{port}/", backoff=ImpatientBackoff()) as call:
                assert await ids(call) == expected
    assert hang_ups == 2


async def test_a_connection_that_breaks_before_its_greeting_is_tried_again() -> None:
    """The pod was there long enough to accept and no longer."""

    async def no_greeting(server: ScriptedServer, socket: ServerConnection) -> None:
        await leave(socket, 1012)

    async with running(ScriptedServer(cut_after(1, "abort"), no_greeting, finish)) as server:
        expected = numbered(server, 2)
        async with caller(server) as call:
            assert await ids(call) == expected
    assert call.tally.resumes == 1


async def test_it_gives_up_at_the_deadline() -> None:
    """With the last reason, and how long it tried."""
    async with running(ScriptedServer(cut_after(0, "abort"))) as server:
        link = LossyLink(None, *[ConnectionRefusedError("refused")] * 10_000)
        call = caller(server, open_socket=link, backoff=ImpatientBackoff(0.05))
        async with call:
            with pytest.raises(CallFailed, match=r"broke \(1006\) and no resume within 0.05 s: refused"):
                await follow(call)


async def test_a_server_that_greets_and_breaks_for_ever_is_given_up() -> None:
    """Each resume works and none lasts: that is one trouble, with one deadline."""
    async with (
        running(ScriptedServer(cut_after(0, 1012))) as server,
        caller(server, backoff=ImpatientBackoff(0.2)) as call,
    ):
        with pytest.raises(CallFailed, match="keeps breaking"):
            await follow(call)
    assert call.tally.resumes > 1


async def test_a_failed_resume_does_not_hang_up() -> None:
    """A greeting that cannot be used is dropped without a close frame: 1000 would end the call."""

    async def broken_greeting(server: ScriptedServer, socket: ServerConnection) -> None:
        await socket.send("{")
        await server.take(socket)

    async with running(ScriptedServer(cut_after(0, "abort"), broken_greeting)) as server, caller(server) as call:
        with pytest.raises(CallFailed, match="no event"):
            await follow(call)
        await server.until(lambda: len(server.close_codes) == 2)
    assert server.close_codes[1] == 1006
