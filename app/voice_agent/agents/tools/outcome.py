"""What a call of a tool came to, whatever the tool does: a value that survives JSON, or an error for the model."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson
import structlog
from pydantic import BaseModel

from voice_agent.kit.call import Call
from voice_agent.kit.tools import Tool, ToolError
from voice_agent.kit.watching import watched

MAX_ARGUMENTS_BYTES = 64 * 1024
"""Of one call of a tool, as JSON: stops a model that repeats itself."""
MAX_OUTPUT_BYTES = 64 * 1024
"""Of what a tool gave, as JSON: it is kept in the record until the event is acknowledged, and read by a model."""
MAX_ERROR_CHARS = 1024
CANCELS_WITHIN_S = 1.0
"""So long a tool that was given up may take to end before it is left to itself."""

UNKNOWN = "Whether anything was done is not known. Do not try again; tell the caller."
NOT_SHOWN = "It was done, but what it gave cannot be shown: {}. Do not try again."

log = structlog.get_logger(__name__)


async def outcome_of(tool: Tool, call: Call, arguments: str | Mapping[str, Any], idempotency_key: str) -> Any:
    """What the tool gave, or ``{"error": …}``; at most `MAX_OUTPUT_BYTES`. Raises nothing but a cancellation."""
    try:
        given = parsed(arguments)
        value = await _run(tool, call, given, idempotency_key)
    except ToolError as error:
        return {"error": str(error)[:MAX_ERROR_CHARS]}
    except Exception as error:
        # Somebody else's code: what it raised may hold secrets, and is for the log.
        log.exception("tool failed", tool=tool.name, call_id=call.caller.id, kind=type(error).__name__)
        return {"error": f"The function failed. {UNKNOWN}"}
    try:
        return sound(value)
    except ValueError as error:
        log.warning("what a tool gave cannot be kept", tool=tool.name, call_id=call.caller.id, reason=str(error))
        return {"error": NOT_SHOWN.format(error)}


def parsed(arguments: str | Mapping[str, Any]) -> Mapping[str, Any]:
    """Arguments as a model gave them. Raises `ToolError` for what is no JSON object, or too much."""
    if isinstance(arguments, str):
        if len(arguments) > MAX_ARGUMENTS_BYTES:
            raise ToolError(f"The arguments have {len(arguments)} characters; at most {MAX_ARGUMENTS_BYTES} are taken.")
        try:
            arguments = orjson.loads(arguments or "{}")
        except ValueError as error:  # Also text that is no Unicode.
            raise ToolError("The arguments are no JSON.") from error
    if not isinstance(arguments, Mapping):
        raise ToolError("The arguments are no JSON object.")
    return arguments


def sound(value: Any) -> Any:
    """`value` as JSON has it. Raises `ValueError` for what JSON cannot hold, and for too much of it."""
    try:
        packed = orjson.dumps(value, _plain, orjson.OPT_NON_STR_KEYS)
        orjson.dumps([orjson.loads(packed)])  # As `Call.once` keeps it, a level deeper.
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{type(value).__name__} is no JSON") from error
    if len(packed) > MAX_OUTPUT_BYTES:
        raise ValueError(f"it takes {len(packed)} bytes as JSON, at most {MAX_OUTPUT_BYTES} are taken")
    return orjson.loads(packed)


def _plain(value: Any) -> Any:
    """What orjson does not know by itself. Nothing that is made while it is read: that might have no end."""
    match value:
        case BaseModel():
            return value.model_dump(mode="json")
        case set() | frozenset():
            return list(value)
        case bytes() | bytearray():
            return value.decode()
        case Decimal():
            return str(value)
        case Mapping():
            return dict(value)
    raise TypeError(type(value).__name__)


async def _run(tool: Tool, call: Call, arguments: Mapping[str, Any], idempotency_key: str) -> Any:
    """What `Tool.run` gives, in a task of its own: it may swallow its cancellation, and the call goes on."""
    task = asyncio.create_task(_contained(tool, call, arguments, idempotency_key), name=f"tool {tool.name}")
    try:
        await asyncio.wait({task}, timeout=tool.timeout_s)
    finally:
        if not task.done():
            task.cancel()
            task.add_done_callback(_retrieved)
    if not task.done():
        await asyncio.wait({task}, timeout=CANCELS_WITHIN_S)
        if not task.done():
            log.warning("tool does not end although it was cancelled", tool=tool.name, call_id=call.caller.id)
        raise ToolError(f"It took longer than {tool.timeout_s:g} s. {UNKNOWN}")
    if task.cancelled():
        raise RuntimeError("something it waited for was cancelled")
    return task.result()


async def _contained(tool: Tool, call: Call, arguments: Mapping[str, Any], idempotency_key: str) -> Any:
    """Raises `RuntimeError` in place of `SystemExit`, which would end the pod."""
    try:
        return await watched(tool.run(call, arguments, idempotency_key))
    except SystemExit as error:
        raise RuntimeError(f"SystemExit: {error}") from error


def _retrieved(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()  # Nobody waits for it any more.
