"""The tools of an agent by name, and beside the client's functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog

from voice_agent.kit.tools import Tool

log = structlog.get_logger(__name__)


class Toolbox:
    """Raises `ValueError` for two tools of one name: a model could not tell them apart."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._tools: dict[str, Tool] = {}
        self._is_told = False
        """Once: a client could fill the log."""
        for each in tools:
            if each.name in self._tools:
                raise ValueError(f"Two tools are called {each.name!r}.")
            self._tools[each.name] = each

    def get(self, name: str) -> Tool | None:
        """The server's tool of this name; None: it is the client's, or nobody's."""
        return self._tools.get(name)

    def offered(self, client_tools: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """What a model is offered, as the protocol describes functions: the server's, then the client's.

        A client's function that is called as one of the server's is left out: no client can put itself in between.
        """
        clients = [each for each in client_tools if each.get("name") not in self._tools]
        if len(clients) < len(client_tools):
            log.warning(
                "functions of a client are called as tools of the server", count=len(client_tools) - len(clients)
            )
        return [*(each.described() for each in self._tools.values()), *clients]
