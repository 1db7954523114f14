"""Log lines on their way out: written by a thread of their own, because their reader may stop reading.

A pipe that is not read is full after 64 KiB, and then a write waits. So a line is only put into a queue here; when
that is full, lines are dropped and counted, and the first line after that says how many.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import queue
import select
import threading
from typing import TextIO

MAX_LINES = 4_096
"""Lines that wait for a reader; at a kilobyte each some MiB."""
MAX_LINE_CHARS = 64 * 1024
"""A longer line is cut: the queue is bounded in bytes, too."""
FLUSH_S = 1.0
"""How long the end of the process waits for a reader."""


class ReadyLines(logging.StreamHandler[TextIO]):
    """Writes at once if the pipe takes it, else drops the line: for a process that forks, and must have no thread."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write, in a piece that a pipe with room takes without waiting (PIPE_BUF, POSIX)."""
        try:
            line = (self.format(record) + "\n").encode(errors="backslashreplace")
            if select.select([], [self.stream], [], 0)[1]:
                os.write(self.stream.fileno(), line[: select.PIPE_BUF])
        except (OSError, ValueError):
            return  # The reader has gone, or the stream was closed.


class QueuedLines(logging.handlers.QueueHandler):
    """Formats a record where it is logged, and leaves the writing to a thread. Never waits, but in `close`."""

    def __init__(self, stream: TextIO, *, max_lines: int = MAX_LINES) -> None:
        self.dropped = 0
        """Lines that were dropped, since the start."""
        self._lines: queue.Queue[str | None] = queue.Queue(max_lines)
        super().__init__(self._lines)
        self._stream = stream
        self._told = 0
        self._thread = threading.Thread(target=self._write_all, name="logs", daemon=True)
        self._thread.start()

    def prepare(self, record: logging.LogRecord) -> str:
        """The line."""
        line = self.format(record)
        return line if len(line) <= MAX_LINE_CHARS else line[:MAX_LINE_CHARS] + "…"

    def enqueue(self, record: object) -> None:
        """Queue a line, or drop it."""
        assert isinstance(record, str)  # what `prepare` made
        try:
            self._lines.put_nowait(record)
        except queue.Full:
            self.dropped += 1

    def flush(self) -> None:
        """Wait up to `FLUSH_S` until what is queued has been written."""
        with self._lines.all_tasks_done:
            self._lines.all_tasks_done.wait_for(lambda: not self._lines.unfinished_tasks, FLUSH_S)

    def close(self) -> None:
        """Write what is queued, as far as the pipe takes it."""
        self.flush()
        try:
            self._lines.put_nowait(None)
        except queue.Full:
            pass  # The thread hangs in a write, and ends with the process.
        else:
            self._thread.join(FLUSH_S)
        super().close()

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._write(line + "\n")
                if self._lines.empty() and (dropped := self.dropped) != self._told:
                    self._told = dropped
                    logging.getLogger(__name__).warning("log lines were dropped, the log was not read: %d", dropped)
            except (OSError, ValueError):
                self.dropped += 1  # The reader has gone, or the stream was closed.
            finally:
                self._lines.task_done()

    def _write(self, text: str) -> None:
        try:
            descriptor = self._stream.fileno()
        except (OSError, ValueError):  # A stream in memory.
            self._stream.write(text)
            return
        # Past the stream's own buffer: its lock, held by a write that hangs, would stop the end of the process.
        rest = memoryview(text.encode(errors="backslashreplace"))
        while rest:
            rest = rest[os.write(descriptor, rest) :]
