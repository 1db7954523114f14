"""How what grows of the response under way stands in the record: its text, and its lists.

Each grows with tokens or steps. They are cut into chunks of a fixed size, each a record field of its own, and a write
carries the chunks that changed: the last one, as a rule. So a token costs no more at the end of a long response than at
its beginning. One field more (`SIZES`), in the same write, says how long each of them is: what lies beyond is of
something that is over, and is not read. ::

    response_sizes   300 5 0 1 0 0
    text:0           the first 128 characters
    text:1           128 more
    text:2           44 so far: the next token writes this field again, and response_sizes
    alignment:0      [[0,0],[1400,13], …]
    pieces_size      resp_… 2     of a kind that came later, and of this response only
    pieces:0         [[0,0,true],[140,9600,true]]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from voice_agent.call.response import Response, Stored

CHUNK_CHARS = 128
"""What of its text a response writes again with a token at the most. About what the rest of a write takes."""
CHUNK_ENTRIES = 16
"""Of lists with small entries: about as many bytes."""
SIZES = "response_sizes"
"""Of the kinds in `SIZED`, which never get another one: an earlier release reads as many as it knows."""
PIECES_SIZE = "pieces_size"
"""A release that knows no pieces leaves it as it is, so it says of which response it is."""


class _ChunkKind(NamedTuple):
    """One of the things that grow."""

    name: str
    """What the names of its fields begin with; a number follows, counting up from 0."""
    size: int
    """Of a chunk, in characters or entries."""
    of: Callable[[Response], str | list[Any]]


TEXT = _ChunkKind("text:", CHUNK_CHARS, lambda response: response.said.text)
ALIGNMENT = _ChunkKind("alignment:", CHUNK_ENTRIES, lambda response: response.said.alignment)
WORDS = _ChunkKind("words:", CHUNK_ENTRIES, lambda response: response.said.piece.words)
OUTPUT = _ChunkKind("output_ids:", CHUNK_ENTRIES, lambda response: response.output_ids)
_UNUSED = _ChunkKind("side_effect:", 1, lambda _: [])
"""Its size has a place in `SIZES`. Early releases of the schema had entries, which nobody asks for any more."""
OUT_OF_BAND = _ChunkKind("out_of_band:", 1, lambda response: list(response.out_of_band.values()))
PIECES = _ChunkKind("pieces:", CHUNK_ENTRIES, lambda response: response.said.pieces)
SIZED = (TEXT, ALIGNMENT, WORDS, OUTPUT, _UNUSED, OUT_OF_BAND)
KINDS = (*SIZED, PIECES)


def changed_from(response: Response, kind: _ChunkKind, at: int) -> None:
    """From an entry on it is not what was handed to a write: the next one carries that anew."""
    if (stored := response.stored.get(kind.name)) is not None:
        stored.length = min(stored.length, at)


def take_chunks(response: Response, fields: dict[str, bytes], *, whole: bool) -> None:
    """Put the chunks into a write that are not stored yet; `whole`: all of them, for nothing else is kept."""
    fields[SIZES] = b" ".join(b"%d" % _take(response, kind, fields, whole=whole) for kind in SIZED)
    stored = response.stored.get(PIECES.name)
    if response.said.pieces and (whole or stored is None or len(response.said.pieces) > stored.length):
        size = _take(response, PIECES, fields, whole=whole)
        fields[PIECES_SIZE] = b"%s %d" % (response.response_id.encode(), size)


def _take(response: Response, kind: _ChunkKind, fields: dict[str, bytes], *, whole: bool) -> int:
    """Those of one kind; how long it is."""
    name, size, of = kind
    value = of(response)
    length = len(value)
    stored = response.stored.get(name)
    if stored is None or whole:
        stored = response.stored[name] = Stored()
    chunks = -(-length // size)
    if length > stored.length:
        for n in range(stored.length // size, chunks):
            fields[f"{name}{n}"] = _pack(value[n * size : (n + 1) * size])
    for n in range(chunks, stored.chunks):
        fields[f"{name}{n}"] = b""
    stored.length, stored.chunks = length, chunks
    return length


def chunks_of(response: Response) -> list[str]:
    """The names of the fields that a response takes in the record, to be emptied once it is over."""
    names = [f"{name}{n}" for name, stored in response.stored.items() for n in range(stored.chunks)]
    return [*names, PIECES_SIZE] if response.said.pieces else names


def restore_chunks(response: Response, fields: Mapping[str, bytes]) -> None:
    """Give a response back what grew of it. Raises `LookupError`, `TypeError` or `ValueError` for what is damaged."""
    found: dict[str, list[Any]] = {}
    sizes = list(zip(SIZED, map(int, fields[SIZES].split()), strict=False))
    of_response, _, pieces = fields.get(PIECES_SIZE, b"").partition(b" ")
    if of_response == response.response_id.encode():
        sizes.append((PIECES, int(pieces)))
    for kind, length in sizes:
        packed = [fields[f"{kind.name}{n}"] for n in range(-(-length // kind.size))]
        # A chunk may hold more than belongs to it: what became shorter is not written again.
        if kind is TEXT:
            response.said.text = b"".join(packed).decode()[:length]
        else:
            found[kind.name] = _entries(packed)[:length]
    response.said.alignment, response.said.piece.words = found[ALIGNMENT.name], found[WORDS.name]
    response.output_ids = found[OUTPUT.name]
    response.out_of_band = {item["id"]: item for item in found[OUT_OF_BAND.name]}
    response.said.pieces = found.get(PIECES.name, [])  # An earlier release knew none.
    for name, size, of in KINDS if response.said.pieces else SIZED:
        length = len(of(response))
        response.stored[name] = Stored(length, -(-length // size))


def is_chunk(name: str) -> bool:
    """Whether a record field is one of these."""
    return name.startswith(_NAMES)


_NAMES = tuple(kind.name for kind in KINDS)


def _pack(chunk: str | list[Any]) -> bytes:
    return chunk.encode() if isinstance(chunk, str) else orjson.dumps(chunk)


def _entries(packed: list[bytes]) -> list[Any]:
    return [entry for chunk in packed for entry in orjson.loads(chunk)]
