"""A caller's request as it goes on to a pod: the same, but for what the edge says of itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes, urlencode

from voice_agent.call.event_ids import event_id
from voice_agent.edge.dialing import UpgradeRequest
from voice_agent.web.parameters import NEW_CALL_PATHS

OURS = {b"resumable": b"now", b"received": b"1"}
"""What the edge says of itself to each pod: it may be handed off at any moment, and keeps what is not durable."""
DIRECTED = b"directed"
"""And that it asks the pod that is named when a call is handed off."""
NAMES_CALL = frozenset({b"call_id", b"call_key", b"going_away"})
RESUME = frozenset({b"call_id", b"call_key", b"resume_token", b"last_event_id", b"model", b"deployment"})
"""Parameters that stand for themselves when the edge comes back."""
CALL_PATH = b"/realtime/"
"""How the path of a call that exists begins."""
NEW_CALLS = frozenset(path.encode() for path in NEW_CALL_PATHS)
TRUE = frozenset({b"1", b"true", b"now"})
NOT_PASSED = frozenset(
    "host connection upgrade keep-alive proxy-connection proxy-authorization te trailer transfer-encoding "
    "content-length expect "
    "sec-websocket-key sec-websocket-version sec-websocket-extensions sec-websocket-protocol sec-websocket-accept "
    "x-forwarded-for x-forwarded-host".split()
)
"""Headers that concern one connection, or that the edge writes itself."""


@dataclass(frozen=True, slots=True)
class CallerRequest:
    """What a caller asked for."""

    path: bytes
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    subprotocols: tuple[str, ...]
    address: str
    """Where it connects from; "" is not known."""
    is_secure: bool = False
    """Whether it came over the edge's own TLS; else a proxy before it may know."""
    is_directed: bool = True
    """Whether the edge asks the pod that is named when the call is handed off."""

    @property
    def comes_back(self) -> bool:
        """Whether the caller may resume by itself, over whichever edge: then its events must stay in the outbox."""
        return self._is_one_call or any(
            name in NAMES_CALL or (name == b"resumable" and value.lower() in TRUE) for name, value in _pairs(self.query)
        )

    @property
    def may_resume(self) -> bool:
        """Whether it names a call that may exist."""
        names = {name for name, _ in _pairs(self.query)}
        return bool(names & {b"call_id", b"call_key"}) or self._is_one_call

    @property
    def wants_received(self) -> bool:
        """Whether it asked for `call.received`."""
        return any(name == b"received" and value.lower() in TRUE for name, value in _pairs(self.query))

    @property
    def is_call(self) -> bool:
        """Whether it is for a call of the Realtime protocol; anything else a pod serves goes through as it is."""
        return unquote_to_bytes(self.path) in NEW_CALLS or self._is_one_call

    def first(self) -> UpgradeRequest:
        """For the pod that the caller gets first."""
        if not self.is_call:
            return self._to(self.path, self.query)
        return self._to(self.path, b"&".join([*self._kept(), *self._ours()]))

    def resume(self, call_id: str, token: str, last_event: int) -> UpgradeRequest:
        """For every later one."""
        named = urlencode({"call_id": call_id, "last_event_id": event_id(last_event)}).encode()
        query = b"&".join([*self._kept(RESUME), named, *self._ours()])
        # A call's own path is one of calls that exist.
        path = b"/realtime" if self._is_one_call else self.path
        return self._to(path, query, ("X-Resume-Token", token))

    def plain(self) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """Path and query, and headers, of a request without an upgrade."""
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self._headers()]
        return self.path + b"?" * bool(self.query) + self.query, headers

    @property
    def _is_one_call(self) -> bool:
        """Whether the path is that of a call which exists."""
        return unquote_to_bytes(self.path).startswith(CALL_PATH)

    def _kept(self, replaced: frozenset[bytes] = frozenset()) -> list[bytes]:
        """The caller's own parameters, but for what the edge says in its place."""
        replaced |= OURS.keys() | {DIRECTED}
        return [pair for pair in self.query.split(b"&") if pair and _name(pair) not in replaced]

    def _ours(self) -> list[bytes]:
        ours = OURS | ({DIRECTED: b"1"} if self.is_directed else {})
        return [b"%b=%b" % pair for pair in ours.items()]

    def _to(self, path: bytes, query: bytes, *more: tuple[str, str]) -> UpgradeRequest:
        target = (path + b"?" * bool(query) + query).decode("latin-1")
        return UpgradeRequest(target, self._headers(*more), self.subprotocols, is_greeted=self.is_call)

    def _headers(self, *more: tuple[str, str]) -> list[tuple[str, str]]:
        """Those of the caller, but for what concerns its connection, and what the edge says of it."""
        told = [("X-Forwarded-For", self.address)] if self.address else []
        told += [("X-Forwarded-Host", value.decode("latin-1")) for name, value in self.headers if name == b"host"]
        told += [("X-Forwarded-Proto", "https")] if self.is_secure else []
        told += more
        came = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in self.headers]
        hops = {each.strip().lower() for name, value in came if name == "connection" for each in value.split(",")}
        replaced = NOT_PASSED | hops | {name.lower() for name, _ in told}
        return [*((name, value) for name, value in came if name not in replaced), *told]


def _pairs(query: bytes) -> Iterable[tuple[bytes, bytes]]:
    for pair in query.split(b"&"):
        yield _name(pair), unquote_to_bytes(pair.partition(b"=")[2])


def _name(pair: bytes) -> bytes:
    return unquote_to_bytes(pair.partition(b"=")[0])
