"""The callers' WebSocket: what is refused before the upgrade, and what reaches the pod.

Tests of `call.tokens`, `parameters`, `upgrade` and `ports`, too.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from tests.web.rig import CALL_ID, CALL_KEY, SECRET, Running, refuse, running
from voice_agent.call.tokens import resume_token
from voice_agent.errors import StoreUnavailable
from voice_agent.runtime.ports import Arrival, ClientOptions, ResumeCall, StartCall, Transport
from voice_agent.web.access import NO_API_KEY, hashed
from voice_agent.websocket.websocket import CLOSING_S

TOKEN = resume_token(SECRET, CALL_ID)
KEYED: dict[str, Any] = {"api_keys": "first-key,second-key"}


def bearer(key: str) -> dict[str, Any]:
    """Options of a client that shows a key."""
    return {"additional_headers": {"Authorization": f"Bearer {key}"}}


async def error_of(server: Running, path: str, **options: object) -> tuple[int, str, str | None]:
    """Status, code and parameter of a refusal, whose body has OpenAI's shape."""
    response = await server.refused(path, **options)
    assert response.headers["Content-Type"] == "application/json"
    error = json.loads(response.body)["error"]
    assert set(error) == {"type", "code", "message", "param"}
    assert error["message"]
    return response.status_code, error["code"], error["param"]


@pytest.mark.parametrize("path", ["/realtime", "/v1/realtime", "/openai/v1/realtime", "/openai/realtime"])
async def test_a_call_starts_at_any_of_the_paths(path: str) -> None:
    """Ours, OpenAI's and Azure's reach the pod, messages go both ways, and the upgrade names call, color and pod."""
    async with running() as server, server.connect(f"{path}?model=echo") as caller:
        await caller.send("hello")
        assert await caller.recv() == "hello"
        assert caller.response is not None
        assert caller.response.headers["X-Call-Id"] == CALL_ID
        assert caller.response.headers["X-Voice-Color"] == "green"
        assert caller.response.headers["X-Voice-Pod"] == "pod-a"
        assert "permessage-deflate" not in caller.response.headers.get("Sec-WebSocket-Extensions", "")
        assert server.pod.requests == [StartCall(model="echo", api_key_hash=NO_API_KEY)]


@pytest.mark.parametrize(
    ("headers", "arrival"),
    [
        ({}, Arrival.DIRECT),
        ({"X-Forwarded-For": "192.0.2.1"}, Arrival.FORWARDED),
        ({"Via": "1.1 front"}, Arrival.FORWARDED),
        ({"X-Forwarded-For": "192.0.2.1", "X-Voice-Color": "green"}, Arrival.ASKED_FOR),
    ],
)
async def test_the_pod_learns_whether_a_router_sent_the_caller(headers: dict[str, str], arrival: Arrival) -> None:
    """A proxy's headers show it, unless the request asks for a color; a start and a resume alike."""
    paths = ["/v1/realtime?model=echo", f"/v1/realtime?call_id={CALL_ID}&resume_token={TOKEN}"]
    async with running() as server:
        for path in paths:
            async with server.connect(path, additional_headers=headers):
                pass
        assert [request.arrival for request in server.pod.requests] == [arrival, arrival]


async def test_azures_clients_say_deployment_and_show_their_key_in_a_header_of_their_own() -> None:
    """`AzureOpenAI` of the SDK connects so; a wrong key is refused as any."""
    path = "/openai/realtime?api-version=2025-04-01-preview&deployment=echo"
    async with running(**KEYED) as server:
        async with server.connect(path, additional_headers={"api-key": "second-key"}):
            pass
        assert server.pod.requests == [StartCall(model="echo", api_key_hash=hashed("second-key"))]
        assert (await error_of(server, path, additional_headers={"api-key": "third"}))[:2] == (401, "invalid_api_key")


async def test_clients_of_the_beta_may_say_so() -> None:
    """`OpenAI-Beta: realtime=v1` changes nothing: the events are those of the GA protocol."""
    headers = {"OpenAI-Beta": "realtime=v1"}
    async with running() as server, server.connect("/v1/realtime?model=echo", additional_headers=headers):
        assert server.pod.requests == [StartCall(model="echo", api_key_hash=NO_API_KEY)]


