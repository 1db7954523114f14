"""Python functions as tools.

::

    @tool(says="One moment. ")
    async def book_table(people: int, at: str, idempotency_key: str) -> dict[str, int]:
        '''Book a table.

        Args:
            people: How many will come.
            at: When, as the caller said it.
        '''
        return {"table": await tables.book(people, at, once=idempotency_key)}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import update_wrapper
from typing import Any, Protocol, overload

from voice_agent.agents.tools.signature import ToolSignature
from voice_agent.kit.call import Call
from voice_agent.kit.tools import Tool


class ToolMaker(Protocol):
    """`tool` with its options."""

    def __call__(self, function: Callable[..., Any], /) -> FunctionTool:
        """The function as a tool."""


class FunctionTool(Tool):
    """A Python function as a tool. Called, it is the function."""

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        """`options`: fields of `Tool`. Raises `TypeError` for a function of which no schema can be made."""
        self._signature = ToolSignature(function)
        self._function = function
        super().__init__(
            **{
                "name": getattr(function, "__name__", ""),
                "description": self._signature.description,
                "parameters": self._signature.parameters,
                **options,
            }
        )
        update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **named: Any) -> Any:
        """What the function gives."""
        return self._function(*args, **named)

    async def run(self, call: Call, arguments: Mapping[str, Any], idempotency_key: str) -> Any:
        """See `Tool`. Arguments are checked, and converted to the types of the function."""
        accepted = self._signature.accepted(arguments)
        return await self._signature.called(accepted, call, idempotency_key)


@overload
def tool(function: Callable[..., Any], /) -> FunctionTool: ...
@overload
def tool(
    *,
    name: str = ...,
    description: str = ...,
    says: str = ...,
    says_after_ms: int = ...,
    timeout_s: float = ...,
    read_only: bool = ...,
) -> ToolMaker: ...
def tool(function: Callable[..., Any] | None = None, /, **options: Any) -> FunctionTool | ToolMaker:
    """Make a tool of a function; its schema comes from the signature and the docstring.

    Every parameter has a type, and is described in the docstring's ``Args:`` or by pydantic's `Field`. One that is
    called ``call`` is given the call, one that is called ``idempotency_key`` the key; the model sees neither. What is
    no coroutine function runs in a thread, where a call must not be acted on. Options are the fields of `Tool`.
    """
    if function is not None:
        return FunctionTool(function, **options)
    return lambda made_of: FunctionTool(made_of, **options)
