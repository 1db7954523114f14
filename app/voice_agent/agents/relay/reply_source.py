"""Has upstreams make one reply: whichever of them speaks, what comes is one reply in order.

A task of its own, beside the handler that gives the pieces to the call. It leaves a session that is about to end where
a piece ends, and follows one that is lost::

    session 1   |We are open |from nine. |Come|           lost in the middle of "Come"
    session 2                             |Come by. |     goes on behind what was said
    the call    |We are open |from nine. |Come by. |

What has come is said while the next session is opened, so the caller notices nothing if the upstream was ahead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import get_args

import structlog

from voice_agent.agents.relay.dialing import NoUpstream
from voice_agent.agents.relay.pieces import Given, PieceQueue
from voice_agent.agents.relay.requests import ResponseWanted
from voice_agent.agents.relay.session import UpstreamSession
from voice_agent.agents.relay.upstream_events import (
    AudioDelta,
    AudioEnded,
    FunctionCalled,
    ItemBegun,
    ResponseCreated,
    ResponseDone,
    TextDelta,
    UpstreamError,
)
from voice_agent.agents.relay.upstream_reply import UpstreamLost, UpstreamReply
from voice_agent.kit.call import IncompleteReason

ACCEPTED_S = 3.0
"""Until an upstream says that it begins with a response."""
FIRST_S = 10.0
"""Until the first of what it says: a model may think."""
STALL_S = 3.0
"""Without more of what it says, once all that came has been given: events that say nothing are no progress."""
MAX_WAITING_BYTES = 2 * 1024 * 1024
"""Of what came and was not given: 40 s of PCM ahead. Then the upstream has to wait."""
MOST_IN_VAIN = 4
"""So many sessions in a row may be lost with nothing new said, before the reply is given up."""
PAUSES_S = (0.0, 0.1, 0.5, 1.0)
"""Before each of them is followed."""
MAX_CALLS = 32
"""Functions that one response may call."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class ReplyEnd:
    """How a reply ended."""

    calls: list[FunctionCalled] = field(default_factory=list)
    error: Exception | None = None
    incomplete: IncompleteReason | None = None
    """Why it is not all that there was to say."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The upstream was lost in the middle of what was given last: of that, what was not said is to be forgotten."""


