"""Handing a call's connection off: closed with 1012, the client comes back on another pod and goes on there."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol

from voice_agent.call import machine
from voice_agent.call.closing import CloseCode, moved_to
from voice_agent.call.inputs import HandoffPlanned, Input
from voice_agent.call.record import CallRecord
from voice_agent.call.status import Status
from voice_agent.runtime.calls.connection import Connection
from voice_agent.runtime.calls.listening import Listening
from voice_agent.runtime.durability.committer import Committer
from voice_agent.runtime.durability.writing import Writer

LAST_FLUSH_S = 0.5
"""How long a handoff that is forced waits for the store."""


class MovableCall(Protocol):
    """A live call, as far as this needs it."""

    call: CallRecord
    connection: Connection | None
    listening: Listening

    @property
    def writer(self) -> Writer:
        """Under which the committer knows the call."""

    def feed(self, event: Input) -> None:
        """Let something happen to the call."""


async def hand_off(live: MovableCall, committer: Committer, *, force: bool, to: str) -> bool:
    """Write the call, then close its connection with 1012. Returns whether this has closed it.

    It is not closed while the store lacks something of the call, for then another pod would know less than this one;
    with `force`, at the deadline of a drain, it is closed all the same. Without a connection nothing happens, nor to
    that of a call that has ended: it is closed once it has carried the last events, which no other pod would send.
    `to`: the address of the pod that is to go on, for a client that is `directed`.
    """
    connection = live.connection
    if connection is None or _has_ended(live):
        return False
    try:
        with suppress(TimeoutError):
            # Past its deadline a drain waits for nothing, not even for a store that hangs.
            async with asyncio.timeout(LAST_FLUSH_S if force else None):
                await _save(live, committer, connection)
        is_movable = connection.closing is None and not _has_ended(live)
        closes = is_movable and (force or not committer.lacks(live.writer))
        if closes:
            connection.close(CloseCode.SERVICE_RESTART, moved_to(to))
        return closes
    finally:
        connection.resume_reading()


def _has_ended(live: MovableCall) -> bool:
    return live.call.lifecycle.status is Status.ENDED


async def _save(live: MovableCall, committer: Committer, connection: Connection) -> None:
    live.feed(HandoffPlanned())
    await committer.flush(live.writer)
    live.listening.held.give()
    if live.connection is connection and (committer.has_pending(live.writer) or not machine.is_saved(live.call)):
        # The client spoke on while that was written; what comes from now on is sent again to the next owner.
        connection.pause_reading()
        live.feed(HandoffPlanned())
        await committer.flush(live.writer)
