"""An edge with TLS of its own holds callers as exactly as without, and asks who pods behind ``wss://`` are.

Tests of `bootstrap_edge.make_socket`, too.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import re
import socket
import ssl
import termios
from collections import deque
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.edge.rig import EdgeRig, ScriptedPods, edge_rig
from tests.tls import TlsPeer, make_certificate, needs_openssl, trusting
from tests.waiting import PATIENCE_S, until
from voice_agent import bootstrap_edge
from voice_agent.edge import edge as edge_module
from voice_agent.edge.caller_socket import CallerSocket
from voice_agent.edge.raw_transport import RawTransport, unacknowledged_bytes
from voice_agent.web.tls_transport import TlsTransport

pytestmark = needs_openssl

EVENTS = 3000
SMALL_BYTES = 128 * 1024
EVENT = re.compile(rb'"evt_(\d+)","type":"response.output_text.delta","delta":"x{50}"}')
UPGRADE = (
    b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings of an edge that speaks TLS."""
    certificate, key = make_certificate(tmp_path_factory.mktemp("tls"))
    return {"tls_cert": certificate, "tls_key": key}


def carrier(its: EdgeRig) -> object:
    """What the bytes of the only caller go over."""
    return transport_of(its).below


def transport_of(its: EdgeRig) -> TlsTransport:
    """Of the only caller."""
    [call] = its.edge._calls
    assert isinstance(call._caller, CallerSocket)
    assert isinstance(call._caller._transport, TlsTransport)
    return call._caller._transport


async def test_a_caller_over_tls_is_held_when_its_pod_goes(tls: dict[str, Any]) -> None:
    """Its bytes are counted, under the encryption, as without it."""
    async with edge_rig(**tls) as its:
        caller = await its.call()
        assert isinstance(carrier(its), RawTransport)
        pod = await its.pods.connection(0)
        await caller.append(b"abcd")
        await pod.hear(1)
        await pod.say(event_id="evt_1", type="response.output_text.delta", delta="1")
        await caller.hear(2)
        await pod.socket.close(1012)
        again = await its.pods.connection(1)
        await again.greet(1)
        await again.hear(1)
        assert again.audio == b"abcd"
        await again.say(event_id="evt_2", type="response.output_text.delta", delta="2")
        assert [event["event_id"] for event in (await caller.hear(3))[1:]] == ["evt_1", "evt_2"]


@pytest.mark.parametrize("is_raw", [True, False])
async def test_no_event_counts_as_acknowledged_that_the_caller_might_not_have(
    tls: dict[str, Any], monkeypatch: pytest.MonkeyPatch, *, is_raw: bool
) -> None:
    """What its kernel has it can read, whatever becomes of the edge. Where bytes are not counted, it is all or none."""
    monkeypatch.setattr(edge_module, "LOOK_S", 10 * PATIENCE_S)  # Nothing else looks.
    if not is_raw:
        monkeypatch.setattr(bootstrap_edge, "taken_from", lambda loop, transport: None)
    async with edge_rig(**tls) as its:
        peer = TlsPeer(its.port, trusting(tls["tls_cert"]))
        with peer.socket as caller:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BYTES)
            await peer.connect()
            peer.tls.write(UPGRADE)
            peer.flush()
            pod = await its.pods.connection(0)
            await pod.greet()
            await until(lambda: bool(its.edge._calls))
            assert isinstance(carrier(its), RawTransport) is is_raw
            for number in range(1, EVENTS + 1):
                await pod.say(event_id=f"evt_{number}", type="response.output_text.delta", delta="x" * 50)
            [call] = its.edge._calls
            await until(lambda: call._proxied.newest == EVENTS)
            ours = transport_of(its).get_extra_info("socket")
            # A kernel may put acknowledgements off; with all of them said the count is as high as it may be.
            looks = deque([-1], maxlen=100)

            def is_calm() -> bool:
                looks.append(unacknowledged_bytes(ours))
                return looks.count(looks[0]) == looks.maxlen

            await until(is_calm)
            counted = call._caller.newest_acknowledged()
            has = newest(peer.tls, peer.incoming, caller.recv(readable_bytes(caller)))
            assert 0 < has < EVENTS
            assert counted <= has
            assert bool(counted) is is_raw
            while has < EVENTS:
                has = newest(peer.tls, peer.incoming, await asyncio.get_running_loop().sock_recv(caller, 65_536)) or has
            await until(lambda: call._caller.newest_acknowledged() == EVENTS)


def readable_bytes(caller: socket.socket) -> int:
    """What its kernel holds (`SIOCINQ`, tcp(7))."""
    found = array.array("i", [0])
    fcntl.ioctl(caller.fileno(), termios.FIONREAD, found)
    return found[0]


def newest(tls: ssl.SSLObject, incoming: ssl.MemoryBIO, data: bytes) -> int:
    """The number of the newest event that is whole in what a caller has read; 0 if there is none in it."""
    incoming.write(data)
    found = 0
    with contextlib.suppress(ssl.SSLWantReadError):
        while True:
            # An event is written at once, and so is in one record.
            numbers = EVENT.findall(tls.read(65_536))
            found = int(numbers[-1]) if numbers else found
    return found


async def test_pods_behind_wss_are_those_whose_certificate_is_believed(
    tls: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By ``SSL_CERT_FILE``, and by the name that was dialled; others are no pods, and get no caller."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tls["tls_cert"], tls["tls_key"])
    names: list[str | None] = []
    server.sni_callback = lambda connection, name, context: names.append(name)

    class EncryptedPods(ScriptedPods):
        tls = server

        @property
        def url(self) -> str:
            return f"wss://localhost:{self.port}"

    async with edge_rig(pods=EncryptedPods) as its:
        with pytest.raises(InvalidStatus) as refused:
            await its.connect().__aenter__()
        assert refused.value.response.status_code == 503
        assert not its.edge.upstreams.take_calls
    monkeypatch.setenv("SSL_CERT_FILE", str(tls["tls_cert"]))
    names.clear()
    async with edge_rig(pods=EncryptedPods) as its:
        await until(lambda: its.edge.upstreams.take_calls)
        await its.call()
        its.edge.upstreams.dialer.urls = (f"wss://0.0.0.0:{its.pods.port}",)
        with pytest.raises(InvalidStatus) as refused:
            await its.connect().__aenter__()
        assert refused.value.response.status_code == 503
    assert "localhost" in names
