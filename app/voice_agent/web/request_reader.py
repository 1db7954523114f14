"""The bytes of an HTTP/1.1 connection, cut into whole requests before a parser sees any of them.

A parser that is fed piece by piece does work and holds bytes for a request that may never end: a
header without an end costs httptools quadratic time. Here a request is nothing but bytes until its
head has ended and its body is there, the search for the end goes over each byte once, and every
size is bounded (docs/limits.md)::

    bytes --feed--> head not ended --blank line--> body not whole --last byte--> `next` gives it away
                       | too long: 414, 431            | too long, or without a length: 413, 411

What a request says is the parser's business; only where it ends is decided here. The parser
must refuse what does not end at the same place: two readings of one request are an attack.
"""

from __future__ import annotations

import re

from voice_agent.errors import ConnectionRefused

MAX_HEAD_BYTES = 64 * 1024
"""Request line and headers, the empty line included: what proxies let through. Stops a head without an end."""
MAX_HEADERS = 128
"""Header lines. Stops many small headers, each of which costs objects many times its size."""
MAX_BODY_BYTES = 4 * 1024
"""No route takes more than a small JSON object. Stops a body without an end."""

_END = re.compile(rb"\r?\n\r?\n")
_END_BYTES = 4
_FRAMING = re.compile(rb"\n(content-length|transfer-encoding|expect)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)
_UPGRADE = re.compile(rb"\nupgrade[ \t]*:[ \t]*websocket", re.IGNORECASE)
_LENGTH = re.compile(rb"[0-9]{1,18}")
_LINE_END = b"\r\n"


class RequestRefused(ConnectionRefused):
    """A request that is over a limit, or cannot be read. `limit`: its name in docs/limits.md, None for the latter."""

    def __init__(
        self, status: int, code: str, message: str, *, limit: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(status, code, message, retry_after_s=retry_after_s)
        self.limit = limit


class RequestReader:
    """Collects the bytes of one connection. After `next` has raised, the connection is of no more use."""

    __slots__ = ("_data", "_expects", "_scanned", "_size")

    def __init__(self) -> None:
        self._data = bytearray()
        self._scanned = 0
        """So many bytes are known to hold no end of a head."""
        self._size: int | None = None
        """How long the request is, head and body, once its head has ended."""
        self._expects = False

    @property
    def has_begun(self) -> bool:
        """Whether bytes of a request wait that `next` has not given away."""
        return bool(self._data)

    def feed(self, data: bytes) -> None:
        """Keep what came. Empty lines before a request are none of it (RFC 9112, section 2.2)."""
        self._data += data if self._data else data.lstrip(_LINE_END)

    def next(self) -> bytes | None:
        """The next whole request, or None until more has come. Raises `RequestRefused`."""
        if self._size is None:
            self._find_end()
        if self._size is None or len(self._data) < self._size:
            return None
        request = bytes(self._data[: self._size])
        rest = self._data[self._size :].lstrip(_LINE_END)
        self._data, self._scanned, self._size, self._expects = rest, 0, None, False
        return request

    def take_rest(self) -> bytes:
        """Whatever came behind the last request; the reader is empty then."""
        rest, self._data = bytes(self._data), bytearray()
        return rest

    def take_expectation(self) -> bool:
        """Whether the client waits for ``100 Continue`` before it sends the body; said once for each request."""
        expects, self._expects = self._expects, False
        return expects

    def _find_end(self) -> None:
        end = _END.search(self._data, self._scanned, MAX_HEAD_BYTES)
        if end is None:
            if len(self._data) >= MAX_HEAD_BYTES:
                raise _too_long(has_line=b"\n" in self._data)
            self._scanned = max(0, len(self._data) - _END_BYTES)
            return
        head = bytes(self._data[: end.end()])
        # The request line and the empty one are no headers.
        if head.count(b"\n") - 2 > MAX_HEADERS:
            message = f"The request has more than {MAX_HEADERS} headers."
            raise RequestRefused(431, "too_many_headers", message, limit="header_lines")
        self._size = len(head) + self._body_bytes(head)

    def _body_bytes(self, head: bytes) -> int:
        """The length of the body, which is only read when the head says how long it is."""
        lengths: list[bytes] = []
        is_upgrade = is_upgrade_request(head)
        for name, value in _FRAMING.findall(head):
            match name.lower():
                case b"content-length":
                    lengths.append(value.rstrip())
                case b"transfer-encoding":
                    if is_upgrade:
                        raise _body_of_upgrade()
                    raise RequestRefused(411, "length_required", "A body needs a Content-Length here.")
                case _:
                    self._expects = value.strip().lower() == b"100-continue"
        if not lengths:
            return 0
        if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
            raise RequestRefused(400, "invalid_request", "The Content-Length cannot be read.")
        size = int(lengths[0])
        if size and is_upgrade:
            raise _body_of_upgrade()
        if size > MAX_BODY_BYTES:
            message = f"The body is longer than {MAX_BODY_BYTES} bytes."
            raise RequestRefused(413, "body_too_large", message, limit="body_bytes")
        return size


def is_upgrade_request(head: bytes) -> bool:
    """Whether a head asks for a WebSocket, before it is parsed."""
    return _UPGRADE.search(head) is not None


def _body_of_upgrade() -> RequestRefused:
    return RequestRefused(400, "invalid_request", "A request for a WebSocket has no body.")


def _too_long(*, has_line: bool) -> RequestRefused:
    if has_line:
        message = f"The request's head is longer than {MAX_HEAD_BYTES} bytes."
        return RequestRefused(431, "headers_too_large", message, limit="head_bytes")
    return RequestRefused(414, "uri_too_long", f"The URL is longer than {MAX_HEAD_BYTES} bytes.", limit="head_bytes")
