"""Long messages of callers: their JSON is read and written again without the base64 in it.

A message has up to 21 MB, and nearly all of that is one string of base64. To parse it and to write it again takes
100 ms, in which every other caller waits. So blocks that are base64 and nothing else, which therefore stand inside a
string or in no JSON, are cut out before, and put back afterwards::

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
KEPT_BYTES = 2
"""The end of what could be cut out stays: padding is there."""
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
        return sum(map(len, parts[::2])) + sum(len(self._pieces[int(number)]) for number in parts[1::2])

    def _pattern(self) -> str:
        return self._mark + r"(\d+)\."

    def _cut(self, text: bytes) -> None:
        # No message holds it by chance or by intent, and outside a string it is no JSON.
        self._mark = "m" + secrets.token_hex(MARK_BYTES)
        kept: list[bytes] = []
        at = start = 0
        while at < len(text):
            upto = at + BLOCK_BYTES
            if upto <= len(text) and _is_base64(text[at:upto]):
                at = upto
                continue
            if at > start:
                self._cut_out(text, start, at - KEPT_BYTES, kept)
                start = at - KEPT_BYTES
            kept.append(text[start:upto])
            at = start = upto
        if at > start:
            kept.append(text[start:])
        self.json = b"".join(kept)

    def _cut_out(self, text: bytes, start: int, end: int, kept: list[bytes]) -> None:
        kept.append(f"{self._mark}{len(self._pieces)}.".encode())
        self._pieces.append(text[start:end])


def _is_base64(block: bytes) -> bool:
    try:
        pybase64.b64decode(block, None, True)
    except ValueError:
        return False
    return True
