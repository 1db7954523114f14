"""Giving up a request without cancelling httpx.

httpx, and httpcore below it, lose a connection when their task is cancelled at the wrong turn of the event loop: while
it is given back to the pool, before its first request, or a second time while the first is tidied up after (httpcore
#1093, httpx #3782, and others). What is lost stays open, and counts as busy for ever. A server for calls gives up
requests all day long: a caller speaks, another provider was faster, a pod drains.

So nothing of it is cancelled. Each operation on the network, and each wait for a piece of what is sent, can be ended
from outside with an error, as if the connection had broken: that is what httpcore tidies up after reliably. A request
that its asker cancels runs on in a task of its own until that error has passed through it.
"""

from __future__ import annotations

from collections.abc import Coroutine
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import anyio

T = TypeVar("T")


class GivingUp:
    """Of one request."""

    def __init__(self) -> None:
        self.is_heeded = False
        """A transport runs the request that can be given up: its task is not to be cancelled."""
        self._is_given_up = False
        self._scope: anyio.CancelScope | None = None

    def give_up(self) -> None:
        """End what it waits for, and whatever it would wait for next."""
        self._is_given_up = True
        if self._scope is not None:
            self._scope.cancel()

    async def run(self, work: Coroutine[Any, Any, T], error: type[Exception]) -> T:
        """`work`, which raises `error` once it is given up."""
        if self._is_given_up:
            work.close()
            raise error("given up")
        from anyio import CancelScope

        with CancelScope() as self._scope:
            return await work
        raise error("given up")


REQUEST: ContextVar[GivingUp | None] = ContextVar("REQUEST", default=None)
"""Set by who runs a request in a task that is never cancelled; the transport sees to it for all others."""
