"""Every field of every client event, as the official SDK declares them."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from openai._models import BaseModel
from openai.types.realtime import RealtimeClientEvent

SAME_AS_AN_ITEM = "response.input[]"
"""Its entries are items, whose fields are told once."""


class Field(NamedTuple):
    """A field of an event, by its path: ``session.audio.input.format.type``, ``item.content[].text``."""

    event: str
    path: str
    is_optional: bool


def fields() -> list[Field]:
    """All of them, each once, sorted; kinds of MCP tools and items count as one field each."""
    found: dict[tuple[str, str], Field] = {}
    for model in _members(get_args(RealtimeClientEvent)[0]):
        event = _literal(model, "type")
        for path, is_optional in _of_model(model, ""):
            known = found.get((event, path))
            found[event, path] = Field(event, path, is_optional or (known is not None and known.is_optional))
    return sorted(found.values())


def _of_model(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, bool]]:
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        members = _members(field.annotation)
        yield path, type(None) in members
        yield from _below(members, path)


def _below(members: list[Any], path: str) -> Iterator[tuple[str, bool]]:
    for member in members:
        if get_origin(member) is list:
            yield f"{path}[]", False
            if f"{path}[]" != SAME_AS_AN_ITEM:
                yield from _below(_members(get_args(member)[0]), f"{path}[]")
        elif isinstance(member, type) and issubclass(member, BaseModel):
            kind = _literal(member, "type")
            if kind.startswith("mcp"):
                yield f"{path} ({kind})", False
            else:
                yield from _of_model(member, f"{path}.")


def _members(annotation: Any) -> list[Any]:
    """What a field may hold: the members of a union, however it is wrapped."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _members(get_args(annotation)[0])
    if origin in {Union, UnionType}:
        return [member for part in get_args(annotation) for member in _members(part)]
    return [annotation]


def _literal(model: type[BaseModel], name: str) -> str:
    """The one value that a field may have, "" for any."""
    field = model.model_fields.get(name)
    values = (
        [value for part in _members(field.annotation) if get_origin(part) is Literal for value in get_args(part)]
        if field
        else []
    )
    return values[0] if len(values) == 1 else ""
