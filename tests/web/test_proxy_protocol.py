"""Who connects, as balancers tell it where a connection begins: by hand, by garbage, and by a real HAProxy."""

from __future__ import annotations

import asyncio
import contextlib
import json
import textwrap
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.servers import free_port
from tests.tls import make_certificate, needs_openssl
from tests.waiting import PATIENCE_S, until
from tests.web.rig import Running, running
from voice_agent.rehearse.programs import Program, find_haproxy
from voice_agent.runtime.ports import ClientOptions, StartCall
from voice_agent.web.proxy_protocol import ABSENT, MAX_HEADER_BYTES, ProxyHeader, Source, read_proxy_header
from voice_agent.web.request_reader import RequestRefused

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
SOURCE = ("203.0.113.9", 50_000)
V6_SOURCE = ("2001:db8::9", 50_000)
TRUSTED = "127.0.0.1"
GET = b"GET /healthz/live HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE = (
    b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def version_1(source: Source) -> bytes:
    """As HAProxy writes it with `send-proxy`."""
    family = "TCP6" if ":" in source[0] else "TCP4"
    return f"PROXY {family} {source[0]} {source[0]} {source[1]} 443\r\n".encode()


def version_2(source: Source | None, *, command: int = 1, more: bytes = b"") -> bytes:
    """As with `send-proxy-v2`; `more` stands behind the addresses."""
    addresses, family = b"", 0x00
    if source is not None:
        packed = ip_address(source[0]).packed
        family = 0x11 if len(packed) == 4 else 0x21
        addresses = packed * 2 + source[1].to_bytes(2) + (443).to_bytes(2)
    rest = addresses + more
    return SIGNATURE + bytes([0x20 | command, family]) + len(rest).to_bytes(2) + rest


