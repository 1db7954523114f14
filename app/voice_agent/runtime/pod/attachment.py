"""One connection to one call, from before its upgrade until its task ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import structlog

from voice_agent.call.closing import CloseCode
from voice_agent.call.effects import Attached
from voice_agent.runtime.budget import Holder
from voice_agent.runtime.calls.connection import Connection
from voice_agent.runtime.calls.live_call import LiveCall
from voice_agent.runtime.calls.long_messages import LONG_MESSAGE
from voice_agent.runtime.durability.committer import Committer
from voice_agent.runtime.pod.admission import Admission
from voice_agent.runtime.pod.greeting import Greeter
from voice_agent.runtime.ports import Listener, Observer, Transport

log = structlog.get_logger(__name__)


class Attachment(Listener):
    """Holds a place on the pod. `attach` comes first; after it exactly one of `serve` and `abandon` must be called."""

    def __init__(
        self,
        live: LiveCall,
        connection: Connection,
        *,
        resumed: bool,
        unread: Holder,
        greeter: Greeter,
        committer: Committer,
        admission: Admission,
        observer: Observer,
    ) -> None:
        """`unread` is what messages take of the pod's budget until they are taken; `resumed`: the caller comes back."""
        self._live = live
        self._connection = connection
        self._resumed = resumed
        self._unread = unread
        self._greeter = greeter
        self._committer = committer
        self._admission = admission
        self._observer = observer
        self._attached: Attached | None = None
        """Since `attach`: from where the call goes on over this connection."""
        self._slices: Iterator[None] | None = None
        """What is left to do of the message that is being taken."""

    def attach(self, last_event: int | None) -> None:
        """Give the call to the connection, from behind the event that the client saw last; None: from now on."""
        self._attached = self._live.attach(self._connection, last_event)

    @property
    def call_id(self) -> str:
        """The call's id, for the response headers."""
        return self._live.call.call_id

    async def serve(self, transport: Transport) -> None:
        """Greet, replay, and carry messages both ways until the connection is over."""
        live, connection, attached = self._live, self._connection, self._attached
        assert attached is not None, "serve before attach"
        sender: asyncio.Task[None] | None = None
        code: int = CloseCode.ABNORMAL_CLOSURE
        try:
            hello = self._greeter.greet(live.call, attached, resumed=self._resumed)
            sender = asyncio.create_task(connection.run(transport, hello))
            code = await transport.deliver(self)
        except Exception:
            # The root of the connection: a fault of ours must not take the call along. It is parked.
            log.exception("connection failed", call_id=live.call.call_id)
            await transport.close(CloseCode.INTERNAL_ERROR, "internal error: reconnect")
        finally:
            try:
                if sender is not None:
                    sender.cancel()
                    await asyncio.gather(sender, return_exceptions=True)
            finally:
                # A hang-up is one also if this side has decided to close meanwhile: it was sent before the caller knew.
                await self._leave(hung_up=code == CloseCode.NORMAL_CLOSURE)

    def take(self, message: str | bytes) -> bool:
        """One message of the caller; False while the call waits for the store, or is being handed off.

        Also while there is more to do of a long message, which is to be offered again until it is taken.
        """
        live, connection = self._live, self._connection
        if connection.closing is None:
            if connection.reading_paused or (live.call.unsaved_bytes and live.writer.is_backlogged):
                return False
            live.activity.has_sent = True
            if len(message) > LONG_MESSAGE or live.memory.is_over_budget:
                return self._take_slice(message)
            live.receive(message)
        return True

    def _take_slice(self, message: str | bytes) -> bool:
        if self._slices is None:
            self._slices = self._live.receive_in_slices(message)
        for _ in self._slices:
            return False
        self._slices = None
        return True

    async def ready(self) -> None:
        """Wait until `take` may say yes, or go on with a long message."""
        await self._connection.reading()
        await self._live.writer.wait_for_capacity()
        if self._slices is not None:
            await asyncio.sleep(0)

    def reserve(self, size_bytes: int) -> str | None:
        """Charge what waits to be read to the pod's budget."""
        if self._unread.resize(size_bytes):
            return None
        budget = self._unread.budget
        self.limit_reached("incomplete_messages")
        return (
            f"incomplete_messages: no room, of {budget.limit_bytes} bytes for all and {budget.key_bytes} for a key: "
            "try again"
        )

    def limit_reached(self, limit: str) -> None:
        """Count it."""
        self._observer.limit_reached(limit)

    async def abandon(self) -> None:
        """The upgrade failed: park the call."""
        await self._leave(hung_up=False)

    async def _leave(self, *, hung_up: bool) -> None:
        closing = self._connection.closing
        planned = closing is not None and closing[0] == CloseCode.SERVICE_RESTART
        try:
            self._live.detach(self._connection, hung_up=hung_up, planned=planned)
            await self._committer.flush(self._live.writer)
        finally:
            self._unread.release()
            self._admission.give_back()
