"""Reading a peer's WebSocket frames (RFC 6455); nothing here waits or touches a socket.

`FrameReader.feed` takes bytes cut anywhere, and `read` gives whole messages, one by one, so
that reading can stop in between. What breaks the protocol sets `peer_error`, the close
code and reason to fail with; what came before it is still given. Rules and their codes:

====================================================  =====  ======================
RSV bits, unknown opcode, control frame               1002   sections 5.1, 5.2, 5.5
  that is long or fragmented, stray continuation,
  close code that may not be sent, no mask of a
  client or a mask of a server
text or close reason that is not UTF-8                1007   section 8.1
message longer than `max_bytes`                       1009   section 7.4.1
====================================================  =====  ======================

A frame costs 0.7 µs here, and a byte of a long one what its copy costs
(``python -m tests.websocket.bench_frames``).
"""

from __future__ import annotations

import codecs
from typing import NamedTuple

from websockets.frames import EXTERNAL_CLOSE_CODES, CloseCode
from websockets.speedups import apply_mask

from voice_agent.websocket.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    CONTROL,
    EIGHT_BYTES,
    FINAL,
    LENGTH,
    MASK_BYTES,
    MASKED,
    MAX_CONTROL_BYTES,
    OPCODE,
    PONG,
    RESERVED,
    TEXT,
    TWO_BYTES,
    Closing,
    Message,
)

FRAMES_AT_ONCE = 16
"""So many frames are read in one call: a million fragments of no bytes complete no message that would end it."""
LARGE_TEXT_BYTES = 256 * 1024
"""A text longer than this is checked piece by piece and given as its UTF-8: as a str it would take up to four times as
much, and 40 ms for 21 MB, if only one of its characters is an emoji."""
_Utf8 = codecs.getincrementaldecoder("utf-8")


class PeerError(NamedTuple):
    """How the peer broke the protocol: what to close with."""

    code: int
    reason: str


