"""What JSON fields are made of: metadata for pydantic, beside the types it has itself.

Everything a client sends is bounded, since whatever passes here is stored with the call. What is wrong is told by
`refusal`, whose ``problem`` completes a sentence that starts with the field; `validation` makes the `ProtocolError`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, LiteralString

from pydantic import AfterValidator, BeforeValidator, GetCoreSchemaHandler, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

KIB = 1024
MAX_DEPTH = 64
"""How deep free-form JSON may nest; the encoder gives up at 254."""
UNKNOWN = "unknown_parameter"
MAX_SHOWN_CHARS = 64
"""Of a client's string in a message."""


def refusal(problem: str, code: LiteralString = "invalid_value", *, below: str | None = None) -> PydanticCustomError:
    """What is wrong with a value, or with the field of that path below it."""
    return PydanticCustomError(code, "{problem}", {"problem": problem, "below": below})


_JSON_NAMES = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    type(None): "null",
}


def of_another_type(value: Any, wanted: str) -> str:
    """The problem of a value that is of another JSON type than `wanted`, which reads "a string"."""
    return f"must be {wanted}, but it is {_JSON_NAMES[type(value)]}"


def cut(text: str) -> str:
    """A client's string, short enough to be repeated in a message."""
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[: MAX_SHOWN_CHARS - 3]}..."


def shown(value: str) -> str:
    """The same in quotes."""
    return f"'{cut(value)}'"


@dataclass(frozen=True, eq=False)
class Fields:
    """Of a `TypedDict`: null means that a field is not given, and only its own fields are known.

    Clients written in typed languages send every field they have. `null_means` names the fields for which the protocol
    gives null a meaning, and what they are then. `hints` has a sentence for unknown fields that people are likely to
    try.
    """

    null_means: Mapping[str, Any] = field(default_factory=dict)
    hints: Mapping[str, str] = field(default_factory=dict)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Runs around pydantic's own check of the fields."""
        check = partial(self._check, dict.fromkeys(source.__annotations__))
        return core_schema.no_info_wrap_validator_function(check, handler(source))

    def _check(self, known: Collection[str], value: Any, fields: ValidatorFunctionWrapHandler) -> Any:
        if not isinstance(value, dict):
            return fields(value)
        kept, unknown = {}, None
        for name, content in value.items():
            if content is None:
                if name in self.null_means:
                    kept[name] = self.null_means[name]
            elif name in known:
                kept[name] = content
            elif unknown is None:
                unknown = name
        checked = fields(kept)
        if unknown is not None:
            hint = self.hints.get(unknown) or f"Known fields: {', '.join(known)}."
            raise refusal(hint, UNKNOWN, below=cut(unknown))
        return checked


def text(max_bytes: int, *, min_bytes: int = 0, pattern: str | None = None, means: str = "") -> AfterValidator:
    """Of a string: so many UTF-8 bytes; `pattern` must match all of it, `means` says so in words."""
    regex = re.compile(pattern) if pattern else None

    def check(value: str) -> str:
        size = len(value) if value.isascii() else len(value.encode())
        if size < min_bytes:
            raise refusal("must not be empty")
        if size > max_bytes:
            raise refusal(f"is {size} bytes long; at most {max_bytes} are allowed", "string_above_max_length")
        if regex and not regex.fullmatch(value):
            raise refusal(f"must consist of {means}")
        return value

    return AfterValidator(check)


def whole(low: int, high: int) -> WrapValidator:
    """Of an integer: within bounds; 500.0 counts as one."""

    def check(value: Any, is_integer: ValidatorFunctionWrapHandler) -> int:
        number: int = is_integer(int(value) if isinstance(value, float) and value.is_integer() else value)
        if not low <= number <= high:
            raise refusal(f"must be from {low} to {high}, but it is {number}")
        return number

    return WrapValidator(check)


def number(low: float, high: float) -> WrapValidator:
    """Of a float: within bounds; 1 stays 1."""

    def check(value: Any, is_number: ValidatorFunctionWrapHandler) -> Any:
        is_number(value)
        if not low <= value <= high:
            raise refusal(f"must be from {low:g} to {high:g}, but it is {value:g}")
        return value

    return WrapValidator(check)


def entries(low: int, high: int) -> BeforeValidator:
    """Of a list: so many entries, counted before any of them is looked at."""

    def check(value: Any) -> Any:
        if isinstance(value, list) and not low <= len(value) <= high:
            raise refusal(f"has {len(value)} entries; {low} to {high} are allowed")
        return value

    return BeforeValidator(check)


def free_json(max_bytes: int, max_values: int | None = None) -> BeforeValidator:
    """Of any JSON, looked at before all else: see `too_large`."""
    return BeforeValidator(partial(_bounded, max_bytes, max_values))


def free_object(max_bytes: int) -> BeforeValidator:
    """Of an object with any fields: see `too_large`."""
    return BeforeValidator(lambda value: _bounded(max_bytes, None, value) if isinstance(value, dict) else value)


def _bounded(max_bytes: int, max_values: int | None, value: Any) -> Any:
    problem = too_large(value, max_bytes, max_values)
    if problem:
        raise refusal(problem)
    return value


def too_large(value: Any, max_bytes: int, max_values: int | None = None) -> str:
    """Why a JSON value exceeds a size (of all its texts, plus eight bytes a value) or `MAX_DEPTH`; "" if it does not.

    `max_values` bounds how many values it holds, where looking at each of them takes long.
    """
    level, left, values = [value], max_bytes - 8, 1
    for _ in range(MAX_DEPTH):
        texts: list[str] = []
        deeper: list[Any] = []
        for each in level:
            if isinstance(each, str):
                texts.append(each)
            elif isinstance(each, (dict, list)):
                left -= 8 * len(each)
                values += len(each)
                if left < 0:
                    break
                if max_values is not None and values > max_values:
                    return f"holds more than the allowed {max_values} values"
                texts += each if isinstance(each, dict) else ()
                deeper += each.values() if isinstance(each, dict) else each
        left -= sum(len(each.encode()) for each in texts)
        if left < 0:
            return f"is larger than the allowed {max_bytes} bytes"
        if not deeper:
            return ""
        level = deeper
    return f"nests deeper than {MAX_DEPTH} levels"
