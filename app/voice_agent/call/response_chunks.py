"""How the text of the response under way, and its alignment, stand in the record.

Both grow with every token. They are cut into chunks of a fixed size, each a record field of its own, and a write
carries the chunks that changed: the last one, as a rule. So a token costs no more at the end of a long response than at
its beginning. Each chunk names the response, or the item, that it is of: what an earlier one left behind is not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from voice_agent.call.record import Response

CHUNK_CHARS = 1024
CHUNK_ENTRIES = 64
"""Of an alignment: about as many bytes."""
TEXT, ALIGNMENT = "text:", "alignment:"
"""What the names of the fields begin with; a number follows, counting up from 0."""


def take_chunks(response: Response, fields: dict[str, bytes], *, whole: bool) -> None:
    """Put the chunks into a write that are not stored yet; `whole`: all of them."""
    saved_chars, saved_entries = (0, 0) if whole else response.saved
    _take(fields, TEXT, response.response_id, response.text, saved_chars, CHUNK_CHARS)
    _take(fields, ALIGNMENT, response.item_id, response.alignment, saved_entries, CHUNK_ENTRIES)
    response.saved = (len(response.text), len(response.alignment))


def chunks_of(response: Response) -> list[str]:
    """The names of the fields that a response takes, to be emptied once it is over."""
    sizes = ((TEXT, CHUNK_CHARS, len(response.text)), (ALIGNMENT, CHUNK_ENTRIES, len(response.alignment)))
    return [f"{name}{n}" for name, size, length in sizes for n in range(-(-length // size))]


def restore_chunks(response: Response, fields: Mapping[str, bytes]) -> None:
    """Give a response its text and alignment back."""
    response.text = "".join(_read(fields, TEXT, response.response_id))
    response.alignment = _read(fields, ALIGNMENT, response.item_id)
    response.saved = (len(response.text), len(response.alignment))


def is_chunk(name: str) -> bool:
    """Whether a record field is one of these."""
    return name.startswith((TEXT, ALIGNMENT))


def _take(fields: dict[str, bytes], name: str, of: str | None, value: Any, saved: int, size: int) -> None:
    if len(value) > saved:
        for n in range(saved // size, -(-len(value) // size)):
            fields[f"{name}{n}"] = orjson.dumps([of, value[n * size : (n + 1) * size]])


def _read(fields: Mapping[str, bytes], name: str, of: str | None) -> list[Any]:
    found: list[Any] = []
    while packed := fields.get(f"{name}{len(found)}"):
        chunk_of, chunk = orjson.loads(packed)
        if chunk_of != of:
            break
        found.append(chunk)
    return found if name == TEXT else [entry for chunk in found for entry in chunk]