@pytest.mark.parametrize("intent", ["transcription", "translation"])
async def test_who_wants_no_call_is_told_so(intent: str) -> None:
    """A client that waits for transcripts of a session without replies is refused before it waits."""
    async with running() as server:
        error = await error_of(server, f"/v1/realtime?intent={intent}")
        assert error == (400, "invalid_parameter", "intent")
        async with server.connect("/v1/realtime?intent=conversation"):
            pass
        assert len(server.pod.requests) == 1


async def test_what_a_client_can_do_is_told_to_the_pod() -> None:
    """Call key (as a hash), last event and options arrive; a key or going_away means that it can come back."""
    async with running() as server:
        async with server.connect(f"/realtime?call_key={CALL_KEY}&last_event_id=evt_41&model=gpt-realtime"):
            pass
        async with server.connect("/realtime?going_away=1"):
            pass
        async with server.connect("/realtime?resumable=1"):
            pass
        by_key, going_away, resumable = server.pod.requests
    assert by_key == StartCall("gpt-realtime", NO_API_KEY, hashed(CALL_KEY), 41, resumable=True)
    assert going_away == StartCall("", NO_API_KEY, resumable=True, client=ClientOptions(going_away=True))
    assert resumable == StartCall("", NO_API_KEY, resumable=True)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (f"/realtime?call_id={CALL_ID}&resume_token={TOKEN}&last_event_id=evt_0", {}),
        (f"/v1/realtime?call_id={CALL_ID}&last_event_id=evt_0", {"X-Resume-Token": TOKEN}),
        (f"/realtime/{CALL_ID}?resume_token={TOKEN}&last_event_id=evt_0", {}),
        (f"/realtime/{CALL_ID}?resume_token={TOKEN}&last_event_id=evt_0&call_key={CALL_KEY}&model=echo", {}),
    ],
)
async def test_a_resume_needs_its_token_and_no_key(path: str, headers: dict[str, str]) -> None:
    """By query, header or path; the token is proof enough even where API keys are set."""
    async with running(**KEYED) as server, server.connect(path, additional_headers=headers) as caller:
        assert caller.response is not None
        assert server.pod.requests == [ResumeCall(CALL_ID, 0)]


async def test_no_or_a_wrong_key_is_401() -> None:
    """Without one of the keys nobody gets as far as the pod."""
    async with running(**KEYED) as server:
        assert await error_of(server, "/realtime") == (401, "missing_api_key", "authorization")
        assert (await error_of(server, "/realtime", **bearer("first-ke")))[:2] == (401, "invalid_api_key")
        assert (await error_of(server, "/realtime?last_event_id=bad"))[0] == 401
        assert (await error_of(server, f"/realtime?model=call_id={CALL_ID}"))[0] == 401
        response = await server.refused("/realtime")
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert server.pod.requests == []


@pytest.mark.parametrize("keys", [{}, KEYED])
async def test_a_revoked_key_starts_no_call(keys: dict[str, Any]) -> None:
    """Though it is still among the keys, or no key is asked for: 401 that says so; other keys start calls."""
    async with running(**keys, revoked_api_keys="zero-key,first-key") as server:
        for path in ("/realtime", f"/realtime?call_key={CALL_KEY}"):
            refused = await error_of(server, path, **bearer("first-key"))
            assert refused == (401, "revoked_api_key", "authorization")
        offered = ["realtime", "openai-insecure-api-key.zero-key"]
        assert (await error_of(server, "/realtime", subprotocols=offered))[:2] == (401, "revoked_api_key")
        async with server.connect("/realtime", **bearer("second-key")):
            pass
        assert len(server.pod.requests) == 1


async def test_each_key_opens() -> None:
    """Any of several keys is accepted, and the pod learns only its hash."""
    async with running(**KEYED) as server:
        async with server.connect("/realtime", **bearer("second-key")):
            pass
        assert server.pod.requests == [StartCall("", hashed("second-key"))]


