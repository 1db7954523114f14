"""What callers ask of pods beside their calls goes through an edge, within bounds; what is not for callers does not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.edge.rig import EdgeRig, edge_rig
from tests.servers import free_port
from tests.tls import make_certificate, needs_openssl, trusting
from tests.waiting import until
from voice_agent.edge import plain_requests
from voice_agent.edge.plain_requests import is_public
from voice_agent.web.request_reader import MAX_BODY_BYTES

FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CREATED = (
    b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nKeep-Alive: timeout=5\r\n"
    b"X-Voice-Pod: blue-1\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nServer: lb\r\n\r\n{}"
)
HINT = b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n"
PRIVATE = (
    "/admin/calls /ADMIN /admin /admin;x=1/calls /metrics/ /healthz/x //admin/calls /%61dmin/calls /%2561dmin "
    "/x/../admin /./admin /x/%2e%2e/admin /.. /\\admin /x%5c..%5cadmin"
).split()


class PlainPod:
    """Answers each request with the same bytes, and keeps what it was asked."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        """Request lines, headers with names in small letters, bodies."""
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.port = free_port()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
            self.asked.append((line, headers, await reader.readexactly(int(headers.get("content-length", 0)))))
            await self.may_answer.wait()
            writer.write(self.answer)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def plain_rig(
    answer: bytes = FINE, **settings: Any
) -> AsyncIterator[tuple[EdgeRig, PlainPod, httpx.AsyncClient]]:
    """An edge in front of one pod that knows no WebSockets, and a client of it."""
    pod = PlainPod(answer)
    verify = trusting(settings["tls_cert"]) if "tls_cert" in settings else True
    async with (
        await asyncio.start_server(pod.serve, "127.0.0.1", pod.port),
        edge_rig(**settings) as its,
        httpx.AsyncClient(base_url=its.http, trust_env=False, verify=verify) as client,
    ):
        its.edge.upstreams.dialer.urls = (f"ws://127.0.0.1:{pod.port}",)
        yield its, pod, client


def code_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    return answer.status_code, answer.json()["error"]["code"]


async def test_a_request_goes_to_a_pod_and_its_answer_back() -> None:
    """Method, path, query, body and headers, but for those that concern one connection; the pod learns who asks."""
    async with plain_rig(CREATED) as (_, pod, client):
        said = await client.post(
            "/openai/v1/realtime/client_secrets?a=%2F&b",
            content=b"{}",
            headers={"api-key": "k", "Connection": "x-mine", "X-Mine": "1", "TE": "trailers"},
        )
        assert (said.status_code, said.content) == (201, b"{}")
        assert said.headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert said.headers["x-voice-pod"] == "blue-1"
        assert not {"keep-alive", "x-hop", "server"} & set(said.headers)
        [(line, headers, body)] = pod.asked
        assert (line, body) == ("POST /openai/v1/realtime/client_secrets?a=%2F&b HTTP/1.1", b"{}")
        assert (headers["api-key"], headers["host"]) == ("k", f"127.0.0.1:{pod.port}")
        assert headers["x-forwarded-for"] == "127.0.0.1"
        assert headers["x-forwarded-host"] == client.base_url.netloc.decode()
        assert not {"x-mine", "te", "x-forwarded-proto"} & set(headers)


@needs_openssl
async def test_a_pod_learns_that_the_caller_spoke_tls(tmp_path: Path) -> None:
    """Whatever the caller says of it: signatures of webhooks are made over the URL."""
    certificate, key = make_certificate(tmp_path)
    async with plain_rig(tls_cert=certificate, tls_key=key) as (_, pod, client):
        await client.post("/twilio/voice", data={"CallSid": "CA1"}, headers={"X-Forwarded-Proto": "http"})
        [(_, headers, body)] = pod.asked
        assert (headers["x-forwarded-proto"], body) == ("https", b"CallSid=CA1")


async def test_what_is_for_operators_is_not_passed_on() -> None:
    """However it is written, for something behind the edge may read it otherwise."""
    async with plain_rig() as (its, pod, _):
        for path in PRIVATE:
            reader, writer = await asyncio.open_connection("127.0.0.1", its.port)
            writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            assert (await reader.read()).startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 400 ")), path
            writer.close()
        assert not pod.asked


def test_other_paths_are_for_callers() -> None:
    """Also such as begin alike."""
    for path in "/ /v1/realtime/client_secrets /administration /x/admin /.well-known/x /a.b /twilio/voice".split():
        assert is_public(path)
    assert not is_public("*")


async def test_answers_without_a_body_and_hints() -> None:
    """A HEAD has the length of what a GET would give; where a WebSocket is wanted, the hint keeps its header."""
    async with plain_rig(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n") as (_, pod, client):
        said = await client.head("/")
        assert (said.status_code, said.headers["content-length"], said.content) == (200, "999", b"")
        pod.answer = b"HTTP/1.1 204 No Content\r\nAllow: GET\r\n\r\n"
        said = await client.options("/")
        assert (said.status_code, said.headers["allow"]) == (204, "GET")
        pod.answer = HINT
        said = await client.get("/v1/realtime")
        assert (said.status_code, said.headers["upgrade"]) == (426, "websocket")


async def test_bodies_are_bounded_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer names the limit."""
    monkeypatch.setattr(plain_requests, "MAX_ANSWER_BYTES", 10)
    async with plain_rig(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n" + b"x" * 11) as (its, pod, client):
        assert code_of(await client.post("/", content=b"x" * (MAX_BODY_BYTES + 1))) == (413, "body_too_large")
        assert not pod.asked
        assert code_of(await client.get("/")) == (502, "answer_too_large")
        assert its.metric('voice_edge_limits_total{limit="edge_answer_bytes"}') == 1
        pod.answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"6\r\nxxxxxx\r\n" * 2 + b"0\r\n\r\n"
        assert code_of(await client.get("/")) == (502, "answer_too_large")


async def test_so_many_requests_wait_at_once_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an address, and of all."""
    monkeypatch.setattr(plain_requests, "AT_ONCE", 3)
    monkeypatch.setattr(plain_requests, "AT_ONCE_OF_ADDRESS", 2)
    async with plain_rig(trusted_proxies=("127.0.0.1",)) as (its, pod, client):
        pod.may_answer.clear()

        def ask(address: str) -> asyncio.Future[httpx.Response]:
            return asyncio.ensure_future(client.get("/", headers={"X-Forwarded-For": address}))

        waiting = [ask("203.0.113.9"), ask("203.0.113.9")]
        await until(lambda: len(pod.asked) == 2)
        assert code_of(await ask("203.0.113.9")) == (429, "too_many_requests")
        waiting.append(ask("203.0.113.10"))
        await until(lambda: len(pod.asked) == 3)
        assert code_of(await ask("203.0.113.11")) == (503, "too_many_requests")
        assert its.metric('voice_edge_limits_total{limit="edge_requests_of_address"}') == 1
        assert its.metric('voice_edge_limits_total{limit="edge_requests"}') == 1
        pod.may_answer.set()
        assert [said.status_code for said in await asyncio.gather(*waiting)] == [200] * 3
        assert (await ask("203.0.113.9")).status_code == 200


async def test_a_pod_that_does_not_answer_or_breaks_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is told; an address that takes no connection is passed over, for it has got nothing."""
    async with plain_rig() as (its, pod, client):
        dialer = its.edge.upstreams.dialer
        dialer.urls = (f"ws://127.0.0.1:{free_port()}", *dialer.urls)
        assert [(await client.post("/")).status_code for _ in range(2)] == [200, 200]
        dialer.urls = dialer.urls[:1]
        assert code_of(await client.get("/")) == (503, "no_pod")
        dialer.urls = (f"ws://127.0.0.1:{pod.port}",)
        pod.answer = b""
        asked = len(pod.asked)
        assert code_of(await client.post("/")) == (502, "bad_gateway")
        assert len(pod.asked) == asked + 1
        monkeypatch.setattr(plain_requests, "ANSWER_S", 0.05)
        pod.may_answer.clear()
        assert code_of(await client.get("/")) == (504, "pod_timeout")
        pod.may_answer.set()


async def test_an_edges_own_pages_stay_its_own() -> None:
    """Health and metrics are of the edge."""
    async with plain_rig() as (_, pod, client):
        assert (await client.get("/healthz/live")).json() == {"status": "ok"}
        assert b"voice_edge_calls" in (await client.get("/metrics")).content
        assert orjson.loads((await client.get("/healthz/realtime")).content)["color"] == "edge"
        assert not pod.asked
