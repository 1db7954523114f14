"""What `client_events` say of their fields by `taken.Taken`, as rows of the table in ``docs/protocol.md``."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, NotRequired, Required, Union, get_args, get_origin

from typing_extensions import get_type_hints, is_typeddict

from voice_agent.protocol.client_events import EVENTS, NOT_SERVED
from voice_agent.protocol.taken import Taken

OF_WEBRTC = "output_audio_buffer.clear"


def rows() -> list[tuple[str, str, str, str]]:
    """The cells of each field: event, path, verdict, note."""
    found: dict[tuple[str, str], tuple[str, str, str, str]] = {}
    for event, fields in EVENTS.items():
        for path, taken in _below(fields, ""):
            below = " and all below" if taken.all_below else ""
            found.setdefault((event, path), (f"`{event}`", f"`{path}`{below}", taken.verdict, taken.note))
            for kind in taken.refused:
                found.setdefault((event, path + kind), (f"`{event}`", f"`{path}{kind}`", "refused", ""))
    why = NOT_SERVED[OF_WEBRTC].partition(" the audio.")[0]
    return [*found.values(), (f"`{OF_WEBRTC}`", "`type` and all below", "refused", why)]


def _below(annotation: Any, prefix: str) -> Iterator[tuple[str, Taken]]:
    """The fields of all objects that a value may be."""
    for member in _members(annotation):
        if get_origin(member) is list:
            path = f"{prefix.removesuffix('.')}[]"
            yield path, Taken("works")
            yield from _below(get_args(member)[0], f"{path}.")
        elif is_typeddict(member):
            for name, field in get_type_hints(member, include_extras=True).items():
                taken = _taken(field)
                if taken is None:
                    continue
                yield f"{prefix}{name}", taken
                if not taken.all_below:
                    yield from _below(field, f"{prefix}{name}.")


def _members(annotation: Any) -> list[Any]:
    """What a field may hold, however it is wrapped."""
    origin = get_origin(annotation)
    if origin in {Annotated, Required, NotRequired}:
        return _members(get_args(annotation)[0])
    if origin in {Union, UnionType}:
        return [member for part in get_args(annotation) for member in _members(part)]
    return [annotation]


def _taken(field: Any) -> Taken | None:
    """None: only the server has it."""
    if get_origin(field) is Required:
        return _taken(get_args(field)[0])
    return next((each for each in getattr(field, "__metadata__", ()) if isinstance(each, Taken)), None)