async def test_a_browser_shows_its_key_as_a_subprotocol() -> None:
    """As OpenAI's browser clients do; the answer chooses `realtime` and never repeats the key."""
    async with running(**KEYED) as server:
        offered = ["realtime", "openai-insecure-api-key.first-key"]
        async with server.connect(subprotocols=offered) as caller:
            assert caller.subprotocol == "realtime"
        status, code, _ = await error_of(server, "/realtime", subprotocols=["realtime", "openai-insecure-api-key.x"])
        assert (status, code) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"/realtime?call_id={CALL_ID}", "missing_resume_token"),
        (f"/realtime/{CALL_ID}", "missing_resume_token"),
        (f"/realtime/{CALL_ID}?resume_token={'0' * 64}", "invalid_resume_token"),
        (f"/realtime/call_{'b' * 26}?resume_token={TOKEN}", "invalid_resume_token"),
        (f"/realtime/{CALL_ID}?resume_token=%C3%A9", "invalid_resume_token"),
    ],
)
async def test_a_wrong_or_foreign_resume_token_is_403(path: str, code: str) -> None:
    """A token opens its own call only, and the store is not even asked."""
    async with running() as server:
        assert await error_of(server, path) == (403, code, "resume_token")
        assert server.pod.requests == []


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("call_id=call_short&resume_token=x", "call_id"),
        (f"call_id={CALL_ID.upper()}&resume_token=x", "call_id"),
        ("call_key=too-short", "call_key"),
        (f"call_key={'k' * 257}", "call_key"),
        (f"call_key={CALL_KEY}&last_event_id=41", "last_event_id"),
        (f"call_key={CALL_KEY}&last_event_id=evt_-1", "last_event_id"),
        (f"call_key={CALL_KEY}&last_event_id=evt_99999999999999999", "last_event_id"),
        ("last_event_id=evt_1", "last_event_id"),
        ("model=a%20b", "model"),
        (f"model={'m' * 129}", "model"),
        ("going_away=perhaps", "going_away"),
        ("resumable=2", "resumable"),
        ("model=echo&model=loopback", "model"),
        ("model=%FF", "model"),
        (f"call_key={CALL_KEY}&last_event_id=evt_{2**53 + 1}", "last_event_id"),
    ],
)
async def test_a_bad_parameter_is_400_and_named(query: str, param: str | None) -> None:
    """Whatever is wrong in the URL is said before the upgrade."""
    async with running() as server:
        assert await error_of(server, f"/realtime?{query}") == (400, "invalid_parameter", param)
        assert server.pod.requests == []


@pytest.mark.parametrize("query", ["name=M%FCller&%FF=%FF&a", "&".join(f"x{n}=1" for n in range(600)), "=&&=="])
async def test_what_others_put_into_the_url_is_their_affair(query: str) -> None:
    """Any encoding, any number: only what means something here is decoded."""
    async with running() as server, server.connect(f"/realtime?{query}&model=echo"):
        (request,) = server.pod.requests
        assert isinstance(request, StartCall)
        assert request.model == "echo"


async def test_the_greatest_number_of_an_event_is_one_that_every_client_can_hold() -> None:
    """2 to the 53rd is one, what lies above is not."""
    async with running() as server, server.connect(f"/realtime?call_key={CALL_KEY}&last_event_id=evt_{2**53}"):
        assert server.pod.requests[0].last_event == 2**53


@pytest.mark.parametrize("offered", [["chat"], ["openai-insecure-api-key.first-key"]])
async def test_no_call_starts_for_a_client_that_would_fail_the_connection(offered: list[str]) -> None:
    """A browser whose subprotocols are none of ours: told before the upgrade, not after the call has begun."""
    async with running() as server:
        refused = await error_of(server, "/realtime", subprotocols=offered)
        assert refused == (400, "unknown_subprotocol", "sec-websocket-protocol")
        assert server.pod.requests == []


