"""Counts the requests to providers that are made in the tasks of a call (see `kit.usage`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from voice_agent.call.inputs import (
    Input,
    UsageAttributed,
    UsageBegun,
    UsageKnown,
    UsageUnknown,
    UsageWithdrawn,
)
from voice_agent.call.record import CallRecord
from voice_agent.call.usage import Figures
from voice_agent.runtime.durability.call_writer import FENCED, CallWriter


class CallMeter:
    """`kit.usage.Meter` of one call. It changes nothing of the call but by `feed`."""

    def __init__(
        self, call: CallRecord, feed: Callable[[Input], None], writer: CallWriter, *, of_responses: bool = True
    ) -> None:
        """`of_responses`: a request is made for the response that is open when it begins."""
        self._call = call
        self._feed = feed
        self._writer = writer
        self._of_responses = of_responses

    async def begin(self, request_id: str, provider: str, model: str) -> None:
        """See `kit.usage.Meter`."""
        response = self._call.response if self._of_responses else None
        self._feed(UsageBegun(request_id, provider, model, None if response is None else response.response_id))
        try:
            await self._writer.wait_durable()
        except BaseException:
            self._feed(UsageWithdrawn(request_id))
            raise
        if self._writer.state is FENCED:
            raise asyncio.CancelledError

    def end(self, request_id: str, figures: Figures) -> None:
        """See `kit.usage.Meter`."""
        self._feed(UsageKnown(request_id, dict(figures)) if figures else UsageUnknown(request_id))

    def attribute(self, request_id: str, response_id: str) -> None:
        """See `kit.usage.Meter`."""
        self._feed(UsageAttributed(request_id, response_id))

    def without_responses(self) -> CallMeter:
        """See `kit.usage.Meter`."""
        return CallMeter(self._call, self._feed, self._writer, of_responses=False)
