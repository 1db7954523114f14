"""One request and its answer, in a task of its own.

That task is not cancelled but given up (see `giving_up`), and whoever reads the answer may be cancelled at any
await, twice and more. The reader keeps the time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextvars import copy_context
from typing import TYPE_CHECKING

from voice_agent.giving_up import REQUEST, GivingUp

if TYPE_CHECKING:
    import httpx

HELD_BYTES = 1 << 18
"""Of an answer that has come and is not read yet; beyond that the provider waits. Some five seconds of speech."""
PIECE_BYTES = 1 << 13
"""Of an answer are read at a time, and then others get their turn: stops one that floods from holding up all calls."""
CLOSE_S = 1.0
"""So long `close` waits for the connection to be given back; it is, later, all the same."""
DRAIN_S = 0.1
"""So long the end of an answer is waited for when its reader has what matters: then the connection is kept."""
DRAIN_BYTES = 1 << 16


class ExchangeFailed(Exception):
    """It goes no further."""


class Broken(ExchangeFailed):
    """`error`: what httpx raised, or what made the content to send."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class TooSlow(ExchangeFailed):
    """Nothing came in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Upload:
    """What is sent while it is made. Time counts from its end."""

    def __init__(self, content: AsyncIterator[bytes]) -> None:
        self._content = content
        self.ended = asyncio.Event()

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """Once."""
        try:
            async for piece in self._content:
                yield piece
        finally:
            self.ended.set()


class ProviderExchange:
    """To be closed. What goes wrong in it is raised by `begin` and `next_piece`, as `ExchangeFailed`."""

    def __init__(
        self, http: httpx.AsyncClient, request: httpx.Request, *, total_s: float, upload: Upload | None = None
    ) -> None:
        """Begins it. `total_s`: that the reader may wait for the answer, in all. `upload`: what `request` sends."""
        self.response: httpx.Response | None = None
        self._total_s = total_s
        self._waited_s = 0.0
        self._upload = upload
        self._pieces: deque[bytes] = deque()
        self._held_bytes = 0
        self._came = asyncio.Event()
        self._taken = asyncio.Event()
        self._error: Exception | None = None
        self._ended = False
        self._is_closed = False
        self._giving_up = GivingUp()
        context = copy_context()
        context.run(REQUEST.set, self._giving_up)
        loop = asyncio.get_running_loop()
        self.task = loop.create_task(self._run(http, request), name="provider request", context=context)

    async def begin(self, within_s: float) -> httpx.Response:
        """Wait for the first byte of an answer, its end, or a status other than 2xx."""
        if self._upload is not None:
            await self._sent(self._upload)
        until_s = asyncio.get_running_loop().time() + within_s
        while not self._pieces and not self._ended and (self.response is None or self.response.is_success):
            await self._wait(until_s - asyncio.get_running_loop().time(), within_s)
        if self.response is None or (self._error is not None and not self._pieces):
            raise Broken(self._error or RuntimeError("no answer"))
        return self.response

    async def next_piece(self, within_s: float) -> bytes | None:
        """The next piece of the answer; None at its end."""
        if self._pieces:
            await asyncio.sleep(0)  # What is done with a piece takes time; others have theirs in between.
        while not self._pieces:
            if self._error is not None:
                raise Broken(self._error)
            if self._ended:
                return None
            await self._wait(within_s, within_s)
        piece = self._pieces.popleft()
        self._held_bytes -= len(piece)
        self._taken.set()
        return piece

    async def drain(self) -> None:
        """Wait a moment for the end, passing over what comes."""
        until_s = asyncio.get_running_loop().time() + DRAIN_S
        passed = 0
        while passed < DRAIN_BYTES and (left_s := until_s - asyncio.get_running_loop().time()) > 0:
            piece = await self.next_piece(left_s)
            if piece is None:
                return
            passed += len(piece)

    async def close(self) -> None:
        """Give the connection back, or cut it where the answer has not ended. Cancelled, it is done all the same."""
        if self.task.done():
            return
        if not self._ended and not self._is_closed:
            self._is_closed = True
            self._giving_up.give_up()
            self._taken.set()
            if not self._giving_up.is_heeded:
                self.task.cancel()  # It has not begun, or is of a client that knows nothing of giving up.
        await asyncio.wait((self.task,), timeout=CLOSE_S)

    async def _run(self, http: httpx.AsyncClient, request: httpx.Request) -> None:
        try:
            response = await http.send(request, stream=True, follow_redirects=False)
            try:
                self.response = response
                self._came.set()
                async for piece in response.aiter_raw():
                    for at in range(0, len(piece), PIECE_BYTES):
                        await self._hold(piece[at : at + PIECE_BYTES])
            finally:
                await response.aclose()
        except Exception as error:  # noqa: BLE001 - whatever it is, the reader is told
            self._error = error
        finally:
            self._ended = True
            self._came.set()

    async def _hold(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._held_bytes += len(piece)
        self._came.set()
        await asyncio.sleep(0)  # Much may have come at once, in many small pieces.
        while self._held_bytes >= HELD_BYTES and not self._is_closed:
            self._taken.clear()
            await self._taken.wait()

    async def _sent(self, upload: Upload) -> None:
        """Wait until all has been sent, or the answer is known before that."""
        sent = asyncio.ensure_future(upload.ended.wait())
        try:
            await asyncio.wait((sent, self.task), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sent.cancel()

    async def _wait(self, within_s: float, named_s: float) -> None:
        """For anything to come. `named_s`: what is told when it does not."""
        loop = asyncio.get_running_loop()
        left_s = self._total_s - self._waited_s
        began_s = loop.time()
        self._came.clear()
        try:
            async with asyncio.timeout(min(within_s, left_s)):
                await self._came.wait()
        except TimeoutError:
            raise TooSlow(named_s if within_s <= left_s else self._total_s) from None
        finally:
            self._waited_s += loop.time() - began_s