async def test_two_different_calls_in_one_url_are_refused() -> None:
    """Path and query must agree."""
    async with running() as server:
        path = f"/realtime/{CALL_ID}?call_id=call_{'b' * 26}&resume_token={TOKEN}"
        assert await error_of(server, path) == (400, "invalid_parameter", "call_id")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "model_not_found"),
        (404, "call_not_found"),
        (410, "call_ended"),
        (429, "too_many_calls"),
        (503, "draining"),
    ],
)
async def test_what_the_pod_refuses_is_answered_before_the_upgrade(status: int, code: str) -> None:
    """The pod's refusals become HTTP statuses; `Retry-After` comes along, and who refused."""
    async with running() as server:
        server.pod.refusal = refuse(status, code, retry_after_s=3 if status in (429, 503) else None)
        response = await server.refused()
        assert response.status_code == status
        assert json.loads(response.body)["error"]["code"] == code
        assert response.headers.get("Retry-After") == ("3" if status in (429, 503) else None)
        assert response.headers["X-Voice-Pod"] == "pod-a"


async def test_a_silent_store_is_503_and_a_fault_500() -> None:
    """Neither shows a traceback, and both come before the upgrade."""
    async with running() as server:
        server.pod.refusal = StoreUnavailable("redis://user:word@host")
        assert (await error_of(server, "/realtime"))[:2] == (503, "store_unavailable")
        server.pod.refusal = ZeroDivisionError("inside")
        response = await server.refused()
        assert response.status_code == 500
        assert b"inside" not in response.body


async def test_an_unknown_path_is_404() -> None:
    """Also for WebSockets, where the framework alone would say 403."""
    async with running() as server:
        assert (await error_of(server, "/elsewhere"))[:2] == (404, "not_found")


@pytest.mark.parametrize(
    ("origin", "settings", "status"),
    [
        ("https://evil.example", {}, 403),
        ("http://127.0.0.1:9", {}, 101),
        ("http://localhost:3000", {}, 101),
        ("null", {}, 403),
        ("http://[", {}, 403),
        ("http://[::ffff:127.0.0.1]:3000", {}, 101),
        ("https://app.example.com", {"allowed_origins": "https://app.example.com"}, 101),
        ("https://app.example.com.evil.example", {"allowed_origins": "https://app.example.com"}, 403),
        ("https://evil.example", {"allowed_origins": "*"}, 101),
    ],
)
async def test_pages_of_foreign_origins_are_refused(origin: str, settings: dict[str, Any], status: int) -> None:
    """A browser page may connect from this machine or from where the operator allows."""
    async with running(**settings) as server:
        if status == 101:
            async with server.connect(origin=origin):
                pass
        else:
            assert await error_of(server, "/realtime", origin=origin) == (403, "origin_not_allowed", "origin")


@pytest.mark.parametrize(
    ("trusted", "told", "status"),
    [
        ("127.0.0.1", ["voice.example.com"], 101),
        ("127.0.0.1", ["evil.example"], 403),
        ("127.0.0.1", ["voice.example.com, inside"], 403),
        ("127.0.0.1", ["voice.example.com", "voice.example.com"], 403),
        ("127.0.0.1", [], 403),
        ("", ["voice.example.com"], 403),
        ("198.51.100.7", ["voice.example.com"], 403),
    ],
)
async def test_a_page_of_the_name_that_a_trusted_proxy_was_asked_under_is_no_foreign_one(
    trusted: str, told: list[str], status: int
) -> None:
    """An edge asks pods under the name in its `--to`; it alone tells the other, and callers' pages cannot."""
    headers = [("Authorization", "Bearer sesame"), *(("X-Forwarded-Host", name) for name in told)]
    options: dict[str, Any] = {"origin": "https://voice.example.com", "additional_headers": headers}
    async with running(trusted_proxies=trusted, api_keys="sesame") as server:
        if status == 101:
            async with server.connect(**options):
                pass
        else:
            assert (await server.refused(**options)).status_code == status


async def test_a_rebound_host_name_does_not_pass_as_the_same_origin() -> None:
    """Without keys on loopback, a page that resolves its own name to 127.0.0.1 stays out."""
    async with running() as server:
        rebound = {"Host": "evil.example:80", "Origin": "http://evil.example:80"}
        answer = await _handshake(server.port, rebound)
        assert b" 403 " in answer
        assert b" 101 " in await _handshake(server.port, rebound | {"Origin": "", "Host": "evil.example"})


