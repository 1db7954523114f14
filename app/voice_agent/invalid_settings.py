"""Says in one line what is wrong with a setting: its name, its value unless that is secret, and what is allowed."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Literal, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

_PROBLEMS = {
    "int_parsing": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_parsing": "is not a number",
    "bool_parsing": "is neither true nor false",
    "greater_than_equal": "is too small",
    "greater_than": "is too small",
    "less_than_equal": "is too large",
    "less_than": "is too large",
    "string_too_long": "is too long",
    "string_too_short": "is empty",
    "literal_error": "is not known",
    "enum": "is not known",
}
_LIMITS = {
    "ge": "at least {}",
    "gt": "more than {}",
    "le": "at most {}",
    "lt": "less than {}",
    "max_length": "at most {} characters",
    "expected": "{}",
}
"""What pydantic tells of the limit that was passed."""
HIDDEN = "the value"
"""Stands for one that is not shown."""


def in_one_line(text: str) -> str:
    """The same words."""
    return " ".join(text.split())


def line(
    where: str, error: ErrorDetails, shown: str, declared: type[BaseModel], more: dict[str, str] | None = None
) -> str:
    """One line on an error that pydantic found in a field of `declared`. `more`: problems in words, by type."""
    problem = (_PROBLEMS | (more or {})).get(error["type"])
    said, shown = in_one_line(error["msg"].removeprefix("Value error, ")), in_one_line(shown)
    if problem is None:
        return f"{where}: {said}."
    if problem == _PROBLEMS["string_too_short"] and shown not in ("", HIDDEN):
        return f"{where}: {shown}: {said}."
    context = error.get("ctx", {})
    told = (words.format(context[key]) for key, words in _LIMITS.items() if key in context)
    field = str(error["loc"][0])
    allowed = (allowed_values(field, declared) if field in declared.model_fields else "") or next(told, "")
    return f"{where}: {shown} {problem}{f'; allowed: {allowed}' if allowed else ''}."


def allowed_values(field: str, declared: type[BaseModel]) -> str:
    """What a setting may be, for people: ``1-65535`` or ``json, console``; empty if it has no two bounds."""
    info = declared.model_fields[field]
    bounds = {key: getattr(part, key) for part in info.metadata for key in ("ge", "le") if hasattr(part, key)}
    if len(bounds) == len(("ge", "le")):
        return f"{bounds['ge']}–{bounds['le']}"
    if isinstance(info.annotation, type) and issubclass(info.annotation, StrEnum):
        return ", ".join(info.annotation)
    return ", ".join(map(str, get_args(info.annotation))) if get_origin(info.annotation) is Literal else ""
