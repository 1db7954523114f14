"""Callers behind edges who come back by themselves, over whichever edge takes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.simulation.caller import Caller
from tests.simulation.edge import CallerLink, SimEdge
from tests.simulation.network import Connection


class EdgeLine:
    """A caller's connection to an edge, as `Caller` has one to a pod."""

    def __init__(self, link: CallerLink, edge: str) -> None:
        self.pod = edge
        self.call_id = ""
        self.is_chosen = True
        self.caller_left = False
        self.down = self
        self._link = link

    def when_resumed(self, wake: Callable[[], None]) -> None:
        """What is called when the edge goes on at another pod, of which it tells its caller nothing."""
        self._link.on_resumed = wake

    def tell(self, message: str | bytes) -> None:
        """See `Connection`."""
        self._link.tell(message)

    def press(self, digit: str) -> None:
        """See `Connection`."""
        if self._link.connection is not None:
            self._link.connection.press(digit)

    async def get(self) -> str | int:
        """See `Lane`. A close is answered."""
        message = await self._link.next()
        if isinstance(message, int):
            self._link.up.put(message, last=True)
        return message

    def leave(self, code: int) -> None:
        """See `Connection`."""
        if code == 1006:
            self.broke()
        else:
            self._link.up.put(code, last=True)

    def broke(self, after_s: float = 0.0, noticed_s: float = 0.0) -> None:
        """See `Connection`. The edge learns of it after `noticed_s` only."""
        self._link.up.cut(1006, noticed_s)
        self._link.down.cut(1006, after_s)


class EdgePhone:
    """`caller.Phone` of a caller that has edges to choose from."""

    def __init__(self, name: str, choose: Callable[[], SimEdge]) -> None:
        self._name = name
        self._choose = choose
        self._chosen: SimEdge

    def pick(self) -> str:
        """See `Phone`."""
        self._chosen = self._choose()
        return self._chosen.name

    async def connect(self, pod: str, query: dict[str, Any], *, is_chosen: bool) -> Connection:
        """See `Phone`."""
        line: Any = EdgeLine(await self._chosen.accept(self._name, query, comes_back=True), pod)
        connection: Connection = line
        return connection


class EdgeCaller(Caller):
    """It does not race against itself: an edge holds on to the loser as well, and would take the call back."""

    async def _connect(self, query: dict[str, Any], *, is_chosen: bool = True) -> tuple[Connection, dict[str, Any]]:
        connection, info = await super()._connect(query, is_chosen=is_chosen)
        if isinstance(connection, EdgeLine):
            connection.when_resumed(self._changed.set)  # The call may have been forgotten with the pod before.
        return connection, info

    async def _race(self, query: dict[str, Any]) -> tuple[Connection, dict[str, Any]]:
        return await self._connect(query)

    def move(self) -> None:
        """The connection is lost, and its edge takes its time to notice."""
        if isinstance(self.connection, EdgeLine):
            self.connection.broke(noticed_s=self._random.choice((0.0, 0.1, 1.0, 10.0)) * self._random.random())
