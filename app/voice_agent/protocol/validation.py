"""From what pydantic finds wrong to the protocol's error: its code, the field's path and a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from voice_agent.errors import ProtocolError, invalid
from voice_agent.protocol.json_types import UNKNOWN, of_another_type, shown

TEXT, OBJECT, WHOLE = "a string", "an object", "an integer"
"""Tags of what is told apart by its JSON type."""
TAGS = {TEXT, OBJECT, WHOLE, "message", "function_call", "function_call_output", "item_reference"}
TAGS |= {"system", "user", "assistant", "input_text", "input_audio", "output_text", "output_audio"}
"""What stands in pydantic's paths for the chosen member of a union. No field is called so."""

_WANTED = {
    "string_type": TEXT,
    "int_type": WHOLE,
    "float_type": "a number",
    "bool_type": "a boolean",
    "list_type": "an array",
    "dict_type": OBJECT,
    "model_attributes_type": OBJECT,
}


def validated(adapter: TypeAdapter[Any], value: Any) -> Any:
    """The value as it is kept. Raises `ProtocolError`; of several faults, one: what is missing comes first."""
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise protocol_error(min(error.errors(include_url=False), key=_is_there)) from None


def _is_there(found: ErrorDetails) -> bool:
    return found["type"] != "missing"


def wrong_type(value: Any, path: str, wanted: str) -> ProtocolError:
    """The value is of another JSON type than `wanted`, which reads "a string"."""
    return invalid(path, of_another_type(value, wanted), "invalid_type")


def missing(path: str) -> ProtocolError:
    """A required field is not there."""
    return invalid(path, "is required", "missing_required_parameter")


def protocol_error(found: ErrorDetails) -> ProtocolError:
    """One of pydantic's errors as the protocol has it."""
    kind, value, context = found["type"], found["input"], found.get("ctx", {})
    path = _path(found["loc"])
    if kind in _WANTED:
        return wrong_type(value, path, _WANTED[kind])
    if kind == "missing":
        return missing(path)
    if kind == "literal_error":
        return _no_choice(value, path, context["expected"].replace(" or ", ", "))
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        return _wrong_kind(value, context, path)
    if context["below"] is not None:
        path = _join(path, context["below"])
    if kind == UNKNOWN:
        return ProtocolError(f"Unknown parameter: '{path}'. {context['problem']}", code=kind, param=path)
    return invalid(path, context["problem"], kind)


def _no_choice(value: Any, path: str, choices: str) -> ProtocolError:
    if not isinstance(value, str):
        return wrong_type(value, path, TEXT)
    wanted = f"one of {choices}" if "," in choices else choices
    return invalid(path, f"must be {wanted}, but it is {shown(value)}")


def _wrong_kind(value: Mapping[str, Any], context: Mapping[str, Any], path: str) -> ProtocolError:
    """The field that tells the members of a union apart is missing, or names none of them."""
    name = context["discriminator"].strip("'")
    path, given = _join(path, name), value.get(name)
    if given is None:
        return missing(path)
    return _no_choice(given, path, context["expected_tags"])


def _path(steps: tuple[int | str, ...]) -> str:
    """``session.tools[0].name``; fields of the message itself have plain names."""
    path = ""
    for step in steps:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step not in TAGS:
            path = _join(path, step)
    return path


def _join(path: str, below: str) -> str:
    if not path or below.startswith("["):
        return path + below
    return f"{path}.{below}"
