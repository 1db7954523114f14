"""Frames are read as RFC 6455 says, whatever pieces they come in.

Tests of `frame_reader`, too.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from voice_agent.websocket import frame_reader, frames
from voice_agent.websocket.frame_reader import FRAMES_AT_ONCE, FrameReader
from voice_agent.websocket.frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Closing,
    close_frame,
    control_frame,
    only_text,
    text_frame,
)

LIMIT = 100_000


def masked(opcode: int, payload: bytes, *, fin: bool = True, mask: bool = True) -> bytes:
    """A client's frame, or a server's, as the `websockets` library writes it."""
    return Frame(Opcode(opcode), payload, fin=fin).serialize(mask=mask)


def all_of(reader: FrameReader, data: bytes) -> list[object]:
    """Every message that the data completes."""
    reader.feed(data)
    messages: list[object] = []
    while reader.has_more:
        if (message := reader.read()) is not None:
            messages.append(message)
    return messages


def read(data: bytes, *, limit: int = LIMIT) -> tuple[list[object], int | None]:
    """The messages in `data`, and the close code of the error if there is one."""
    reader = FrameReader(limit)
    messages = all_of(reader, data)
    return messages, None if reader.peer_error is None else reader.peer_error.code


MESSAGES = st.one_of(
    st.tuples(st.just(TEXT), st.text(max_size=300)),
    st.tuples(st.just(BINARY), st.binary(max_size=70_000)),
    st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125)),
)


def frames_of(kind: int, content: str | bytes, cuts: list[int], *, mask: bool = True) -> bytes:
    """A message as frames: data messages are fragmented at `cuts`, with a ping between the fragments."""
    payload = content.encode() if isinstance(content, str) else content
    if kind not in (TEXT, BINARY):
        return masked(kind, payload, mask=mask)
    at = sorted({cut % (len(payload) + 1) for cut in cuts})
    pieces = [payload[a:b] for a, b in zip([0, *at], [*at, len(payload)], strict=True)]
    last = len(pieces) - 1
    return b"".join(masked(kind if n == 0 else 0, piece, fin=n == last, mask=mask) for n, piece in enumerate(pieces))


@given(
    st.lists(st.tuples(MESSAGES, st.lists(st.integers(0, 70_000), max_size=3)), max_size=6),
    st.lists(st.integers(0, 300_000), max_size=8),
    st.booleans(),
)
def test_messages_arrive_whole_however_they_are_cut(
    sent: list[tuple[tuple[int, str | bytes], list[int]]], cuts: list[int], of_server: bool
) -> None:
    """Fragments and the pieces that the network makes of them change nothing, for frames of clients and of servers."""
    data = b"".join(frames_of(kind, content, fragments, mask=not of_server) for (kind, content), fragments in sent)
    reader = FrameReader(LIMIT, of_server=of_server)
    came: list[object] = []
    at = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for begin, end in pairwise(at):
        came += all_of(reader, data[begin:end])
    assert reader.peer_error is None
    assert came == [message for message, _ in sent]
    assert reader.is_idle


@given(st.binary(max_size=400), st.integers(0, 400))
def test_any_bytes_give_messages_or_a_protocol_error(data: bytes, cut: int) -> None:
    """Nothing a peer sends raises, and where it is cut does not matter."""
    whole = read(data)
    reader = FrameReader(LIMIT)
    pieces = [*all_of(reader, data[:cut]), *all_of(reader, data[cut:])]
    assert (pieces, reader.peer_error.code if reader.peer_error else None) == whole


@given(
    st.one_of(st.text(max_size=200).map(str.encode), st.binary(max_size=200)),
    st.lists(st.integers(0, 300), max_size=4),
    st.lists(st.integers(0, 1000), max_size=8),
)
def test_a_large_text_is_checked_in_pieces_and_given_as_its_utf8(
    payload: bytes, fragments: list[int], cuts: list[int]
) -> None:
    """However it is cut, even within a character: what is UTF-8 is given, what is not is 1007."""
    whole = frames_of(BINARY, payload, fragments)
    data = bytes((whole[0] ^ BINARY ^ TEXT,)) + whole[1:]
    reader = FrameReader(LIMIT)
    came: list[object] = []
    at = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frame_reader, "LARGE_TEXT_BYTES", 10)
        for begin, end in pairwise(at):
            came += all_of(reader, data[begin:end])
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        assert (came, reader.peer_error and reader.peer_error.code) == ([], 1007)
    else:
        assert came in ([(TEXT, text)], [(TEXT, payload)])
        assert reader.peer_error is None


@given(
    st.lists(st.tuples(MESSAGES, st.lists(st.integers(0, 70_000), max_size=3)), max_size=4),
    st.integers(1, 2000),
)
def test_no_byte_is_kept_to_be_read_again(sent: list[tuple[tuple[int, str | bytes], list[int]]], step: int) -> None:
    """But those of a header or of a control frame: the work for a message does not grow with its number of pieces."""
    data = b"".join(frames_of(kind, content, fragments) for (kind, content), fragments in sent)
    reader = FrameReader(LIMIT)
    for at in range(0, len(data), step):
        all_of(reader, data[at : at + step])
        assert len(reader._data) - reader._at < 6 + 125


def test_a_call_reads_no_more_than_so_many_frames() -> None:
    """Fragments without bytes complete nothing at which a reader could be stopped."""
    reader = FrameReader(LIMIT)
    reader.feed(masked(TEXT, b"", fin=False) + masked(0, b"", fin=False) * 1000 + masked(0, b""))
    calls = 1
    while (message := reader.read()) is None:
        assert reader.has_more
        calls += 1
    assert message == (TEXT, "")
    assert calls == 1002 // FRAMES_AT_ONCE + 1


@pytest.mark.parametrize("cut", [1, 5, 7, 200])
@pytest.mark.parametrize("data", [masked(TEXT, b"x" * 300), masked(PONG, b"x" * 100)], ids=["text", "pong"])
def test_each_incomplete_message_is_another_one(data: bytes, cut: int) -> None:
    """A reader that is never idle, because bytes come cut in the middle of frames, does not stand still."""
    reader = FrameReader(LIMIT)
    cut = min(cut, len(data) - 1)
    all_of(reader, data[:cut])
    for begun in range(1, 4):
        assert (reader.begun, reader.is_idle) == (begun, False)
        assert len(all_of(reader, data[cut:] + data[:cut])) == 1
    all_of(reader, data[cut:])
    assert reader.is_idle


def test_a_reader_that_skips_holds_nothing_and_still_sees_the_end() -> None:
    """Of a message under way, too."""
    reader = FrameReader(LIMIT)
    assert all_of(reader, masked(TEXT, b"x" * 1000, fin=False) + masked(0, b"y" * 1000)[:500]) == []
    reader.skip_messages()
    assert reader.held_bytes == 0
    reader.feed(b"y" * 508 + masked(BINARY, b"z" * 1000)[:900])
    while reader.has_more:
        assert reader.read() is None
    assert reader.held_bytes == 0
    assert all_of(reader, b"z" * 108 + masked(CLOSE, b"")) == [(CLOSE, Closing(1005, ""))]


@given(MESSAGES)
def test_the_shortcut_agrees_with_the_reader(message: tuple[int, str | bytes]) -> None:
    """A lone text frame is the same text either way; anything else is left to the reader."""
    data = frames_of(*message, [])
    text = only_text(data)
    expected = isinstance(message[1], str) and len(message[1].encode()) >= 126
    assert text == (message[1] if expected else None)
    assert only_text(data + b"\x81") is None
    assert only_text(data[:-1]) is None


BROKEN = [
    (b"\xc1\x81\0\0\0\0x", 1002),
    (Frame(Opcode.TEXT, b"x").serialize(mask=False), 1002),
    (b"\x83\x80\0\0\0\0", 1002),
    (b"\x8b\x80\0\0\0\0", 1002),
    (b"\x09\x80\0\0\0\0", 1002),
    (b"\x89\xfe\x00\x7e\0\0\0\0" + b"x" * 126, 1002),
    (masked(0, b"x"), 1002),
    (masked(TEXT, b"x", fin=False) + masked(TEXT, b"y"), 1002),
    (b"\x88\x81\0\0\0\0\x03", 1002),
    (masked(CLOSE, (1005).to_bytes(2, "big")), 1002),
    (masked(CLOSE, (999).to_bytes(2, "big")), 1002),
    (masked(CLOSE, (1000).to_bytes(2, "big") + b"\xff"), 1007),
    (masked(TEXT, b"\xff" * 200), 1007),
    (masked(TEXT, "é".encode()[:1], fin=False) + masked(0, b"x"), 1007),
    (b"\x82\xff" + LIMIT.to_bytes(8, "big")[:-1] + b"\xff\0\0\0\0", 1009),
    (masked(BINARY, b"x" * LIMIT, fin=False) + masked(0, b"y"), 1009),
]


@pytest.mark.parametrize(("data", "code"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_rule_has_its_code(data: bytes, code: int) -> None:
    """What came before is still given, what comes after is not."""
    before, after = masked(TEXT, b"before"), masked(TEXT, b"after")
    assert read(before + data + after) == ([(TEXT, "before")], code)


def test_a_message_of_the_limit_is_taken() -> None:
    """One byte more is not; a frame that announces too much is refused by its header alone."""
    assert read(masked(BINARY, b"x" * LIMIT))[1] is None
    assert read(masked(BINARY, b"x" * (LIMIT + 1))[:14])[1] == 1009


def test_a_close_says_its_code_and_reason() -> None:
    """An empty one stands for 1005."""
    assert read(masked(CLOSE, b""))[0] == [(CLOSE, Closing(1005, ""))]
    assert read(masked(CLOSE, (4409).to_bytes(2, "big") + "é".encode()))[0] == [(CLOSE, Closing(4409, "é"))]


@given(st.binary(max_size=70_000))
def test_what_is_written_is_what_the_library_writes(payload: bytes) -> None:
    """Byte for byte, at every length of the length."""
    assert text_frame(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)
    assert control_frame(PONG, payload[:125]) == Frame(Opcode.PONG, payload[:125]).serialize(mask=False)


def test_a_long_reason_is_cut_to_whole_characters() -> None:
    """A control frame carries 125 bytes, of which two are the code; 1005 is never sent."""
    assert len(close_frame(1012, "é" * 100)) == 2 + 2 + 122
    assert close_frame(1005, "x") == b"\x88\x00"


@pytest.mark.parametrize("of_server", [False, True])
def test_only_a_client_masks(of_server: bool) -> None:
    """A server refuses frames without a mask, a client those with one (RFC 6455, section 5.1)."""
    reader = FrameReader(LIMIT, of_server=of_server)
    assert all_of(reader, masked(TEXT, b"a", mask=of_server)) == []
    assert reader.peer_error is not None
    assert reader.peer_error.code == 1002


@given(st.sampled_from([0, 1, 125, 126, 65_535, 65_536]), st.binary(min_size=4, max_size=4))
def test_a_masked_frame_is_that_of_a_client(size: int, key: bytes) -> None:
    """It reads as the same message, and its payload stands masked in it."""
    payload = b"\x55" * size
    sent = frames.masked(text_frame(payload), key)
    assert all_of(FrameReader(LIMIT), sent) == [(TEXT, payload.decode())]
    assert sent.endswith(bytes(0x55 ^ key[n % 4] for n in range(size)))


def test_the_reader_forgets_nothing_it_was_not_given() -> None:
    """A reader that was told of an error stays silent."""
    reader = FrameReader(10)
    reader.feed(b"\xff\x00")
    assert reader.read() is None
    assert reader.peer_error is not None
    reader.feed(Frame(Opcode.TEXT, b"x").serialize(mask=True))
    assert reader.read() is None
