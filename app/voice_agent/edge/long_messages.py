"""Long messages of callers: their JSON is read and written again without the base64 in it.

A message has up to 21 MB, and nearly all of that is one string of base64. To parse it and to write it again takes
100 ms, in which every other caller waits. So blocks that are base64 and nothing else, also as other languages' writers
of JSON escape it (``\\/``, ``\\u002B``), are cut out before, and put back afterwards. They stand inside a string, or in
what no pod takes::

    {"type":"conversation.item.create","item":{…"audio":"UklG …20 MB… AAA="…}}
    {"type":"conversation.item.create","item":{…"audio":"UklG <mark> AAA="…}}      is parsed, and gets another id
"""

from __future__ import annotations

import re
import secrets

import pybase64

LONG_BYTES = 256 * 1024
"""Shorter messages are read as they are."""
BLOCK_BYTES = 32 * 1024
HEAD_BYTES = 8
"""The beginning of what could be cut out stays: an escape may have begun before it (six bytes)."""
TAIL_BYTES = 2
"""So does the end: padding is there."""
ESCAPE_BYTES = 6
ESCAPED = {b"\\/": b"/", b"\\u002B": b"+", b"\\u002b": b"+", b"\\u002F": b"/", b"\\u002f": b"/"}
"""What JSON's writers make of base64's characters."""
MARK_BYTES = 16


class LongMessage:
    """One message. Of a short one nothing is cut out."""

    def __init__(self, text: bytes) -> None:
        self.json = text
        """To be parsed: the message with marks for what was cut out. It is JSON if the message is."""
        self._mark = ""
        self._pieces: list[bytes] = []
        if len(text) > LONG_BYTES:
            self._cut(text)

    def whole(self, json: bytes) -> bytes:
        """JSON in which the marks may stand elsewhere, or not at all, with what was cut out in their places."""
        if not self._pieces:
            return json
        parts: list[bytes] = re.split(self._pattern().encode(), json)
        parts[1::2] = [self._pieces[int(number)] for number in parts[1::2]]
        return b"".join(parts)

    def length(self, string: str) -> int:
        """Characters of a parsed string in the message itself."""
        if not self._pieces or self._mark not in string:
            return len(string)
        parts = re.split(self._pattern(), string)
        return sum(map(len, parts[::2])) + sum(_characters(self._pieces[int(number)]) for number in parts[1::2])

    def _pattern(self) -> str:
        return self._mark + r"(\d+)\."

    def _cut(self, text: bytes) -> None:
        # No message holds it by chance or by intent, and outside a string it is no JSON.
        self._mark = "m" + secrets.token_hex(MARK_BYTES)
        kept: list[bytes] = []
        at = start = done = 0
        while at < len(text):
            upto = at + BLOCK_BYTES
            if upto > len(text) or not _is_base64(text[at:upto]):
                done = self._cut_out(text, start, at, done, kept)
                start = upto
            at = upto
        done = self._cut_out(text, start, at, done, kept)
        self.json = b"".join([*kept, text[done:]]) if kept else text

    def _cut_out(self, text: bytes, start: int, end: int, done: int, kept: list[bytes]) -> int:
        """Cut out what stands there but for its ends; up to where the text is done with then."""
        if start < end:
            start, end = _behind_escapes(text, start + HEAD_BYTES), _before_escape(text, end - TAIL_BYTES)
        if start >= end:
            return done
        kept.append(text[done:start])
        kept.append(f"{self._mark}{len(self._pieces)}.".encode())
        self._pieces.append(text[start:end])
        return end


def _is_base64(block: bytes) -> bool:
    plain = _unescaped(block)
    try:
        pybase64.b64decode(plain + b"A" * (-len(plain) % 4), None, True)
    except ValueError:
        return False
    return True


def _unescaped(block: bytes) -> bytes:
    if b"\\" in block:
        for escape, character in ESCAPED.items():
            block = block.replace(escape, character)
    return block


def _characters(piece: bytes) -> int:
    return len(piece) - sum(piece.count(escape) * (len(escape) - 1) for escape in ESCAPED if b"\\" in piece)


def _behind_escapes(text: bytes, at: int) -> int:
    """The first position from here on at which no escape is under way."""
    while (escape := text.rfind(b"\\", at - ESCAPE_BYTES + 1, at)) >= 0:
        at = escape + ESCAPE_BYTES
    return at


def _before_escape(text: bytes, at: int) -> int:
    """The last position up to here at which none is."""
    while (escape := text.rfind(b"\\", at - ESCAPE_BYTES + 1, at)) >= 0:
        at = escape
    return at
