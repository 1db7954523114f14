"""The server's own tools in one relayed call: offered to the upstream beside the client's functions, run, remembered.

What they gave stands in no item of the client's. It is kept in the call's state: without it the next session of an
upstream would not know what was done, and might have it done again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from voice_agent.agents.tools.running import ToolInterrupted, ToolRequest, run_tools
from voice_agent.kit.call import Call, Item
from voice_agent.kit.tools import Tool

KEY = "relay_tools"
"""In `Call.state`."""
MAX_REMEMBERED_BYTES = 24 * 1024
"""As JSON, the newest; the state has 64 KiB for all that an agent remembers."""

Remembered = list[list[Any]]
"""Of each round: our id of the item that was answered, and what was called, as items."""


class RelayTools:
    """One call's."""

    def __init__(self, call: Call, by_name: Mapping[str, Tool], *, speaks: bool) -> None:
        """`speaks`: there is a voice that says what tools say while they run."""
        self.by_name = by_name
        self._call = call
        self.speaks = speaks
        self._remembered: Remembered = []

    def recall(self) -> None:
        """An event is handled: what is remembered is in the state."""
        self._remembered = list(self._call.state.get(KEY, ()))

    def offered(self, functions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """What a model may have run: of two that are called alike, the server's own."""
        return [
            *(tool.described() for tool in self.by_name.values()),
            *(one for one in functions if one.get("name") not in self.by_name),
        ]

    async def run(self, number: int, calls: Sequence[Mapping[str, str]], behind: str) -> list[Item]:
        """Run what was called in a round; what it gave, as items, which are remembered behind this item of ours."""
        requests = [
            ToolRequest(self.by_name[one["name"]], f"{number}.{at}", one["arguments"]) for at, one in enumerate(calls)
        ]
        try:
            outputs: Sequence[str | None] = await run_tools(self._call, requests, aloud=self.speaks)
        except ToolInterrupted as interrupted:
            self._remember(behind, _as_items(calls, interrupted.outputs))
            raise
        done = _as_items(calls, outputs)
        self._remember(behind, done)
        return done

    def beside(self, items: Sequence[Item]) -> Sequence[Item]:
        """The conversation, with what is remembered in its place."""
        by_id: dict[str, list[Item]] = {}
        for behind, called in self._remembered:
            by_id.setdefault(str(behind), []).extend(called)
        return list(_both(items, by_id)) if by_id else items

    def _remember(self, behind: str, items: Sequence[Item]) -> None:
        kept: Remembered = [*self._call.state.get(KEY, ()), [behind, [dict(item) for item in items]]]
        while kept and len(orjson.dumps(kept)) > MAX_REMEMBERED_BYTES:
            del kept[0]
        self._call.state[KEY] = kept


def _both(items: Sequence[Item], by_id: Mapping[str, Sequence[Item]]) -> Iterator[Item]:
    for item in items:
        yield item
        yield from by_id.get(str(item.get("id")), ())


def _as_items(calls: Sequence[Mapping[str, str]], outputs: Sequence[str | None]) -> list[Item]:
    """What was called and is known to have given something."""
    found: list[Item] = []
    for one, output in zip(calls, outputs, strict=True):
        if output is not None:
            called = {"type": "function_call", "call_id": one["id"], "name": one["name"]}
            found.append({**called, "arguments": one["arguments"]})
            found.append({"type": "function_call_output", "call_id": one["id"], "output": output})
    return found