class ReplySource:
    """One reply's."""

    def __init__(
        self,
        queue: PieceQueue,
        wanted: ResponseWanted,
        said: str,
        begin: Callable[[str], Awaitable[UpstreamSession]],
        is_ending: Callable[[UpstreamSession], bool],
        failed: Callable[[UpstreamLost], None],
    ) -> None:
        """`said`: what was said of it by another pod.

        `begin` gives a session whose conversation is that before the reply, and what has been said of it.
        """
        self._queue = queue
        self._wanted = wanted
        self._said = said
        self._begin = begin
        self._is_ending = is_ending
        self._failed = failed
        self._session: UpstreamSession | None = None
        self._reply: UpstreamReply | None = None
        self._end: ReplyEnd | None = None
        self._cut: asyncio.Future[str] | None = None
        self._changed = asyncio.Event()
        self._given = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="relay reply")

    # --- the handler's side -----------------------------------------------------

    async def next(self) -> Given | Cut | ReplyEnd:
        """What is to be done next. `ReplyEnd` comes last, and `Cut` is answered with `cut`."""
        while True:
            self._changed.clear()
            if (given := self._queue.take()) is not None:
                self._given.set()
                return given
            if self._cut is not None and not self._cut.done():
                return Cut()
            if self._end is not None:
                return self._end
            await self._changed.wait()

    def cut(self, said: str) -> None:
        """What was not said is forgotten; this is what the reply has said."""
        if self._cut is not None and not self._cut.done():
            self._cut.set_result(said)

    def stop(self) -> None:
        """It is not wanted any more; the upstream is told so, where it has not ended."""
        self._task.cancel()
        if self._session is not None and self._reply is not None:
            self._session.cancel(self._reply)

    # --- the upstreams' side ----------------------------------------------------

    async def _run(self) -> None:
        try:
            self._end = await self._made()
        except Exception as error:  # noqa: BLE001 the handler raises it
            self._end = ReplyEnd(error=error)
        self._changed.set()

    async def _made(self) -> ReplyEnd:
        said, in_vain = self._said, 0
        while True:
            self._session = self._reply = None
            self._queue.begin(said, is_exact=False)
            try:
                session = self._session = await self._begin(said)
                self._queue.begin(said, is_exact=session.is_exact)
                reply = self._reply = await session.respond(self._wanted, said)
                end = await self._heard(session, reply)
            except (UpstreamLost, NoUpstream) as lost:
                if isinstance(lost, UpstreamLost):
                    log.warning("an upstream was lost in a reply", upstream=lost.upstream, why=lost.why)
                    self._failed(lost)
                before, said = said, await self._left()
                in_vain = 0 if said != before else in_vain + 1
                if in_vain >= MOST_IN_VAIN:
                    raise
                await asyncio.sleep(PAUSES_S[in_vain])
            else:
                if end is not None:
                    return end
                said, in_vain = self._queue.given_text, 0

    async def _heard(self, session: UpstreamSession, reply: UpstreamReply) -> ReplyEnd | None:
        """Take what comes of it; None: the session is to be left, at the end of a piece. Raises `UpstreamLost`."""
        calls: list[FunctionCalled] = []
        patience_s, until_s = ACCEPTED_S, self._until_s(ACCEPTED_S)
        while True:
            try:
                event = await reply.next(until_s - asyncio.get_running_loop().time())
            except TimeoutError as error:
                raise session.lose("it does not go on") from error
            goes_on = True
            match event:
                case ResponseCreated():
                    patience_s = FIRST_S
                case TextDelta(text=text) if text:
                    patience_s = STALL_S
                    self._queue.add_text(text)
                case AudioDelta(audio=audio) if audio:
                    patience_s = STALL_S
                    self._queue.add_audio(audio)
                case AudioEnded() if not self._queue.is_at_boundary:
                    self._queue.end_piece()
                case ItemBegun():
                    pass
                case FunctionCalled() if len(calls) < MAX_CALLS:
                    calls.append(event)
                case ResponseDone(status=status, reason=reason):
                    if status in ("failed", "cancelled"):  # Nobody here has cancelled it.
                        raise session.lose(f"its response {status}: {reason}")
                    self._queue.end()
                    return ReplyEnd(calls, incomplete=_incomplete(status, reason))
                case UpstreamError(code=code):
                    raise session.lose(f"it refused to respond: {code}")
                case _:
                    goes_on = False
            self._changed.set()
            if not calls and self._queue.is_at_boundary and self._is_ending(session):
                session.cancel(reply)
                return None
            await self._wait_given(session)
            if goes_on:
                until_s = self._until_s(patience_s)

    async def _left(self) -> str:
        """What the reply has said, once the session is lost that said it."""
        if not self._queue.lose():
            return self._queue.given_text
        self._cut = asyncio.get_running_loop().create_future()
        self._changed.set()
        try:
            return await self._cut
        finally:
            self._cut = None

    def _until_s(self, patience_s: float) -> float:
        """When an upstream that says nothing more has stalled: what it has said by now is heard first."""
        ahead_s = 0.0 if self._queue.is_empty else self._queue.waiting_ms / 1000 + STALL_S
        return asyncio.get_running_loop().time() + max(patience_s, ahead_s)

    async def _wait_given(self, session: UpstreamSession) -> None:
        while self._queue.held_bytes > MAX_WAITING_BYTES:
            if self._queue.is_stuck:
                raise session.lose("it says again what was said, without end")
            self._given.clear()
            await self._given.wait()


def _incomplete(status: str, reason: str) -> IncompleteReason | None:
    return next((known for known in get_args(IncompleteReason) if status == "incomplete" and reason == known), None)
