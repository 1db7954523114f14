"""Appended audio in the frames of a caller: how much it is, and what is left of it behind a position."""

from __future__ import annotations

import os

import orjson
import pybase64
from websockets.speedups import apply_mask

from voice_agent.websocket.frames import (
    BINARY,
    MASK_BYTES,
    TEXT,
    TEXT_HEAD_BYTES,
    masked_message,
    payload_start,
    text_frame_bytes,
)

APPEND = "input_audio_buffer.append"
_COMPACT = f'{{"type":"{APPEND}","audio":"'.encode()
_SPACED = f'{{"type": "{APPEND}", "audio": "'.encode()
"""As JavaScript's and Python's JSON writers begin it, without an id."""

MAX_PLAIN_BYTES = 32 * 1024
"""Longer appends get an id: a pod may refuse them for their size, before it has read what they are."""
MAX_AT_ONCE = 8
"""Frames of one caller that are passed on where they come in, without a look at what others have used of the turn: to
put these off costs more than to pass them on. When the edge is late several come together, and cost less each."""

Append = tuple[bytes, int]
"""A frame, and how many bytes of audio it holds."""


def leading_appends(data: bytes) -> tuple[list[Append], int]:
    """The appends without an id with which a caller's bytes begin, `MAX_AT_ONCE` at most, and where the last one ends.

    Only what is surely such an append, alone in one whole frame.
    """
    appends: list[Append] = []
    at, end = 0, len(data)
    while at < end and len(appends) < MAX_AT_ONCE:
        size = text_frame_bytes(data, at)
        if not size:
            break
        frame = data if size == end else data[at : at + size]
        audio_bytes = plain_audio_bytes(apply_mask(frame[TEXT_HEAD_BYTES:], frame[4:TEXT_HEAD_BYTES]))
        if audio_bytes is None:
            break
        appends.append((frame, audio_bytes))
        at += size
    return appends, at


def plain_audio_bytes(text: bytes) -> int | None:
    """How much audio a message holds that is an append and nothing else; None if it is not surely that.

    What is counted here is what the pod will count: base64 that it would refuse is none.
    """
    if len(text) > MAX_PLAIN_BYTES:
        return None
    if text.startswith(_COMPACT):
        start = len(_COMPACT)
    elif text.startswith(_SPACED):
        start = len(_SPACED)
    else:
        return None
    if not text.endswith(b'"}') or len(text) < start + 2:
        return None
    try:
        return len(pybase64.b64decode(text[start:-2], None, True))
    except ValueError:
        return None


def client_frame(text: bytes, *, is_binary: bool = False) -> bytes:
    """A message as a client sends it."""
    return masked_message(BINARY if is_binary else TEXT, text, os.urandom(MASK_BYTES))


def tail_of(frame: bytes, skipped: int) -> bytes:
    """The frame of an append without the first `skipped` bytes of its audio, and without its id."""
    start = payload_start(frame)
    text = apply_mask(frame[start:], frame[start - MASK_BYTES : start])
    audio = pybase64.b64decode(orjson.loads(text)["audio"])[skipped:]
    return client_frame(_COMPACT + pybase64.b64encode(audio) + b'"}')