HEADERS = {
    "v1": (version_1(SOURCE), SOURCE),
    "v1 IPv6": (version_1(V6_SOURCE), V6_SOURCE),
    "v1 unknown": (b"PROXY UNKNOWN\r\n", None),
    "v1 unknown with more": (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
    "v2": (version_2(SOURCE), SOURCE),
    "v2 IPv6": (version_2(V6_SOURCE), V6_SOURCE),
    "v2 with more behind": (version_2(SOURCE, more=b"\x04\x00\x03abc"), SOURCE),
    "v2 as long as may be": (version_2(SOURCE, more=b"a" * (MAX_HEADER_BYTES - 28)), SOURCE),
    "v2 local": (version_2(None, command=0), None),
    "v2 local with addresses": (version_2(SOURCE, command=0), None),
    "v2 of a family that has no address": (version_2(None, more=b"abc"), None),
}
MALFORMED = {
    "no family": b"PROXY \r\n",
    "another family": b"PROXY TCP5 203.0.113.9 203.0.113.9 1 2\r\n",
    "an address of the other family": b"PROXY TCP4 2001:db8::9 203.0.113.9 1 2\r\n",
    "a name": b"PROXY TCP4 localhost 203.0.113.9 1 2\r\n",
    "bytes beyond ASCII": b"PROXY TCP4 203.0.113.\xb2 203.0.113.9 1 2\r\n",
    "a port too high": b"PROXY TCP4 203.0.113.9 203.0.113.9 65536 2\r\n",
    "a port with a sign": b"PROXY TCP4 203.0.113.9 203.0.113.9 +1 2\r\n",
    "a port with zeros": b"PROXY TCP4 203.0.113.9 203.0.113.9 01 2\r\n",
    "a word too many": b"PROXY TCP4 203.0.113.9 203.0.113.9 1 2 3\r\n",
    "a word too few": b"PROXY TCP4 203.0.113.9 203.0.113.9 1\r\n",
    "no end": b"PROXY UNKNOWN " + b"a" * 107,
    "another version": SIGNATURE + b"\x31\x11\x00\x00",
    "another command": SIGNATURE + b"\x22\x11\x00\x00",
    "addresses cut short": SIGNATURE + b"\x21\x11\x00\x04abcd",
}


def cut(data: bytes, size: int) -> ProxyHeader | None:
    """What is found in bytes that come in pieces, and where."""
    for end in (*range(size, len(data), size), len(data)):
        if (found := read_proxy_header(data[:end])) is not None:
            return found
    return None


@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.parametrize("size", [1, 2, 7, 15, 16, 10_000])
def test_a_header_is_found_however_it_is_cut(kind: str, size: int) -> None:
    """And nothing behind it is taken for a part of it."""
    header, source = HEADERS[kind]
    assert cut(header + GET, size) == ProxyHeader(len(header), source)
    assert cut(header[:-1], size) is None


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_header_that_cannot_be_read_is_refused(kind: str) -> None:
    """Not taken for a request."""
    with pytest.raises(RequestRefused) as refused:
        read_proxy_header(MALFORMED[kind])
    assert (refused.value.status, refused.value.code) == (400, "invalid_proxy_header")


def test_a_header_over_the_limit_is_refused_before_it_came() -> None:
    """By the length that it tells."""
    header = version_2(SOURCE, more=b"a" * (MAX_HEADER_BYTES - 27))
    with pytest.raises(RequestRefused) as refused:
        read_proxy_header(header[:16])
    assert (refused.value.status, refused.value.limit) == (431, "proxy_header_bytes")


@pytest.mark.parametrize(
    "request_bytes", [GET, b"\r\n\r\n" + GET, b"POST / HTTP/1.1\r\n", b"PROXYING / HTTP/1.1\r\n", b"\0"]
)
def test_a_request_is_no_header(request_bytes: bytes) -> None:
    """Nor are the empty lines before it."""
    assert cut(request_bytes, 1) == ABSENT


@given(st.sampled_from([b"", SIGNATURE, SIGNATURE + b"\x21\x11", b"PROXY ", b"PROXY TCP4 "]), st.binary(max_size=200))
@example(b"PROXY ", b"TCP4 \xff 1 1 1\r\n")
def test_any_bytes_are_a_header_or_none_or_a_refusal_or_wait_for_more(begins: bytes, garbage: bytes) -> None:
    """Nothing else is raised, and a header is within the bytes that came."""
    data = begins + garbage
    try:
        found = read_proxy_header(data)
    except RequestRefused as refused:
        assert refused.status in {400, 431}  # noqa: PT017 - a refusal is one of the outcomes
    else:
        assert found is None or 0 <= found.size <= min(len(data), MAX_HEADER_BYTES)


async def asked(server: Running, data: bytes, *, size: int = 10_000) -> tuple[int, bytes]:
    """Status and rest of what is answered to these bytes, sent in pieces."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        async with asyncio.timeout(PATIENCE_S):
            for at in range(0, len(data), size):
                writer.write(data[at : at + size])
                await writer.drain()
                await asyncio.sleep(0)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(
                dict(line.split(b": ") for line in head.lower().split(b"\r\n")[1:-2]).get(b"content-length", 0)
            )
            return int(head.split()[1]), await reader.readexactly(length)
    finally:
        writer.close()


def callers(server: Running) -> list[str]:
    """Where each that a call was begun for connects from."""
    return [str(request.address) for request in server.pod.requests if isinstance(request, StartCall)]


@pytest.mark.parametrize("kind", ["v1", "v1 IPv6", "v2", "v2 IPv6", "v2 with more behind"])
@pytest.mark.parametrize("size", [1, 10_000])
async def test_a_trusted_balancer_tells_who_calls(kind: str, size: int) -> None:
    """What it says counts against the caller's own connects."""
    header, source = HEADERS[kind]
    assert source is not None
    async with running(trusted_proxies=TRUSTED, connects_per_minute=1) as server:
        assert (await asked(server, header + UPGRADE, size=size))[0] == 101
        assert callers(server) == [source[0]]
        assert (await asked(server, header + UPGRADE, size=size))[0] == 429


@pytest.mark.parametrize("kind", ["v1 unknown", "v2 local", "v2 of a family that has no address"])
async def test_a_balancer_that_speaks_for_itself_is_who_connects(kind: str) -> None:
    """As its health checks do; they may also come without any header."""
    async with running(trusted_proxies=TRUSTED) as server:
        assert (await asked(server, HEADERS[kind][0] + UPGRADE))[0] == 101
        assert (await asked(server, GET))[0] == 200
        assert callers(server) == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("trusted", "opening", "is_believed"),
    [
        ("", b"", True),
        (TRUSTED, version_2(SOURCE), False),
        (f"{TRUSTED},{SOURCE[0]}", version_2(SOURCE), True),
    ],
    ids=["of this machine", "a stranger", "trusted"],
)
async def test_only_an_edge_that_is_trusted_is_told_where_pods_are(
    trusted: str, opening: bytes, *, is_believed: bool
) -> None:
    """Whoever else asks for it is no edge."""
    head = UPGRADE.replace(b" HTTP/1.1", b"?received=1&directed=1 HTTP/1.1", 1)
    async with running(trusted_proxies=trusted) as server:
        assert (await asked(server, opening + head))[0] == 101
        [request] = server.pod.requests
    assert request.client == ClientOptions(received=True, directed=is_believed)


async def test_a_balancer_may_stand_behind_one_that_speaks_http() -> None:
    """Who connects to the first is told by `X-Forwarded-For`, as long as the one in between is trusted."""
    forwarded = UPGRADE.replace(b"Host: x\r\n", b"Host: x\r\nX-Forwarded-For: 198.51.100.7\r\n")
    async with running(trusted_proxies=f"{TRUSTED},{SOURCE[0]}") as server:
        assert (await asked(server, version_2(SOURCE) + forwarded))[0] == 101
        assert (await asked(server, version_2(V6_SOURCE) + forwarded))[0] == 101
        assert callers(server) == ["198.51.100.7", V6_SOURCE[0]]


@pytest.mark.parametrize("trusted", ["", "198.51.100.0/24"])
@pytest.mark.parametrize("kind", ["v1", "v2", "v2 local"])
async def test_nobody_else_tells_anything(trusted: str, kind: str) -> None:
    """The connection is refused, with a word about the setting."""
    async with running(trusted_proxies=trusted) as server:
        status, body = await asked(server, HEADERS[kind][0] + UPGRADE, size=5)
        assert (status, json.loads(body)["error"]["code"]) == (400, "untrusted_proxy")
        assert "VOICE_TRUSTED_PROXIES" in json.loads(body)["error"]["message"]
        assert server.pod.requests == []


@pytest.mark.parametrize("behind", [GET, b""])
async def test_there_is_one_header_and_it_comes_first(behind: bytes) -> None:
    """A second one, or one behind a request, is what a caller may have made up."""
    async with running(trusted_proxies=TRUSTED) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(version_1(SOURCE) + behind + version_1(V6_SOURCE) + UPGRADE)
        async with asyncio.timeout(PATIENCE_S):
            answers = await reader.read()
        assert answers.count(b"HTTP/1.1 200") == bool(behind)
        assert answers.count(b"HTTP/1.1 400") == 1
        assert server.pod.requests == []
        writer.close()


@pytest.mark.parametrize("source", [SOURCE, ("127.0.0.1", 50_000), ("::1", 50_000), ("::ffff:127.0.0.1", 50_000)])
async def test_what_a_balancer_passes_on_is_not_from_this_machine(source: Source) -> None:
    """The administrator's door stays shut without a token, whatever the balancer is told."""
    ask = b"GET /admin/calls HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    async with running(trusted_proxies=TRUSTED) as server:
        assert (await asked(server, ask))[0] == 200
        for header in (version_1(source), version_2(source)):
            assert (await asked(server, header + ask))[0] == 403


async def test_half_a_header_is_waited_for_as_half_a_request_is() -> None:
    """And no longer."""
    now = [1000.0]
    async with running(trusted_proxies=TRUSTED, now_s=lambda: now[0]) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(SIGNATURE)
        await until(lambda: [it for it in server.server.server_state.connections if getattr(it, "_opening", b"")])
        now[0] += 11
        async with asyncio.timeout(PATIENCE_S):
            assert (await reader.read()).startswith(b"HTTP/1.1 408")
        writer.close()


@contextlib.asynccontextmanager
async def haproxy(directory: Path, to: int, option: str) -> AsyncIterator[int]:
    """A real HAProxy that passes bytes on as if they came from `SOURCE`; its port."""
    port = free_port()
    configuration = directory / "haproxy.cfg"
    configuration.write_text(
        textwrap.dedent(f"""\
            defaults
                mode tcp
                timeout connect 5s
                timeout client 60s
                timeout server 60s
            listen all
                bind 127.0.0.1:{port}
                tcp-request connection set-src str({SOURCE[0]})
                server one 127.0.0.1:{to} {option}
            """)
    )
    program = await Program.start([str(find_haproxy()), "-db", "-f", str(configuration)], directory / "haproxy.log")

    async def answers() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            async with httpx.AsyncClient(trust_env=False) as client:
                await client.get(f"http://127.0.0.1:{port}/healthz/live")
            return True
        assert program.runs, program.last_words()
        return False

    try:
        await until(answers)
        yield port
    finally:
        await program.stop()


@pytest.mark.parametrize("option", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options unique-id,crc32c"])
async def test_haproxy_tells_who_calls(option: str, tmp_path: Path) -> None:
    """In either version, with what it adds to the second; frames go both ways behind it."""
    async with running(trusted_proxies=TRUSTED) as server, haproxy(tmp_path, server.port, option) as port:
        through = Running(server.pod, server.server, port, server.task)
        async with through.connect() as socket:
            await socket.send("hello")
            assert await socket.recv() in {"hello", b"hello"}
        await through.http.aclose()
        assert callers(server) == [SOURCE[0]]


@needs_openssl
async def test_haproxy_passes_tls_on(tmp_path: Path) -> None:
    """And says who calls before it begins."""
    certificate, key = make_certificate(tmp_path)
    settings: dict[str, Any] = {"trusted_proxies": TRUSTED, "tls_cert": certificate, "tls_key": key}
    async with running(**settings) as server, haproxy(tmp_path, server.port, "send-proxy-v2") as port:
        through = Running(server.pod, server.server, port, server.task, server.tls)
        async with through.connect() as socket:
            await socket.send("hello")
            assert await socket.recv() in {"hello", b"hello"}
        await through.http.aclose()
        assert callers(server) == [SOURCE[0]]
