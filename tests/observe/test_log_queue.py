"""A log that nobody reads."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.waiting import PATIENCE_S
from voice_agent.observe.log_queue import MAX_LINE_CHARS, QueuedLines, ReadyLines


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):  # The test closed it.
            os.close(end)


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("test", logging.INFO, __file__, 1, text, (), None)


def test_whoever_logs_never_waits_for_the_reader(pipe: tuple[int, int]) -> None:
    """A full pipe costs log lines, which are counted, and nothing else; read again, the count is told."""
    reading, writing = pipe
    with os.fdopen(writing, "w", closefd=False) as stream:
        handler = QueuedLines(stream, max_lines=8)
        logger = logging.getLogger("voice_agent.observe.log_queue")
        logger.addHandler(handler)
        try:
            for number in range(1000):
                handler.handle(record(f"{number:04} {'x' * 1000}"))
            assert handler.dropped >= 1000 - 8 - 70  # A pipe holds 64 KiB.
            read = b""
            while b"were dropped" not in read:
                read += os.read(reading, 65536)
            assert b"0000 x" in read
        finally:
            logger.removeHandler(handler)
            handler.close()


def test_a_long_line_is_cut(pipe: tuple[int, int]) -> None:
    """The queue is bounded in bytes, not only in lines."""
    _, writing = pipe
    with os.fdopen(writing, "w", closefd=False) as stream:
        handler = QueuedLines(stream)
        assert len(handler.prepare(record("x" * 10 * MAX_LINE_CHARS))) == MAX_LINE_CHARS + 1
        handler.close()


def test_a_reader_that_has_gone_is_no_error(pipe: tuple[int, int]) -> None:
    """`serve | head` goes on serving."""
    reading, writing = pipe
    os.close(reading)
    with os.fdopen(writing, "w", closefd=False) as stream:
        handler = QueuedLines(stream)
        handler.handle(record("one"))
        handler.flush()
        assert handler.dropped == 1
        handler.close()


def test_a_process_that_forks_drops_what_nobody_reads(pipe: tuple[int, int]) -> None:
    """It has no thread that could wait in its place."""
    reading, writing = pipe
    with os.fdopen(writing, "w", closefd=False) as stream:
        handler = ReadyLines(stream)
        for number in range(1000):
            handler.handle(record(f"{number:04} {'x' * 1000}"))
        assert os.read(reading, 4) == b"0000"


def test_a_process_whose_log_is_not_read_can_end() -> None:
    """The thread that hangs in a write holds nothing that the end of the process needs."""
    program = (
        "import logging, sys; from voice_agent.observe.log_queue import QueuedLines\n"
        "logging.getLogger().addHandler(QueuedLines(sys.stderr))\n"
        "[logging.getLogger().warning('x' * 1000) for _ in range(1000)]\n"
        "print('logged', flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"logged\n"
        try:
            assert child.wait(PATIENCE_S) == 0
        finally:
            child.send_signal(signal.SIGKILL)
