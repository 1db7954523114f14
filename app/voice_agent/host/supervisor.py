"""The parent of a host's workers: starts them, starts again whichever dies, passes signals on, leaves last.

::

    first worker up? --no--> its exit status
          | yes
    all up --one dies--> started again, later and later if it keeps dying
          |
          | SIGTERM, SIGINT: all drain        (a second one: all leave at once)
          v
    nobody is started again --last one gone--> exit 0
          |
          \\--- DELETE /admin/drain: back to "all up"

It has no event loop and no thread, so forking is safe; a worker starts with all modules
loaded and shares their memory. A worker that is told to leave by itself is replaced.

uvicorn's own supervisor (`uvicorn --workers`) does less: it spawns workers, which share no memory then, gives all one
socket, starts whichever dies again at once, however often, and has no way back from SIGTERM.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

import structlog

from voice_agent.errors import SettingsError, VoiceAgentError
from voice_agent.host.worker_table import HostDrain, WorkerState, WorkerTable
from voice_agent.retry import Delays
from voice_agent.runtime.ports import Clock

WAIT_S = 0.1
FIRST_WAIT_S = 0.01
"""How often the table is looked at, and while the first worker starts."""
RESTARTS = Delays(first_s=0.1, longest_s=10.0)
SOUND_S = 30.0
"""A worker that lived so long is started again without delay."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)
_PR_SET_PDEATHSIG = 1

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _WorkerProcess:
    """The worker of a slot, or where it was."""

    pid: int = 0
    started_s: float = 0.0
    delay_s: float = 0.0
    """Before its last start."""
    due_s: float = 0.0
    """When it may be started again."""


class Supervisor:
    """`run` returns the exit status when the last worker has left."""

    def __init__(self, table: WorkerTable, work: Callable[[int], None], drain: HostDrain, clock: Clock) -> None:
        """`work` is what a worker does in its process, by slot; `drain` is how all leave on a signal."""
        self._table = table
        self._work = work
        self._drain = drain
        self._clock = clock
        self._workers = [_WorkerProcess() for _ in range(table.workers)]
        self._signalled = 0
        self._leaving = False
        self._wakeup, self._waker = socket.socketpair()

    def run(self, on_started: Callable[[], None]) -> int:
        """Start the workers and stay until they are gone; `on_started` is called once the first takes calls."""
        self._waker.setblocking(False)
        self._wakeup.setblocking(False)
        before = {which: signal.signal(which, self._note) for which in SIGNALS}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, _wake)
        was = signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        # Else the collector would write into memory that the workers share.
        gc.collect()
        gc.freeze()
        try:
            status = self._start_first()
            if status is None:
                on_started()
                status = self._supervise()
            return status
        finally:
            signal.set_wakeup_fd(was)
            for which, handler in before.items():
                signal.signal(which, handler)
            self._waker.close()
            self._wakeup.close()

    # --- life ---------------------------------------------------------------------

    def _start_first(self) -> int | None:
        """Start one worker; its exit status if it leaves before it serves: what is wrong is wrong for all."""
        self._start(0)
        while self._table.row(0).status is None:
            self._wait(FIRST_WAIT_S)
            self._pass_signals_on()
            for _, status in self._reap():
                return 0 if self._leaving else status
        self._tell_start(0)
        return None

    def _supervise(self) -> int:
        while True:
            self._pass_signals_on()
            for slot, status in self._reap():
                self._note_end(slot, status)
            if self._leaving and not any(worker.pid for worker in self._workers):
                return 0
            if not self._leaving:
                self._start_due()
            self._wait(WAIT_S)

    def _start_due(self) -> None:
        now_s = self._clock.monotonic_s()
        for slot, worker in enumerate(self._workers):
            if not worker.pid and now_s >= worker.due_s:
                self._start(slot)
                self._tell_start(slot)

    def _tell_start(self, slot: int) -> None:
        log.info("worker started", worker=slot + 1, pid=self._workers[slot].pid)

    def _start(self, slot: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become(slot, parent)
        worker = self._workers[slot]
        worker.pid, worker.started_s = pid, self._clock.monotonic_s()

    def _become(self, slot: int, parent: int) -> NoReturn:
        """From here on this process is a worker."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for which in (*SIGNALS, signal.SIGCHLD):
                signal.signal(which, signal.SIG_DFL)
            # Ctrl-C in a terminal is for the supervisor, which passes it on once.
            os.setpgid(0, 0)
            _leave_with(parent)
            self._waker.close()
            self._wakeup.close()
            self._work(slot)
            status = 0
        except VoiceAgentError as error:
            sys.stderr.write(f"voice-agent: {error}\n")
            status = 2 if isinstance(error, SettingsError) else 1
        except BaseException:
            log.exception("worker crashed")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _note_end(self, slot: int, status: int) -> None:
        worker = self._workers[slot]
        now_s = self._clock.monotonic_s()
        is_sound = status == 0 or now_s - worker.started_s >= SOUND_S
        worker.delay_s = 0.0 if is_sound else RESTARTS.after(worker.delay_s)
        worker.due_s = now_s + worker.delay_s
        if self._leaving:
            return
        if status == 0:
            log.info("worker left and is replaced", worker=slot + 1)
        else:
            log.error("worker lost and started again", worker=slot + 1, status=status, delay_s=round(worker.delay_s, 3))

    def _reap(self) -> list[tuple[int, int]]:
        """The workers that have ended since, by slot, and how: an exit status, or minus the signal's number."""
        ended: list[tuple[int, int]] = []
        for slot, worker in enumerate(self._workers):
            if not worker.pid:
                continue
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                worker.pid = 0
                # The other workers accept what waits for it from now on.
                self._table.write(slot, WorkerState())
                ended.append((slot, os.waitstatus_to_exitcode(status)))
        return ended

    # --- signals ------------------------------------------------------------------

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self._signalled += 1

    def _pass_signals_on(self) -> None:
        if self._leaving and not self._table.is_leaving:
            log.info("the drain was cancelled: workers stay")
            self._leaving = False
        while self._signalled:
            self._signalled -= 1
            # First of all on the table: nobody is to be handed to another worker that leaves as well.
            self._table.set_drain(self._table.drain or self._drain, leaving=True)
            self._leaving = True
            for worker in self._workers:
                if worker.pid:
                    with suppress(ProcessLookupError):
                        os.kill(worker.pid, signal.SIGTERM)

    def _wait(self, seconds: float) -> None:
        """Until a signal comes or a worker ends, at most so long."""
        select.select([self._wakeup], [], [], seconds)
        with suppress(BlockingIOError):
            self._wakeup.recv(4096)


def _wake(signum: int, frame: FrameType | None) -> None:
    """That it came is enough."""


def _leave_with(parent: int) -> None:
    """Be told to leave, as by an operator, when the supervisor is gone however it went (Linux)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)
