"""A network without sockets, and a webhook on it: connections break at a byte, and the webhook may die with them.

What httpx and h11 make of the bytes is real; time is the event loop's. Every byte of a request and of an answer is a
place where the connection may break.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import httpcore
import httpx
import orjson

NO_TLS = ssl.create_default_context()
"""Making one takes longer than all the rest, and none is needed."""

Handler = Callable[["Received"], bytes]
"""Gives the bytes of an answer."""


@dataclass(frozen=True)
class Received:
    """One request, whole."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Fault:
    """Where connections break; None: not at all."""

    request_at: int | None = None
    """So many bytes of the request arrive."""
    answer_at: int | None = None
    """So many bytes of the answer do."""
    is_refused: bool = False
    """There is no connection: the webhook is dead."""


@dataclass
class CuttingNetwork(httpcore.AsyncNetworkBackend):
    """Connections to one webhook; `faults` are those of the first, the second …, and then there are none."""

    handler: Handler
    faults: list[Fault] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    refuses: int = 0
    """So many connections are refused first."""
    answer_bytes: int = 0
    """Of the last answer."""
    request_bytes: int = 0

    async def connect_tcp(self, host: str, port: int, *args: Any, **more: Any) -> httpcore.AsyncNetworkStream:
        if self.refuses:
            self.refuses -= 1
            raise httpcore.ConnectError("refused")
        fault = self.faults.pop(0) if self.faults else Fault()
        if fault.is_refused:
            raise httpcore.ConnectError("refused")
        return _Connection(self, fault)

    async def sleep(self, seconds: float) -> None: ...

    def client(self) -> httpx.AsyncClient:
        """A client whose connections these are."""
        transport = httpx.AsyncHTTPTransport(verify=NO_TLS)
        transport._pool = httpcore.AsyncConnectionPool(network_backend=self, max_keepalive_connections=0)
        return httpx.AsyncClient(transport=transport)

    def answered(self, request: Received) -> bytes:
        """The webhook has got a request."""
        self.received.append(request)
        answer = self.handler(request)
        self.answer_bytes = len(answer)
        return answer


class _Connection(httpcore.AsyncNetworkStream):
    def __init__(self, network: CuttingNetwork, fault: Fault) -> None:
        self._network = network
        self._fault = fault
        self._arrived = b""
        self._answer: bytes | None = None
        self._read = 0
        self._is_broken = False

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._arrived += buffer
        at = self._fault.request_at
        if at is not None and len(self._arrived) >= at:
            self._arrived = self._arrived[:at]
            self._is_broken = True
        self._hear()
        if self._is_broken:
            raise httpcore.WriteError("broken")

    def _hear(self) -> None:
        head, parted, body = self._arrived.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if parted and self._answer is None and len(body) >= (int(length[1]) if length else 0):
            first, *lines = head.decode().split("\r\n")
            method, target, _ = first.split(" ")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            self._network.request_bytes = len(self._arrived)
            self._answer = self._network.answered(Received(method, target, headers, body))

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._is_broken or self._answer is None:
            raise httpcore.ReadError("broken")
        whole = self._answer if self._fault.answer_at is None else self._answer[: self._fault.answer_at]
        part = whole[self._read : self._read + max_bytes]
        self._read += len(part)
        return part

    async def aclose(self) -> None: ...

    async def start_tls(self, *args: Any, **more: Any) -> httpcore.AsyncNetworkStream:
        return self

    def get_extra_info(self, info: str) -> Any: ...


def answer(value: Any = None, status: int = 200, *, headers: Iterable[str] = (), body: bytes | None = None) -> bytes:
    """One with a length."""
    packed = orjson.dumps(value) if body is None else body
    lines = [f"HTTP/1.1 {status} Any", f"Content-Length: {len(packed)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + packed


class Tables:
    """A webhook that books tables; `honours_keys` False: one that forgets that it has."""

    def __init__(self, *, honours_keys: bool = True) -> None:
        self.booked: dict[str, int] = {}
        self.count = 0
        self._honours_keys = honours_keys

    def __call__(self, request: Received) -> bytes:
        key = request.headers["idempotency-key"]
        if request.method == "GET":
            found = self.booked.get(key)
            return answer({"status": "not_done"} if found is None else {"status": "done", "result": {"table": found}})
        if key not in self.booked or not self._honours_keys:
            self.count += 1
            self.booked[key] = self.count
        return answer({"table": self.booked[key]})
