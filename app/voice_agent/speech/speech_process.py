"""A process that hears or speaks, seen from the server: started, asked, killed.

Workers hold nothing but models, so they are always killed and never asked to leave.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

import voice_agent
from voice_agent.errors import VoiceAgentError
from voice_agent.speech.framing import DROP, HEADER

START_LIMIT_S = 30.0

Engines = Mapping[str, Mapping[str, Any]]
"""Engines by name, with the settings that they are loaded with."""


ONE_THREAD = ("OPENBLAS_NUM_THREADS=1", "OMP_NUM_THREADS=1")
"""A worker does one job at a time. With more, numpy's threads wait for each other busily: a sixth of an ear's CPU time,
taken from the other workers."""


class SpeechFailed(VoiceAgentError):
    """A job could not be done; `retry` tells whether a later try may succeed."""

    def __init__(self, message: str, *, retry: bool) -> None:
        super().__init__(message)
        self.retry = retry


class WorkerLost(Exception):
    """The worker's end of the socket is gone, or it does not answer."""


class SpeechProcess:
    """One process and the socket to it."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.jobs_done = 0
        self._process = process
        self._reader = reader
        self._writer = writer
        self._asked: dict[str, Any] | None = None
        """The job that is under way."""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @classmethod
    async def start(cls, engines: Engines) -> SpeechProcess:
        """A worker that has these loaded. Raises `SpeechFailed`."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                # Not in a thread: on Linux the worker dies with the thread that started it.
                process = subprocess.Popen(  # noqa: ASYNC220
                    [
                        "/usr/bin/env",
                        *ONE_THREAD,
                        sys.executable,
                        "-m",
                        "voice_agent.speech.worker",
                        str(theirs.fileno()),
                        str(os.getpid()),
                    ],
                    cwd=Path(voice_agent.__file__).parent.parent,
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                )
        except OSError:
            ours.close()
            raise
        worker = cls(process, *await asyncio.open_connection(sock=ours))
        try:
            answer, _ = await worker.ask({"do": "begin", "engines": engines}, b"", START_LIMIT_S)
        except BaseException as error:
            await worker.kill()
            if isinstance(error, WorkerLost):
                raise SpeechFailed(f"A speech worker cannot start: {error}", retry=True) from error
            raise
        if "error" in answer:
            await worker.kill()
            raise SpeechFailed(f"A speech worker cannot start: {answer['error']}", retry=True)
        return worker

    async def ask(self, head: dict[str, Any], payload: bytes, limit_s: float) -> tuple[dict[str, Any], bytes]:
        """Give it a job and wait for the answer. Raises `WorkerLost`; the worker is of no use after that."""
        self._asked = head
        try:
            async with asyncio.timeout(limit_s):
                self._writer.write(message(head, payload))
                await self._writer.drain()
                head_bytes, payload_bytes = HEADER.unpack(await self._reader.readexactly(HEADER.size))
                answer = orjson.loads(await self._reader.readexactly(head_bytes))
                audio = await self._reader.readexactly(payload_bytes)
        except TimeoutError:
            raise WorkerLost(f"no answer in {limit_s:g} s") from None
        except (OSError, asyncio.IncompleteReadError):
            raise WorkerLost("it died") from None
        finally:
            self._asked = None
        self.jobs_done += 1
        return answer, audio

    def drop(self, head: dict[str, Any]) -> None:
        """The answer to this job is not wanted: if it is under way, it may end before it is done."""
        if self._asked is head:
            self._writer.write(message({"do": DROP}, b""))

    async def kill(self) -> None:
        """End the process at once; safe to call twice."""
        self._process.kill()
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()
        await asyncio.to_thread(self._process.wait)


def message(head: dict[str, Any], payload: bytes) -> bytes:
    """A job, or word of one, as a worker reads it."""
    encoded = orjson.dumps(head)
    return HEADER.pack(len(encoded), len(payload)) + encoded + payload
