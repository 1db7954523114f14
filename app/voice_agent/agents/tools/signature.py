"""What a model may give to a Python function, and calling it with that."""

from __future__ import annotations

import copy
import inspect
import re
import textwrap
from collections.abc import Callable, Mapping
from functools import partial
from inspect import Parameter, Signature
from typing import Annotated, Any, get_type_hints

from pydantic import Field, PydanticUserError, TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ArgsKwargs

from voice_agent.agents.tools.threads import in_thread
from voice_agent.kit.call import Call
from voice_agent.kit.tools import ToolError

GIVEN_BY_SERVER = ("call", "idempotency_key")
"""Parameters that no model sees."""
MAX_ERRORS = 5
"""Of what is wrong with arguments, so much is told: enough to mend it."""

_SECTION = re.compile(r"^(Args|Arguments|Parameters|Returns|Yields|Raises|Examples?|Notes?):\s*$", re.MULTILINE)
_ARGUMENT = re.compile(r"^(\w+)(?: *\([^)\n]*\))?: *((?:.|\n(?= ))*)", re.MULTILINE)
_NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


class ToolSignature:
    """One function's. Raises `TypeError` for a function that no model can call."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.description, texts = _documented(function)
        asked, self._from_server = _parameters(function, texts)
        self._defaults = {each.name: each.default for each in asked if each.default is not Parameter.empty}
        self._arguments = _adapter(function, asked)
        self.parameters: dict[str, Any] = self._arguments.json_schema(schema_generator=_WithoutTitles)

    def accepted(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments as the function takes them. Raises `ToolError`, which names what is wrong with which."""
        try:
            given: dict[str, Any] = self._arguments.validate_python(ArgsKwargs((), dict(arguments)))
        except ValidationError as error:
            raise ToolError(_wrong(error)) from error
        # Each call has a default of its own: a list that one caller's call appends to must not be another's.
        return {name: given[name] if name in arguments else copy.deepcopy(self._defaults[name]) for name in given}

    async def called(self, arguments: Mapping[str, Any], call: Call, idempotency_key: str) -> Any:
        """What the function gives."""
        server = {"call": call, "idempotency_key": idempotency_key}
        named = {**arguments, **{name: server[name] for name in self._from_server}}
        if _is_async(self._function):
            return await self._function(**named)
        result = await in_thread(self._function, named)
        return await result if inspect.isawaitable(result) else result


class _WithoutTitles(GenerateJsonSchema):
    """A title repeats the name, and costs the model's attention."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _parameters(function: Callable[..., Any], texts: Mapping[str, str]) -> tuple[list[Parameter], list[str]]:
    """What the model gives, with its types; and the names of what the server gives."""
    name = getattr(function, "__name__", repr(function))
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError(f"The tool {name!r} is a generator; a tool returns what it gives.")
    try:
        hints = get_type_hints(_code_of(function), include_extras=True)
    except NameError as error:
        raise TypeError(f"The tool {name!r} has a type that is not known where it is defined: {error}.") from error
    asked, from_server = [], []
    for each in inspect.signature(function).parameters.values():
        if each.kind not in _NAMED:
            raise TypeError(f"The tool {name!r} takes {each}; each of its arguments needs a name of its own.")
        if each.name in GIVEN_BY_SERVER:
            from_server.append(each.name)
            continue
        if each.name not in hints:
            hint = " A method becomes a tool when it is bound: tool(self.method)." if each.name == "self" else ""
            raise TypeError(f"The parameter {each.name!r} of the tool {name!r} has no type.{hint}")
        described = Annotated[hints[each.name], Field(description=text)] if (text := texts.get(each.name)) else None
        asked.append(
            each.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[each.name] if described is None else described)
        )
    return asked, from_server


def _adapter(function: Callable[..., Any], asked: list[Parameter]) -> TypeAdapter[dict[str, Any]]:
    """Checks arguments, and calls nothing."""

    def accepted(**given: Any) -> dict[str, Any]:
        return given

    accepted.__signature__ = Signature(asked)  # type: ignore[attr-defined]  # what pydantic and inspect read
    accepted.__annotations__ = {each.name: each.annotation for each in asked}
    accepted.__name__ = accepted.__qualname__ = getattr(function, "__name__", "tool")
    try:
        return TypeAdapter[dict[str, Any]](accepted)  # type: ignore[arg-type]  # takes functions as well as types
    except PydanticUserError as error:
        raise TypeError(f"No schema can be made of the tool {accepted.__name__!r}: {error}") from error


def _code_of(function: Any) -> Any:
    """Where the types of its parameters stand: also of a partial one, and of an object that can be called."""
    while isinstance(function, partial):
        function = function.func
    return function if inspect.isroutine(function) else type(function).__call__


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(_code_of(function))


def _documented(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """What the docstring says, and what its ``Args:`` say of each parameter."""
    parts = _SECTION.split(inspect.getdoc(function) or "")
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    arguments = next((sections[name] for name in ("Args", "Arguments", "Parameters") if name in sections), "")
    texts = {name: " ".join(text.split()) for name, text in _ARGUMENT.findall(textwrap.dedent(arguments).strip("\n"))}
    return parts[0].strip(), texts


def _wrong(error: ValidationError) -> str:
    """What is wrong with which argument, for the model: never what stands in it."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    told = [f"{'.'.join(map(str, each['loc'])) or 'arguments'}: {each['msg']}" for each in found[:MAX_ERRORS]]
    return "The arguments are wrong. " + "; ".join(told)
