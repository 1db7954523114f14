"""Small checks, put together into tables, for the JSON objects that clients send.

A check takes a value and the dotted path it was found at, and returns the value to
keep, or raises `ProtocolError` naming the field, what is wrong with it and what is
allowed. Everything is bounded, since whatever passes here is stored with the call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from voice_agent.errors import ProtocolError

Check = Callable[[Any, str], Any]

MAX_DEPTH = 64
"""How deep free-form JSON may nest; the encoder gives up at 254."""

_NAMES = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", int: "an integer", float: "a number"}


def invalid(path: str, problem: str, code: str = "invalid_value") -> ProtocolError:
    """`problem` completes a sentence that starts with the field: "must be …"."""
    return ProtocolError(f"'{path}' {problem}.", code=code, param=path)


def wrong_type(value: Any, path: str, wanted: str) -> ProtocolError:
    """The value is of another JSON type than `wanted`, which reads "a string"."""
    got = "null" if value is None else _NAMES.get(type(value), type(value).__name__)
    return invalid(path, f"must be {wanted}, but it is {got}", "invalid_type")


def missing(path: str) -> ProtocolError:
    """A required field is not there."""
    return invalid(path, "is required", "missing_required_parameter")


def text(max_bytes: int, *, min_bytes: int = 0, pattern: str | None = None, means: str = "") -> Check:
    """A string of so many UTF-8 bytes; `pattern` must match all of it, `means` says so in words."""
    regex = re.compile(pattern) if pattern else None

    def check(value: Any, path: str) -> str:
        if not isinstance(value, str):
            raise wrong_type(value, path, "a string")
        size = len(value) if value.isascii() else len(value.encode())
        if size < min_bytes:
            raise invalid(path, "must not be empty")
        if size > max_bytes:
            raise invalid(path, f"is {size} bytes long; at most {max_bytes} are allowed", "string_above_max_length")
        if regex and not regex.fullmatch(value):
            raise invalid(path, f"must consist of {means}")
        return value

    return check


def boolean(value: Any, path: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise wrong_type(value, path, "a boolean")
    return value


def integer(low: int, high: int) -> Check:
    """A whole number within bounds; 500.0 counts as one."""

    def check(value: Any, path: str) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_type(value, path, "an integer")
        if not low <= value <= high:
            raise invalid(path, f"must be from {low} to {high}, but it is {value}")
        return value

    return check


def number(low: float, high: float) -> Check:
    """A number within bounds."""

    def check(value: Any, path: str) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise wrong_type(value, path, "a number")
        if not low <= value <= high:
            raise invalid(path, f"must be from {low:g} to {high:g}, but it is {value:g}")
        return value

    return check


def one_of(*allowed: str) -> Check:
    """One of some strings."""
    listed = ", ".join(f"'{choice}'" for choice in allowed)
    wanted = f"one of {listed}" if len(allowed) > 1 else listed

    def check(value: Any, path: str) -> str:
        if not isinstance(value, str):
            raise wrong_type(value, path, "a string")
        if value not in allowed:
            raise invalid(path, f"must be {wanted}, but it is {shown(value)}")
        return value

    return check


def array(inner: Check, max_items: int, *, min_items: int = 0) -> Check:
    """A list of what `inner` takes."""

    def check(value: Any, path: str) -> list[Any]:
        if not isinstance(value, list):
            raise wrong_type(value, path, "an array")
        if not min_items <= len(value) <= max_items:
            raise invalid(path, f"has {len(value)} entries; {min_items} to {max_items} are allowed")
        return [inner(entry, f"{path}[{index}]") for index, entry in enumerate(value)]

    return check


def fields(
    table: Mapping[str, Check],
    *,
    required: tuple[str, ...] = (),
    null_means: Mapping[str, Any] | None = None,
    hints: Mapping[str, str] | None = None,
) -> Check:
    """An object whose fields are those of `table`.

    Only fields that are present are checked and returned, and null means that a field is not: clients
    written in typed languages send every field they have. `null_means` names the fields for which the
    protocol gives null a meaning, and what they are then. The path "" is that of a whole message, whose
    fields have plain names. `hints` has a sentence for unknown fields that people are likely to try.
    """
    meanings = null_means or {}

    def check(value: Any, path: str) -> dict[str, Any]:
        given = an_object(value, path)
        for name in required:
            if given.get(name) is None:
                raise missing(_below(path, name))
        kept = {}
        for name, content in given.items():
            if content is None:
                if name in meanings:
                    kept[name] = meanings[name]
                continue
            inner = table.get(name)
            if inner is None:
                raise _unknown(_below(path, _shown_name(name)), (hints or {}).get(name), table)
            kept[name] = inner(content, _below(path, name))
        return kept

    return check


def _unknown(path: str, hint: str | None, table: Mapping[str, Check]) -> ProtocolError:
    known = hint or f"Known fields: {', '.join(table)}."
    return ProtocolError(f"Unknown parameter: '{path}'. {known}", code="unknown_parameter", param=path)


def an_object(value: Any, path: str) -> dict[str, Any]:
    """The value, if it is a JSON object."""
    if not isinstance(value, dict):
        raise wrong_type(value, path, "an object")
    return value


def free_json(max_bytes: int, *, max_values: int | None = None) -> Check:
    """Any JSON value up to a size (of all its texts, plus eight bytes a value) and `MAX_DEPTH`.

    `max_values` bounds how many values it holds, where looking at each of them takes long.
    """

    def check(value: Any, path: str) -> Any:
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
                        raise invalid(path, f"holds more than the allowed {max_values} values")
                    texts += each if isinstance(each, dict) else ()
                    deeper += each.values() if isinstance(each, dict) else each
            left -= sum(len(each.encode()) for each in texts)
            if left < 0:
                raise invalid(path, f"is larger than the allowed {max_bytes} bytes")
            if not deeper:
                return value
            level = deeper
        raise invalid(path, f"nests deeper than {MAX_DEPTH} levels")

    return check


def free_object(max_bytes: int) -> Check:
    """A JSON object with any fields, bounded as by `free_json`."""
    bounded = free_json(max_bytes)
    return lambda value, path: bounded(an_object(value, path), path)


def shown(value: str) -> str:
    """A client's string, short enough to be repeated in a message."""
    return f"'{value}'" if len(value) <= 64 else f"'{value[:61]}...'"


def _shown_name(name: str) -> str:
    return name if len(name) <= 64 else f"{name[:61]}..."


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
