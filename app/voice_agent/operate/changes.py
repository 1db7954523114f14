"""What a cutover changes outside: the router's weights, what pods are told of them, and a color's drain."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeVar

from voice_agent.call.drain import DrainMode
from voice_agent.operate.context import Context
from voice_agent.operate.patience import AWAY
from voice_agent.operate.plan import CutoverProgress
from voice_agent.operate.ports import CutoverError, Routing
from voice_agent.stores.base import DrainRequest

T = TypeVar("T")


class Retry(Protocol):
    """Tries again for a while what may pass."""

    async def __call__(self, run: Callable[[], Awaitable[T]]) -> T:
        """See `patience.retry_and_tell`."""


class Changes:
    """Each may be made again, whatever became of the last try."""

    def __init__(self, context: Context, retry: Retry) -> None:
        self._context = context
        self._retry = retry

    async def set_router(self, routing: Routing) -> None:
        """Set it, and tell the pods, so that a drain knows where callers are sent.

        Wherever this is broken off, pods are told of no color that gets nobody: before the change only those are
        named that have callers both before and after it.
        """
        told = await self._retry(self._context.store.weights)
        routed = frozenset() if told is None else told.routed
        kept = {color: weight for color, weight in routing.weights.items() if weight and color in routed}
        if told is None or kept.keys() != routed:
            await self.tell_weights(kept)
        await self._retry(lambda: self._context.router.write(routing))
        await self.tell_weights(routing.weights)

    async def tell_weights(self, weights: Mapping[str, int]) -> None:
        """Tell the pods which colors callers are sent to."""
        context = self._context
        await self._retry(lambda: context.store.tell_weights(weights, context.clock.wall_ms()))

    async def request_drain(self, color: str, progress: CutoverProgress) -> None:
        """Ask a color's pods to hand their calls off."""
        # The same request however often, and on whichever machine, this step is done: it keeps its deadline.
        request = DrainRequest(DrainMode.HANDOFF, progress.options.drain_deadline_s, progress.step_at_ms)
        await self._retry(lambda: self._context.store.request_drain(color, request))

    async def withdraw_request(self, color: str) -> None:
        """A color's pods are to take calls."""
        await self._retry(lambda: self._context.store.request_drain(color, None))

    async def check_request(self, color: str) -> None:
        """Raises `CutoverError` if a color is no longer asked to drain; a store that is away is no answer."""
        try:
            request = await self._context.store.drain_request(color)
        except AWAY:
            return
        if request is None:
            raise CutoverError(f"the drain of {color} was taken back by somebody else, or the store was emptied")
