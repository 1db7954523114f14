"""Bytes of a connection, cut into whole requests within the limits."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.web.request_reader import (
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    RequestReader,
    RequestRefused,
)

GET = b"GET /healthz/live HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /admin/drain HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"


def read(*pieces: bytes) -> list[bytes]:
    """Every request that these bytes hold."""
    reader = RequestReader()
    found = []
    for piece in pieces:
        reader.feed(piece)
        while (request := reader.next()) is not None:
            found.append(request)
    return found


def refusal(*pieces: bytes) -> RequestRefused:
    """What these bytes are refused with."""
    with pytest.raises(RequestRefused) as refused:
        read(*pieces)
    return refused.value


def head(size: int, *, line: bytes = b"GET / HTTP/1.1\r\nX: ") -> bytes:
    """A whole head of exactly so many bytes."""
    return line + b"a" * (size - len(line) - 4) + b"\r\n\r\n"


@given(st.lists(st.sampled_from([GET, POST, b"\r\n", b"\n"]), max_size=6), st.data())
def test_the_same_bytes_cut_anywhere_give_the_same_requests(parts: list[bytes], data: st.DataObject) -> None:
    """Also with empty lines between requests, which are none of them."""
    stream = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(*pieces) == [part for part in parts if part.strip()]


@given(st.binary(max_size=300))
def test_any_bytes_are_requests_or_a_refusal_or_wait_for_more(garbage: bytes) -> None:
    """Nothing else is raised."""
    reader = RequestReader()
    reader.feed(garbage)
    try:
        while reader.next() is not None:
            pass
    except RequestRefused as refused:
        assert refused.status in {400, 411, 413, 414, 431}  # noqa: PT017 - a refusal is one of the outcomes


def test_a_head_of_64_kib_is_read_and_a_longer_one_refused() -> None:
    """Whether it ends in the same piece or never."""
    assert [len(found) for found in read(head(MAX_HEAD_BYTES))] == [MAX_HEAD_BYTES]
    for pieces in ([head(MAX_HEAD_BYTES + 1)], [head(MAX_HEAD_BYTES)[:-4], b"aaaa"]):
        assert (refusal(*pieces).status, refusal(*pieces).limit) == (431, "head_bytes")


def test_a_request_line_of_64_kib_is_a_url_too_long() -> None:
    """414, for there is no header yet."""
    assert refusal(b"GET /" + b"a" * MAX_HEAD_BYTES).status == 414


def test_so_many_headers_are_read_and_one_more_is_refused() -> None:
    """The count is of lines."""
    line = b"GET / HTTP/1.1\r\n"
    assert read(line + b"a: 1\r\n" * MAX_HEADERS + b"\r\n")
    over = refusal(line + b"a: 1\r\n" * (MAX_HEADERS + 1) + b"\r\n")
    assert (over.status, over.limit) == (431, "header_lines")


def test_a_head_that_comes_byte_by_byte_costs_linear_time() -> None:
    """Ten times the bytes cost about ten times as much; a search from the start again would cost a hundred times."""

    def cost_s(size: int) -> float:
        reader, piece = RequestReader(), b"a"
        began_s = time.process_time()
        for _ in range(size):
            reader.feed(piece)
            reader.next()
        return time.process_time() - began_s

    short_s = min(cost_s(6_000) for _ in range(3))
    long_s = min(cost_s(60_000) for _ in range(3))
    assert long_s < 30 * short_s


def test_a_body_is_read_up_to_its_limit() -> None:
    """A longer one is refused by its head alone."""
    told = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n"
    whole = told % MAX_BODY_BYTES + b"x" * MAX_BODY_BYTES
    assert read(whole[:-1], whole[-1:]) == [whole]
    over = refusal(told % (MAX_BODY_BYTES + 1))
    assert (over.status, over.limit) == (413, "body_bytes")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"Transfer-Encoding: chunked", 411),
        (b"tRANSFER-eNCODING : gzip, chunked", 411),
        (b"Upgrade: websocket\r\nTransfer-Encoding: chunked", 400),
        (b"Upgrade: websocket\r\nContent-Length: 5", 400),
        (b"Content-Length: 5\r\nContent-Length: 6", 400),
        (b"Content-Length: 5, 5", 400),
        (b"Content-Length: -5", 400),
        (b"Content-Length: 0x5", 400),
        (b"Content-Length: 99999999999999999999", 400),
    ],
)
def test_a_body_without_one_clear_length_is_refused(headers: bytes, status: int) -> None:
    """Two readings of where a request ends would let one be smuggled in another."""
    assert refusal(b"POST / HTTP/1.1\r\n" + headers + b"\r\n\r\n").status == status


def test_an_upgrade_may_say_that_its_body_is_empty() -> None:
    """Some clients send the header always."""
    assert read(b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n")


def test_a_client_that_waits_for_100_continue_is_noticed_once() -> None:
    """Only while its body is not there."""
    reader = RequestReader()
    reader.feed(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert reader.next() is None
    assert reader.take_expectation()
    assert not reader.take_expectation()
    reader.feed(b"ok")
    assert reader.next() is not None
