"""Frames of servers, however the network cuts them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loadtest.peers.frames import PING_OPCODE, read_frames

SIZES = st.sampled_from([0, 1, 2, 125, 126, 127, 0xFFFF, 0x10000])


def frame(first: int, payload: bytes) -> bytes:
    """As a server sends it: with the shortest length, and no mask."""
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 0x10000:
        return bytes((first, 126)) + size.to_bytes(2) + payload
    return bytes((first, 127)) + size.to_bytes(8) + payload


@given(st.lists(st.tuples(st.sampled_from([0x81, PING_OPCODE]), SIZES), max_size=4), st.data())
def test_frames_cut_anywhere_are_the_same_frames(wanted: list[tuple[int, int]], data: st.DataObject) -> None:
    """Each once, in order and whole; nothing is taken of one that has not ended."""
    sent = b"".join(frame(first, bytes((at,)) * size) for at, (first, size) in enumerate(wanted))
    cut = data.draw(st.integers(0, len(sent)))
    found: list[tuple[int, int, bytes]] = []

    def take(first: int, buffer: bytes, start: int, end: int) -> None:
        found.append((first, end - start, buffer[start:end][:1]))

    read = read_frames(sent[:cut], take)
    assert read <= cut
    assert read_frames(sent[read:], take) == len(sent) - read
    assert found == [(first, size, bytes((at,)) if size else b"") for at, (first, size) in enumerate(wanted)]