class _Broken(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.peer_error = PeerError(code, reason)


class PartialPayload:
    """A frame's payload that comes in pieces: what is missing of it."""

    __slots__ = ("_mask", "is_final", "left_bytes")

    def __init__(self, size_bytes: int, mask: bytes, *, is_final: bool) -> None:
        """`is_final`: whether the frame ends its message."""
        self.left_bytes = size_bytes
        self.is_final = is_final
        self._mask = mask
        """For the next byte and those behind it."""

    def take(self, piece: bytes) -> bytes:
        """The next piece, unmasked."""
        self.left_bytes -= len(piece)
        mask = self._mask
        turn = len(piece) % MASK_BYTES
        self._mask = mask[turn:] + mask[:turn]
        return apply_mask(piece, mask) if mask else piece


class FrameReader:
    """One direction of one connection: `feed` it, then `read` until there is nothing more.

    What it does for a byte does not depend on how the bytes are cut. It holds what was fed and not read yet, and at
    most one incomplete message of `max_bytes`; where that one is completed, twice as much for a moment.
    """

    __slots__ = (
        "_at",
        "_data",
        "_decoder",
        "_is_masked",
        "_kind",
        "_max_bytes",
        "_partial",
        "_parts",
        "_skips",
        "_was_partial",
        "begun",
        "has_more",
        "is_idle",
        "is_stopped",
        "peer_error",
    )

    def __init__(self, max_bytes: int, *, of_server: bool = False) -> None:
        """`of_server`: the peer is a server, whose frames are not masked; else it is a client, whose frames are."""
        self.peer_error: PeerError | None = None
        """Set once the peer broke the protocol."""
        self.is_stopped = False
        """From then on, or from `stop`, nothing more is read."""
        self.is_idle = True
        """Whether the next byte begins a frame that begins a message: `only_text` may be asked."""
        self.has_more = False
        """Whether `read` may find something in what was fed."""
        self.begun = 0
        """Goes up when a message begins that what was fed does not complete: tells two incomplete ones apart."""
        self._max_bytes = max_bytes
        self._is_masked = not of_server
        self._data = b""
        self._at = 0
        """How far `_data` has been read."""
        self._kind = 0
        """TEXT or BINARY while a message is under way whose frames are fragments or came in pieces, else 0."""
        self._parts = bytearray()
        """What has come of it, unmasked."""
        self._decoder: codecs.IncrementalDecoder | None = None
        """Checks a large text piece by piece."""
        self._partial: PartialPayload | None = None
        """Of the frame that is being read, if it comes in pieces."""
        self._skips = False
        self._was_partial = False

    @property
    def held_bytes(self) -> int:
        """What it holds: bytes not read yet, and an incomplete message."""
        return len(self._parts) + len(self._data) - self._at

    def feed(self, data: bytes) -> None:
        """More bytes of the peer."""
        if not self.is_stopped:
            self._data = self._data[self._at :] + data if self._at < len(self._data) else data
            self._at = 0
            self.has_more = True
            self.is_idle = False

    def skip_messages(self) -> None:
        """Give only control frames from now on, and hold nothing of an incomplete message."""
        self._skips = True
        self._parts, self._decoder = bytearray(), None

    def stop(self) -> None:
        """Read nothing any more, and hold nothing."""
        self.is_stopped = True
        self.is_idle = self.has_more = False
        self._data, self._at, self._parts, self._decoder = b"", 0, bytearray(), None

    def read(self) -> Message | None:
        """The next message. None: see `has_more`, for one call reads no more than `FRAMES_AT_ONCE` frames."""
        try:
            for _ in range(FRAMES_AT_ONCE):
                message = self._frame() if self._partial is None else self._piece(self._partial)
                if message is not None:
                    return message
                if not self.has_more:
                    self._look_whether_idle()
                    return None
        except _Broken as broken:
            self.peer_error = broken.peer_error
            self.stop()
        return None

    def _look_whether_idle(self) -> None:
        """All that was fed has been read."""
        self.is_idle = not self._kind and self._at == len(self._data) and not self.is_stopped
        if not self.is_idle and not self._was_partial:
            self.begun += 1
        self._was_partial = not self.is_idle

    def _frame(self) -> Message | None:
        """Read one frame, or the header of one whose payload is still to come; without either, there is no more."""
        data, at, end = self._data, self._at, len(self._data)
        if end - at < 2:
            self.has_more = False
            return None
        first, second = data[at], data[at + 1]
        size = second & LENGTH
        body = at + 2
        if size == TWO_BYTES:
            body = at + 4
            size = int.from_bytes(data[at + 2 : body], "big")
        elif size == EIGHT_BYTES:
            body = at + 10
            size = int.from_bytes(data[at + 2 : body], "big")
        if body <= end:
            self._check(first, second, size)
        start = body + MASK_BYTES if self._is_masked else body
        mask, after = data[body:start], start + size
        if after <= end:
            self._at = after
            return self._take(first, apply_mask(data[start:after], mask) if mask else data[start:after])
        if start > end or first & CONTROL:
            self.has_more = False
            return None
        self._at = start
        self._partial = PartialPayload(size, mask, is_final=first >= FINAL)
        self._kind = self._kind or first & OPCODE
        return None

    def _piece(self, payload: PartialPayload) -> Message | None:
        """Read what has come of a frame's payload."""
        piece = self._data[self._at : self._at + payload.left_bytes]
        self._at += len(piece)
        self._add(payload.take(piece))
        self.has_more = not payload.left_bytes
        if payload.left_bytes:
            return None
        self._partial = None
        return self._whole() if payload.is_final else None

    def _check(self, first: int, second: int, size: int) -> None:
        """Refuse a frame by its header, before any of its payload is waited for."""
        opcode = first & OPCODE
        if first & RESERVED:
            raise _Broken(CloseCode.PROTOCOL_ERROR, "reserved bits are set")
        if bool(second & MASKED) != self._is_masked:
            raise _Broken(CloseCode.PROTOCOL_ERROR, "frame is not masked" if self._is_masked else "frame is masked")
        if opcode & CONTROL:
            if opcode > PONG:
                raise _Broken(CloseCode.PROTOCOL_ERROR, "unknown opcode")
            if not first & FINAL:
                raise _Broken(CloseCode.PROTOCOL_ERROR, "control frame is fragmented")
            if size > MAX_CONTROL_BYTES:
                raise _Broken(CloseCode.PROTOCOL_ERROR, "control frame is too long")
            return
        if opcode > BINARY:
            raise _Broken(CloseCode.PROTOCOL_ERROR, "unknown opcode")
        if (opcode == CONTINUATION) != bool(self._kind):
            raise _Broken(CloseCode.PROTOCOL_ERROR, "fragments out of order")
        if len(self._parts) + size > self._max_bytes:
            raise _Broken(CloseCode.MESSAGE_TOO_BIG, f"message is longer than {self._max_bytes} bytes")

    def _take(self, first: int, payload: bytes) -> Message | None:
        """A whole frame; the message that it is or completes."""
        opcode = first & OPCODE
        if not self._kind:
            self._was_partial = False
        if opcode == CLOSE:
            return CLOSE, _closing(payload)
        if opcode & CONTROL:
            return opcode, payload
        if first >= FINAL and opcode:
            return None if self._skips else (opcode, _text(payload) if opcode == TEXT else payload)
        self._kind = self._kind or opcode
        self._add(payload)
        return self._whole() if first >= FINAL else None

    def _add(self, piece: bytes) -> None:
        """More of the message under way."""
        if self._skips:
            return
        self._parts += piece
        if self._decoder is not None:
            _check_utf8(self._decoder, piece)
        elif self._kind == TEXT and len(self._parts) > LARGE_TEXT_BYTES:
            self._decoder = _Utf8()
            _check_utf8(self._decoder, self._parts)

    def _whole(self) -> Message | None:
        """The message under way is complete."""
        kind, parts, decoder = self._kind, self._parts, self._decoder
        self._kind, self._parts, self._decoder = 0, bytearray(), None
        self._was_partial = False
        if self._skips:
            return None
        if decoder is not None:
            _check_utf8(decoder, b"", is_end=True)
        elif kind == TEXT:
            return TEXT, _text(parts)
        return kind, bytes(parts)


def _check_utf8(decoder: codecs.IncrementalDecoder, piece: bytes | bytearray, *, is_end: bool = False) -> None:
    try:
        decoder.decode(piece, is_end)
    except UnicodeDecodeError:
        raise _Broken(CloseCode.INVALID_DATA, "text is not UTF-8") from None


def _text(payload: bytes | bytearray) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise _Broken(CloseCode.INVALID_DATA, "text is not UTF-8") from None


def _closing(payload: bytes) -> Closing:
    if not payload:
        return Closing(CloseCode.NO_STATUS_RCVD, "")
    if len(payload) == 1:
        raise _Broken(CloseCode.PROTOCOL_ERROR, "close frame is too short")
    code = payload[0] << 8 | payload[1]
    if code not in EXTERNAL_CLOSE_CODES and not 3000 <= code < 5000:
        raise _Broken(CloseCode.PROTOCOL_ERROR, "close code may not be sent")
    return Closing(code, _text(payload[2:]))
