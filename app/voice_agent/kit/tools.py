"""What a language model may have done.

A tool has a name, a description, a JSON schema of its arguments, and a way to be run. `voice_agent.tool` makes one of a
Python function, `voice_agent.WebhookTool` one of somebody's URL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from voice_agent.kit.call import Call

TOOL_NAME = r"^[A-Za-z0-9_-]{1,64}$"
"""What providers take as the name of a function."""
MAX_TIMEOUT_S = 25.0
"""An agent that does nothing for 30 s while a reply is due is taken for dead: a tool ends before that."""


class ToolError(Exception):
    """A tool came to nothing. The text is for the model, which may tell the caller: no secrets, no internals."""


@dataclass(kw_only=True)
class Tool:
    """Something a model may have done. One serves all calls of a pod.

    Raises `ValueError` for a name that no provider takes, and for times that cannot be.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any]
    """JSON schema of the arguments: an object."""
    says: str = ""
    """What is said while it runs, if it runs for longer than `says_after_ms`; "" for nothing."""
    says_after_ms: int = 700
    timeout_s: float = 10.0
    """After so long it is given up; at most `MAX_TIMEOUT_S`."""
    read_only: bool = False
    """It changes nothing in the world: when the caller interrupts, it is given up rather than waited for."""

    def __post_init__(self) -> None:
        if not re.fullmatch(TOOL_NAME, self.name):
            raise ValueError(f"{self.name!r:.80} is no name of a tool: 1 to 64 letters, digits, '_' and '-'.")
        if self.parameters.get("type") != "object":
            raise ValueError(f"The parameters of the tool {self.name!r} are no JSON schema of an object.")
        if not 0 < self.timeout_s <= MAX_TIMEOUT_S:
            raise ValueError(f"The tool {self.name!r} may take up to {MAX_TIMEOUT_S:g} s, not {self.timeout_s!r}.")
        if self.says_after_ms < 0:
            raise ValueError(f"The tool {self.name!r} says something after {self.says_after_ms!r} ms, before it runs.")

    async def run(self, call: Call, arguments: Mapping[str, Any], idempotency_key: str) -> Any:
        """Do it; gives what survives JSON. Raises `ToolError` with what the model is to know.

        `arguments` come from a model: anything may stand in them. The key is the same whenever the same call of the
        tool is made again, on whichever pod; its `is_repeat` tells whether it may have been done already.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method run")

    def described(self) -> dict[str, Any]:
        """As the protocol describes a function, in `session.tools`."""
        return {
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": dict(self.parameters),
        }
