"""The sessions of one call: at most one in use, and the next one while that is being opened.

::

    (none) ── open ──> in use ── renew_at ──> in use, the next one opening or ready ── a pause, or leave_at ──> in use
                         │                                                                                    (the next)
                         └── lost ──> (none), the next one opening

A session is made before the one in front of it is left, and left where nobody speaks. One that is lost is followed at
once; without an upstream it is tried again after a pause that grows.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from voice_agent.agents.relay.dialing import NoUpstream, UpstreamDialer
from voice_agent.agents.relay.renewal import SessionTimes
from voice_agent.agents.relay.requests import UpstreamSettings
from voice_agent.agents.relay.session import UpstreamSession
from voice_agent.agents.relay.upstream_reply import UpstreamLost

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
"""Between two tries to open a session that nobody waits for."""
STEADY_S = 10.0
"""An upstream that closes a session sooner has failed: it is not asked for another one without a pause."""
RESTORE_S = 10.0
"""So long it may take to give a new session the conversation."""
OPENING = "relay opens a session"
"""The name of a task."""


class UpstreamSessions:
    """One call's."""

    def __init__(
        self,
        dialer: UpstreamDialer,
        settings: Callable[[], UpstreamSettings],
        prepare: Callable[[UpstreamSession], Awaitable[None]],
    ) -> None:
        """`settings`: of sessions that are opened now. `prepare`: gives a new session what is known of the call."""
        self.is_busy = False
        """Somebody speaks: what is used is not left without need."""
        self.renewals = 0
        self._dialer = dialer
        self._settings = settings
        self._prepare = prepare
        self._current: tuple[UpstreamSession, SessionTimes] | None = None
        self._opening: asyncio.Task[tuple[UpstreamSession, SessionTimes]] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failures = 0
        """Sessions that could not be opened, or were lost soon, one after the other."""
        self._opened_at = float("-inf")
        self._lost = ""
        """The upstream that was lost last; it is asked last."""
        self._is_over = False

    def start(self) -> None:
        """Have one opened."""
        if self._current is None and self._opening is None and not self._is_over:
            self._open()

    async def get(self) -> UpstreamSession:
        """The session to use now, which is opened if there is none. Raises `NoUpstream`."""
        self._settle(at_need=True)
        while self._current is None or self._current[0].lost is not None:
            if self._opening is None:
                self._open()
            assert self._opening is not None
            await asyncio.shield(self._opening)
            self._settle(at_need=True)
        return self._current[0]

    @property
    def using(self) -> UpstreamSession | None:
        """The session in use; None while there is none."""
        return self._current[0] if self._current is not None and self._current[0].lost is None else None

    def is_ending(self, session: UpstreamSession) -> bool:
        """Whether a reply is to go on in another session than this one, which is ready."""
        if self._current is None or self._current[0] is not session:
            return True
        return asyncio.get_running_loop().time() >= self._current[1].leave_at and self._next is not None

    def pause(self) -> None:
        """Nobody speaks: what is about to end can be left."""
        self.is_busy = False
        self._settle()

    def close(self) -> None:
        """Have all of them closed; `UpstreamDialer.close` waits for that."""
        self._is_over = True
        self._stop_timer()
        if self._opening is not None:
            self._opening.cancel()
            self._opening.add_done_callback(self._close_opened)
        if self._current is not None:
            self._dialer.close_later(self._current[0])
        self._current = self._opening = None

    # --- opening ----------------------------------------------------------------

    @property
    def _next(self) -> tuple[UpstreamSession, SessionTimes] | None:
        """One that is ready to be used."""
        opening = self._opening
        if opening is None or not opening.done() or opening.cancelled() or opening.exception() is not None:
            return None
        return opening.result()

    def _open(self) -> None:
        self._stop_timer()
        self._opening = asyncio.create_task(self._opened(), name=OPENING)
        self._opening.add_done_callback(self._was_opened)

    async def _opened(self) -> tuple[UpstreamSession, SessionTimes]:
        session, times = await self._dialer.open(self._settings(), self._lost)
        session.on_lost = self._was_lost
        try:
            async with asyncio.timeout(RESTORE_S):
                await self._prepare(session)
        except (UpstreamLost, TimeoutError) as error:
            self._dialer.close_later(session)
            lost = session.lose("it takes no items")
            self._dialer.failed(lost)
            raise NoUpstream([str(lost)]) from error
        except BaseException:
            self._dialer.close_later(session)
            raise
        return session, times

    def _was_opened(self, task: asyncio.Task[tuple[UpstreamSession, SessionTimes]]) -> None:
        if task.cancelled() or self._is_over or task is not self._opening:
            return
        if task.exception() is None:
            self._opened_at = asyncio.get_running_loop().time()
            self._settle()
            return
        self._opening = None
        self._open_later()

    def _open_later(self) -> None:
        """Open one after a pause, unless somebody needs it before; calls whose upstream died keep no step."""
        self._failures += 1
        pause_s = min(FIRST_PAUSE_S * 2 ** (self._failures - 1), LONGEST_PAUSE_S)
        self._call_later(random.uniform(pause_s / 2, pause_s))  # noqa: S311 - spreads tries; no secret

    def _close_opened(self, task: asyncio.Task[tuple[UpstreamSession, SessionTimes]]) -> None:
        if not task.cancelled() and task.exception() is None:
            self._dialer.close_later(task.result()[0])

    # --- one after the other ----------------------------------------------------

    def _was_lost(self) -> None:
        """One of them is gone: the one in use is followed, the next one is opened again."""
        if self._is_over:
            return
        if self._next is not None and self._next[0].lost is not None:
            self._dialer.close_later(self._next[0])
            self._opening = None
        if self._current is not None and self._current[0].lost is not None:
            self._lost = self._current[0].endpoint.name
            self._leave()
        if self._opening is not None:
            return
        if asyncio.get_running_loop().time() - self._opened_at >= STEADY_S:
            self._failures = 0
        if self._failures:
            self._open_later()
        else:
            self._failures = 1
            self._open()

    def _leave(self) -> None:
        if self._current is not None:
            self._dialer.close_later(self._current[0])
            self._current = None

    def _settle(self, *, at_need: bool = False) -> None:
        """Take the next one if it is ready, and the one in use is gone or can be left; `at_need`: it can."""
        if self._current is not None and self._current[0].lost is not None:
            self._leave()
        if (ready := self._next) is None or self._is_over:
            return
        if self._current is None or not self.is_busy or at_need:
            self.renewals += self._current is not None
            self._leave()
            self._current, self._opening = ready, None
            self._await_renewal()

    def _await_renewal(self) -> None:
        if self._current is not None:
            self._call_later(self._current[1].renew_at - asyncio.get_running_loop().time())

    def _call_later(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, seconds), self._timed)

    def _timed(self) -> None:
        self._timer = None
        if self._opening is None and not self._is_over:
            self._open()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
