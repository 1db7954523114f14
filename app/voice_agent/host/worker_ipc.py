"""Questions between the workers of a host, over unix sockets in a directory only this user may open.

A question is a line of JSON, ``{"ask": <what>, …}``; the answer is all that comes back
until the end of the connection. Another worker that does not answer in time is passed over: it
hangs or is being replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
import structlog

ANSWER_S = 2.0

Answer = Callable[[Mapping[str, Any]], Awaitable[bytes]]

log = structlog.get_logger(__name__)


class WorkerIpc:
    """The other workers of the host, by slot."""

    def __init__(self, directory: Path, slot: int, workers: int) -> None:
        self._directory = directory
        self._slot = slot
        self._others = [other for other in range(workers) if other != slot]

    @asynccontextmanager
    async def answering(self, answer: Answer) -> AsyncIterator[None]:
        """Answer the others' questions with `answer` for the length of a block."""
        path = self._path(self._slot)
        path.unlink(missing_ok=True)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                async with asyncio.timeout(ANSWER_S):
                    writer.write(await answer(orjson.loads(await reader.readline())))
                    await writer.drain()
            except (OSError, TimeoutError, ValueError) as error:
                log.warning("another worker's question was not answered", reason=str(error) or type(error).__name__)
            finally:
                writer.close()

        server = await asyncio.start_unix_server(serve, path)
        try:
            yield
        finally:
            server.close()

    async def ask(self, question: Mapping[str, Any]) -> dict[int, bytes]:
        """Ask all others at once; the answers of those that gave one, by slot."""
        answers = await asyncio.gather(*(self._ask(other, question) for other in self._others))
        return {other: said for other, said in zip(self._others, answers, strict=True) if said}

    async def ask_one(self, slot: int, question: Mapping[str, Any]) -> bytes:
        """The answer of one; empty: it gave none."""
        return await self._ask(slot, question)

    async def _ask(self, slot: int, question: Mapping[str, Any]) -> bytes:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_unix_connection(self._path(slot))
                try:
                    writer.write(orjson.dumps(question) + b"\n")
                    return await reader.read()
                finally:
                    writer.close()
        return b""

    def _path(self, slot: int) -> Path:
        return self._directory / f"{slot + 1}.sock"