async def _handshake(port: int, headers: dict[str, str]) -> bytes:
    """The status line that a handshake with exactly these headers gets; empty ones are left out."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    fixed = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    lines = [f"{name}: {value}" for name, value in (fixed | headers).items() if value]
    writer.write(("GET /realtime HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode())
    line = await reader.readline()
    writer.close()
    return line


async def test_the_pod_learns_how_the_connection_ended() -> None:
    """A close code arrives as it was sent, a connection cut without a close frame as 1006."""
    codes: asyncio.Queue[object] = asyncio.Queue()

    async def listen(transport: Transport) -> None:
        codes.put_nowait(await transport.receive())
        codes.put_nowait(await transport.receive())

    async with running() as server:
        server.pod.script = listen
        caller = await server.connect()
        await caller.close(1000)
        assert (await codes.get(), await codes.get()) == (1000, 1000)
        caller = await server.connect()
        await caller.close(1001)
        assert await codes.get() == 1001
        await codes.get()
        caller = await server.connect()
        caller.transport.abort()
        assert await codes.get() == 1006


@pytest.mark.parametrize("code", [1000, 1012, 1013, 4408, 4409, 4410])
async def test_the_pod_closes_with_its_own_code(code: int) -> None:
    """Code and reason reach the caller, however long the reason."""

    async def close(transport: Transport) -> None:
        await transport.close(code, "é" * 100)
        await transport.close(1000, "again")
        await transport.send(b"too late")

    async with running() as server:
        server.pod.script = close
        async with server.connect() as caller:
            with pytest.raises(ConnectionClosed):
                await caller.recv()
            assert (caller.close_code, caller.close_reason) == (code, "é" * 61)


async def test_a_message_over_the_limit_is_closed_with_1009() -> None:
    """The pod learns the code, and the message is never assembled."""
    async with running(max_message_bytes=64 * 1024) as server:
        async with server.connect() as caller:
            await caller.send("x" * 64 * 1024)
            assert len(await caller.recv()) == 64 * 1024
        async with server.connect() as caller:
            await caller.send("x" * (64 * 1024 + 1))
            with pytest.raises(ConnectionClosed):
                await caller.recv()
            assert caller.close_code == 1009
        await server.pod.attachments[-1].over.wait()


async def test_text_that_is_not_utf8_is_closed_with_1007() -> None:
    """RFC 6455, section 8.1."""
    async with running() as server, server.connect() as caller:
        caller.transport.write(Frame(Opcode.TEXT, b"\xff\xfe").serialize(mask=True))
        with pytest.raises(ConnectionClosed):
            await caller.recv()
        assert caller.close_code == 1007


async def test_binary_messages_arrive_as_bytes() -> None:
    """What to make of them is the protocol's business."""
    got: asyncio.Queue[object] = asyncio.Queue()

    async def listen(transport: Transport) -> None:
        got.put_nowait(await transport.receive())

    async with running() as server:
        server.pod.script = listen
        async with server.connect() as caller:
            await caller.send(b"\x00\x01")
            assert await got.get() == b"\x00\x01"


async def test_closing_a_caller_who_does_not_read_does_not_wait_for_him() -> None:
    """A full socket neither blocks the close nor stays behind."""
    took_s: asyncio.Queue[float] = asyncio.Queue()

    async def flood(transport: Transport) -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                while True:
                    await transport.send(b"x" * 1_000_000)
        began_s = loop.time()
        await transport.close(1012, "service restart")
        took_s.put_nowait(loop.time() - began_s)
        assert await transport.receive() in (1006, 1012)

    async with running() as server:
        server.pod.script = flood
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        writer.write(
            b"GET /realtime HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert b" 101 " in await reader.readline()
        assert await took_s.get() < CLOSING_S / 2
        await server.pod.attachments[0].over.wait()
        writer.close()


async def test_a_fault_while_serving_closes_with_1011() -> None:
    """The caller is told, and may resume."""

    async def fail(transport: Transport) -> None:
        raise ZeroDivisionError

    async with running() as server:
        server.pod.script = fail
        async with server.connect() as caller:
            with pytest.raises(ConnectionClosed):
                await caller.recv()
            assert caller.close_code == 1011


async def test_a_refusal_is_no_fault_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A wrong key, an unknown path: nothing that an operator must look into."""
    async with running(**KEYED) as server:
        await server.refused("/realtime")
        await server.refused("/elsewhere")
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []
