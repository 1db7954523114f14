"""TLS of the server's own keeps what a connection without it has: bounds, refusals, closes, an order of bytes.

Tests of `tls_session`, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.tls import TlsPeer, make_certificate, needs_openssl, trusting
from tests.tls_records import KEY_UPDATE_REQUESTED, ClientRecords
from tests.waiting import PATIENCE_S, until
from tests.web.rig import Running, refuse, running
from voice_agent.runtime.ports import StartCall
from voice_agent.web.handshakes import HandshakeLimits
from voice_agent.web.tls_transport import MAX_IDLE_RECORDS, MAX_OWN_BYTES, TlsReceiver, TlsTransport
from voice_agent.websocket.loop_scheduler import LoopScheduler

pytestmark = needs_openssl

HELLO = b"\x16\x03\x01\x02\x00\x01\x00"
"""How a client begins; the rest is missing."""
UPGRADE = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
RECORDS = 50
LIVE = b"GET /healthz/live HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings of a server that speaks TLS."""
    certificate, key = make_certificate(tmp_path_factory.mktemp("tls"))
    return {"tls_cert": certificate, "tls_key": key}


async def test_calls_and_plain_http_go_over_tls(tls: dict[str, Any]) -> None:
    """With TLS 1.2 at least, and HTTP/1.1 agreed on."""
    async with running(**tls) as server:
        assert (await server.http.get("/healthz/live")).status_code == 200
        async with server.connect() as caller:
            agreed: ssl.SSLObject = caller.transport.get_extra_info("ssl_object")
            assert agreed.version() == "TLSv1.3"
            for size in (1, 125, 126, 70_000, 250_000):
                await caller.send("x" * size)
                assert await caller.recv() == "x" * size
        await until(server.pod.attachments[0].over.is_set)
        assert caller.close_code == 1000


async def test_a_refusal_is_read_over_tls(tls: dict[str, Any]) -> None:
    """Status and body; also where the request itself is over a limit, and more of it still comes."""
    async with running(**tls) as server:
        server.pod.refusal = refuse(429, "too_many_calls")
        response = await server.refused()
        assert (response.status_code, orjson.loads(response.body or b"")["error"]["code"]) == (429, "too_many_calls")
        assert server.tls is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=server.tls)
        writer.write(b"GET /" + b"a" * 300_000)
        assert (await reader.read()).startswith(b"HTTP/1.1 414 ")
        writer.close()


async def test_a_handshake_that_never_ends_is_bounded_as_a_request_is(tls: dict[str, Any]) -> None:
    """In time, and in number: the oldest goes; what takes the places says nothing, or begins and does not go on."""
    now_s = 1000.0
    limits = HandshakeLimits(waiting=3)
    async with running(limits=limits, now_s=lambda: now_s, **tls) as server, contextlib.AsyncExitStack() as stack:
        shared = server.server._handshakes
        silent = []
        for said in (b"", HELLO, b"", HELLO):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            stack.callback(writer.close)
            writer.write(said)
            silent.append(reader)
            await until(lambda: len(shared.waiting) == min(len(silent), 3))
        assert await ended(silent[0])
        assert len(shared.waiting) == 3
        now_s += shared.limits.request_s
        for reader in silent[1:]:
            assert await ended(reader)
        assert not shared.waiting


async def ended(reader: asyncio.StreamReader) -> bool:
    """Waits for the end of a connection."""
    async with asyncio.timeout(PATIENCE_S):
        with contextlib.suppress(ConnectionResetError):
            while await reader.read(65_536):
                pass
    return True


async def test_what_speaks_no_tls_is_told_so(tls: dict[str, Any]) -> None:
    """In plain HTTP, and read also by a peer that still sends; what begins like TLS and is none gets an alert."""
    async with running(**tls) as server:
        for said, more, answer in (
            (LIVE[:5], LIVE[5:], b"HTTP/1.1 400 "),
            (b"\0" * 100, b"\0", b"HTTP/1.1 400 "),
            (b"\x16\x03\x01\x00\x05hello", b"", b"\x15\x03"),
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(said)
            async with asyncio.timeout(PATIENCE_S):
                begun = await reader.readexactly(1)
                writer.write(more)
                assert (begun + await reader.read()).startswith(answer)
            writer.close()
        assert (await server.http.get("/healthz/live")).status_code == 200


async def test_a_header_of_the_proxy_protocol_stands_before_tls(tls: dict[str, Any]) -> None:
    """As balancers write it that pass TLS on; it may come with the first bytes of TLS, or by itself."""
    async with running(trusted_proxies=("127.0.0.1",), **tls) as server:
        for is_alone in (True, False):
            peer = peer_of(server)
            await peer.connect(b"PROXY TCP4 203.0.113.9 203.0.113.9 50000 443\r\n", is_alone=is_alone)
            peer.tls.write(b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\n" + UPGRADE)
            peer.flush()
            await until(lambda: server.pod.requests)
            request = server.pod.requests.pop()
            assert isinstance(request, StartCall)
            assert request.address == "203.0.113.9"
            peer.socket.close()


async def test_an_old_version_of_tls_is_refused(tls: dict[str, Any]) -> None:
    """TLS 1.1 has been deprecated since RFC 8996."""
    async with running(**tls) as server:
        old = trusting(tls["tls_cert"])
        with warnings.catch_warnings(action="ignore"):
            old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await asyncio.open_connection("127.0.0.1", server.port, ssl=old)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=old)
        writer.close()


async def test_half_a_request_and_an_end_of_the_peers_direction(tls: dict[str, Any]) -> None:
    """A peer that says that it sends nothing more still gets its answer, as without TLS."""
    async with running(**tls) as server:
        peer = peer_of(server)
        await peer.connect()
        peer.tls.write(LIVE)
        peer.end()
        assert (await peer.rest()).startswith(b"HTTP/1.1 200 ")


class Noting(asyncio.Protocol):
    """Notes what it is given, over a connection that has no other protocol."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.pieces: list[bytes] = []
        self.losses = 0
        self.has_ended = False
        """Whether the peer sends nothing more."""
        self.transport: TlsTransport
        self._context = context

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = TlsTransport(transport, self._context, self)  # type: ignore[arg-type]  # of a stream

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)

    def eof_received(self) -> bool:
        self.has_ended = True
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.losses += 1


@contextlib.asynccontextmanager
async def noted(tls: dict[str, Any], key_log: Path | None = None) -> AsyncIterator[tuple[Noting, TlsPeer]]:
    """A protocol over TLS, and its peer, who has shaken hands."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls["tls_cert"], tls["tls_key"])
    protocol = Noting(context)
    trusted = trusting(tls["tls_cert"])
    if key_log is not None:
        trusted.keylog_filename = str(key_log)
    async with await asyncio.get_running_loop().create_server(lambda: protocol, "127.0.0.1", 0) as server:
        peer = TlsPeer(server.sockets[0].getsockname()[1], trusted)
        await peer.connect()
        try:
            yield protocol, peer
        finally:
            protocol.transport.abort()
            peer.socket.close()


async def test_records_are_worked_on_in_shares(tls: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are in what the kernel gives at once: the next ones wait for their turn, in order."""
    shares: list[float] = []
    work = TlsReceiver.work

    def work_a_little(self: TlsReceiver, until_s: float) -> bool:
        shares.append(until_s)
        return work(self, self._scheduler.clock())

    async with noted(tls) as (protocol, peer):
        monkeypatch.setattr(TlsReceiver, "work", work_a_little)
        for number in range(RECORDS):
            peer.tls.write(b"%d" % number)
        peer.flush()
        await until(lambda: len(protocol.pieces) == RECORDS)
        assert protocol.pieces == [b"%d" % number for number in range(RECORDS)]
        assert len(shares) >= RECORDS


async def test_no_share_works_on_more_than_one_record_too_many(
    tls: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of whatever kind: the library by itself goes through all changes of keys that it has at once."""
    async with noted(tls, tmp_path / "keys") as (protocol, _):
        records = ClientRecords(tmp_path / "keys")
        receiver = protocol.transport._receiver
        await until(lambda: protocol.transport._session.is_established)
        monkeypatch.setattr(LoopScheduler, "has_time", lambda self: False)
        monkeypatch.setattr(LoopScheduler, "_run", lambda self: None)
        said = [records.key_update() for _ in range(MAX_IDLE_RECORDS)] + [records.record(b"said")]
        receiver.data_received(b"".join(said))
        for left in range(MAX_IDLE_RECORDS, 0, -1):
            assert receiver.work(0)
            assert len(protocol.transport._session._fed) == sum(map(len, said[-left:]))
            assert protocol.pieces == []
        assert not receiver.work(0)
        assert protocol.pieces == [b"said"]


@pytest.mark.parametrize("cut_bytes", [1, 7, 1000])
async def test_a_peer_that_does_nothing_but_change_keys_is_cut(
    tls: dict[str, Any], tmp_path: Path, cut_bytes: int
) -> None:
    """Wherever its bytes are cut: whole records count, and what it says ends the row."""
    async with noted(tls, tmp_path / "keys") as (protocol, _):
        records = ClientRecords(tmp_path / "keys")
        await until(lambda: protocol.transport._session.is_established)
        receiver = protocol.transport._receiver
        fine = b"".join(records.key_update() for _ in range(MAX_IDLE_RECORDS)) + records.record(b"said")
        bad = b"".join(records.key_update() for _ in range(MAX_IDLE_RECORDS + 1))
        for said in (fine, bad):
            assert protocol.losses == 0
            for start in range(0, len(said), cut_bytes):
                receiver.data_received(said[start : start + cut_bytes])
            await until(lambda: not receiver.is_waiting)
            assert protocol.pieces == [b"said"]
        assert protocol.transport.is_closed
        await until(lambda: protocol.losses == 1)


async def test_a_peer_that_asks_tls_for_answers_and_reads_none_is_cut(tls: dict[str, Any], tmp_path: Path) -> None:
    """What it says in between is of no help: what TLS has to say by itself is bounded."""
    async with noted(tls, tmp_path / "keys") as (protocol, _):
        records = ClientRecords(tmp_path / "keys")
        await until(lambda: protocol.transport._session.is_established)
        transport = protocol.transport
        receiver = transport._receiver
        transport.write(b"?" * 8_000_000)
        await until(transport.get_write_buffer_size)
        for _ in range(MAX_OWN_BYTES // 27 + 2):
            receiver.data_received(records.key_update(KEY_UPDATE_REQUESTED) + records.record(b"."))
            await until(lambda: not receiver.is_waiting)
        assert transport.is_closed


async def test_what_tls_is_asked_for_is_no_matter_while_it_is_read(tls: dict[str, Any], tmp_path: Path) -> None:
    """However much it comes to."""
    async with noted(tls, tmp_path / "keys") as (protocol, peer):
        records = ClientRecords(tmp_path / "keys")
        await until(lambda: protocol.transport._session.is_established)
        receiver = protocol.transport._receiver
        for _ in range(MAX_OWN_BYTES // 27 + 2):
            await until(lambda: not protocol.transport.get_write_buffer_size())
            receiver.data_received(records.key_update(KEY_UPDATE_REQUESTED) + records.record(b"."))
            await until(lambda: not receiver.is_waiting)
            with contextlib.suppress(BlockingIOError):
                peer.socket.recv(65_536)
        assert not protocol.transport.is_closed


async def test_what_comes_after_the_peers_end_is_ignored(tls: dict[str, Any]) -> None:
    """It takes no memory, however long the answer takes to go out (RFC 8446, section 6.1)."""
    async with noted(tls) as (protocol, peer):
        peer.tls.write(b"said")
        peer.end()
        await until(lambda: protocol.has_ended)
        transport = protocol.transport
        for _ in range(10):
            transport._receiver.data_received(b"\x17\x03\x03\x40\x00" + b"?" * 16_384)
        session = transport._session
        assert not session._fed
        assert not session._incoming.pending
        transport.write(b"answer")
        transport.close()
        assert await peer.rest() == b"answer"
        assert protocol.pieces == [b"said"]


async def test_what_came_before_a_reset_is_given_before_it_is_told(
    tls: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records that wait for their share, too, and each in its share: as without TLS."""
    async with noted(tls) as (protocol, peer):
        await until(lambda: protocol.transport._session.is_established)
        receiver = protocol.transport._receiver
        run = LoopScheduler._run

        def run_once_lost(self: LoopScheduler) -> None:
            if receiver._lost is None:
                asyncio.get_running_loop().call_soon(run_once_lost, self)
            else:
                run(self)

        monkeypatch.setattr(LoopScheduler, "_run", run_once_lost)
        monkeypatch.setattr(LoopScheduler, "has_time", lambda self: False)
        for number in range(RECORDS):
            peer.tls.write(b"%d" % number)
        receiver.data_received(peer.outgoing.read())
        protocol.transport.below.abort()
        await until(lambda: protocol.losses)
        assert protocol.pieces == [b"%d" % number for number in range(RECORDS)]
        assert protocol.losses == 1


async def test_who_waits_for_a_share_is_not_read(tls: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a handshake or records may hold is what one read gives."""
    async with running(**tls) as server:
        monkeypatch.setattr(LoopScheduler, "has_time", lambda self: False)
        stops = asyncio.Event()
        run = LoopScheduler._run

        def later(self: LoopScheduler) -> None:
            if stops.is_set():
                run(self)
            else:
                asyncio.get_running_loop().call_later(0.001, later, self)

        monkeypatch.setattr(LoopScheduler, "_run", later)
        peer = peer_of(server)
        connecting = asyncio.ensure_future(peer.connect())
        await until(lambda: any(each._receiver.is_waiting for each in transports(server)))
        [transport] = transports(server)
        assert not transport.below.is_reading()
        stops.set()
        await connecting
        peer.tls.write(LIVE)
        peer.flush()
        peer.end()
        assert (await peer.rest()).startswith(b"HTTP/1.1 200 ")


def peer_of(server: Running) -> TlsPeer:
    """A client that is not connected yet."""
    assert server.tls is not None
    return TlsPeer(server.port, server.tls)


def transports(server: Running) -> list[TlsTransport]:
    """Of all connections of a server."""
    connections: set[Any] = server.server.server_state.connections
    return [each._transport for each in connections if isinstance(each._transport, TlsTransport)]


async def test_a_broken_record_ends_the_connection_alone(tls: dict[str, Any]) -> None:
    """The call is parked, as with any connection that breaks; the others notice nothing."""
    async with running(**tls) as server, server.connect() as other:
        peer = peer_of(server)
        await peer.connect()
        peer.tls.write(LIVE)
        peer.flush()
        peer.socket.sendall(b"\x17\x03\x03\x00\x20" + b"?" * 32)
        await peer.rest()
        await other.send("hello")
        assert await other.recv() == "hello"


async def test_a_drain_closes_with_1012_over_tls(tls: dict[str, Any]) -> None:
    """The close frame comes whole, and the connection is ended as TLS wants it."""
    async with running(**tls) as server, server.connect() as caller:
        await caller.send("hello")
        await caller.recv()
        server.server.should_exit = True
        await caller.wait_closed()
        assert caller.close_code == 1012


async def test_a_caller_who_does_not_read_is_noticed(tls: dict[str, Any]) -> None:
    """Back-pressure goes through: what is sent waits, and all of it comes once it is read."""
    sent = asyncio.Event()

    async def talk(transport: Any) -> None:
        for number in range(2000):
            await transport.send(b"%05d" % number * 2000)
        sent.set()
        await transport.receive()

    async with running(**tls) as server:
        server.pod.script = talk
        async with server.connect(max_queue=1) as caller:
            await until(lambda: any(each.get_write_buffer_size() for each in transports(server)))
            assert not sent.is_set()
            for number in range(2000):
                assert (await caller.recv()) == f"{number:05d}" * 2000
            assert sent.is_set()
