"""Calls of tools within an event: durable before and after, and with something said meanwhile.

::

    once "tool 1"     |begun ····· the tool runs ·····|its output is durable
    speech "says 1"   |      after `says_after_ms`: "One moment. "

On a pod that takes the call over both are begun again under their keys: a tool whose output is durable is not run, one
whose is not is run with the same idempotency key; what was said meanwhile is passed over, and its rest is said.

A caller who interrupts does not undo what is being done. A tool is waited for to its end, unless it only reads, and
then `ToolInterrupted` is raised with what it gave: without it the model would have it done once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from voice_agent.agents.tools.outcome import outcome_of
from voice_agent.kit.call import Call
from voice_agent.kit.speech import SpeechInterrupted
from voice_agent.kit.tools import Tool

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """What a model wants done."""

    tool: Tool
    id: str
    """Of this call of the tool: no other one of the event has it, and it is the same on every pod."""
    arguments: str | Mapping[str, Any]
    """As the model gave them."""


class ToolInterrupted(SpeechInterrupted):
    """The caller interrupted while tools ran. They have been waited for."""

    def __init__(self, outputs: Sequence[str | None]) -> None:
        """`outputs`: as of `run_tools`; None of a tool that only reads and was given up, or that has not begun."""
        super().__init__(outputs)
        self.outputs = outputs


async def run_tool(
    call: Call, tool: Tool, tool_call_id: str, arguments: str | Mapping[str, Any], *, aloud: bool = True
) -> str:
    """As `run_tools`, of one."""
    [output] = await run_tools(call, [ToolRequest(tool, tool_call_id, arguments)], aloud=aloud)
    return output


async def run_tools(call: Call, requests: Sequence[ToolRequest], *, aloud: bool = True) -> list[str]:
    """Run them at the same time; what each of them gave, as JSON text for the model, in their order.

    To be called while nothing is being said. `aloud` False: nothing is said meanwhile, either. What goes wrong within a
    tool is its output, ``{"error": …}``. Raises `ToolInterrupted`, and what `Call.once` raises.
    """
    tasks = [asyncio.create_task(_output(call, each), name=f"tool {each.tool.name}") for each in requests]
    interrupted: SpeechInterrupted | None = None
    try:
        try:
            if aloud:
                await _say_meanwhile(call, requests, tasks)
            await _ended(tasks)
        except SpeechInterrupted as error:
            interrupted = error
            await _to_their_ends(tasks, requests)
    finally:
        for task in tasks:
            if not task.done():
                task.cancel()
            task.add_done_callback(_retrieved)
    # On a pod that takes over what was interrupted, it is a tool that had not begun which raises it.
    raised = [task.exception() for task in tasks if not task.cancelled()]
    interrupted = interrupted or next((each for each in raised if isinstance(each, SpeechInterrupted)), None)
    if interrupted is not None:
        raise ToolInterrupted([_result(task) for task in tasks]) from interrupted
    return [task.result() for task in tasks]


async def _output(call: Call, request: ToolRequest) -> str:
    async def run(idempotency_key: str) -> Any:
        return await outcome_of(request.tool, call, request.arguments, idempotency_key)

    return orjson.dumps(await call.once(f"tool {request.id}", run)).decode()


async def _say_meanwhile(call: Call, requests: Sequence[ToolRequest], tasks: Sequence[asyncio.Task[str]]) -> None:
    """Say what the first of them that has something to say says, once it has taken long. Raises `SpeechInterrupted`.

    The speech is begun before it is known whether it is needed: only so the next pod learns that it was.
    """
    tool = next((each.tool for each in requests if each.tool.says), None)
    if tool is None:
        return
    try:
        async with call.speak(f"says {requests[0].id}") as speech:
            if not speech.said:
                await asyncio.wait(tasks, timeout=tool.says_after_ms / 1000)
            if speech.said or not all(task.done() for task in tasks):
                await speech.text(tool.says)
    except SpeechInterrupted:
        raise
    except Exception:
        # What the tool gives matters more than what was to be said meanwhile.
        log.exception("what a tool says while it runs could not be said", tool=tool.name, call_id=call.caller.id)


async def _to_their_ends(tasks: Sequence[asyncio.Task[str]], requests: Sequence[ToolRequest]) -> None:
    """Wait for those that change something, however often the caller interrupts; give the others up."""
    for task, request in zip(tasks, requests, strict=True):
        if request.tool.read_only:
            task.cancel()
    while not all(task.done() for task in tasks):
        try:
            await _ended(tasks)
        except SpeechInterrupted:
            continue


async def _ended(tasks: Iterable[asyncio.Task[str]]) -> None:
    if pending := [task for task in tasks if not task.done()]:
        await asyncio.wait(pending)


def _result(task: asyncio.Task[str]) -> str | None:
    """None of one that was given up, or has not begun."""
    is_none = task.cancelled() or isinstance(task.exception(), SpeechInterrupted)
    return None if is_none else task.result()


def _retrieved(task: asyncio.Task[str]) -> None:
    if not task.cancelled():
        task.exception()  # Of several that fail, one is raised.
