"""What can be done without a key: before a request is whole, nobody knows who it is from."""

from __future__ import annotations

import asyncio
import contextlib
import resource

from tests.hostile.wire import RefusedByServer, Target

MIB = 1024 * 1024
HEADER_MIB = 200
SILENT_SOCKETS = 1100
"""More than the 1 024 descriptors that a process has by default."""
SMALL_HEADERS = 3_000_000
BODY_MIB = 200
UPGRADES_AT_ONCE = 8


async def header(target: Target) -> None:
    """One request line, and one header that never ends."""
    async with target.tcp() as door:
        await door.send(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
        for _ in range(HEADER_MIB):
            await door.send(b"a" * MIB)
        await door.over()


async def many_headers(target: Target) -> None:
    """Small headers without an end of them."""
    some = b"".join(b"a%d: b\r\n" % number for number in range(10_000))
    async with target.tcp() as door:
        await door.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
        for _ in range(SMALL_HEADERS // 10_000):
            await door.send(some)
        await door.over()


async def endless_body(target: Target) -> None:
    """A request whose body never ends, to a page that takes none."""
    async with target.tcp() as door:
        await door.send(b"POST /healthz/live HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % 2**40)
        for _ in range(BODY_MIB):
            await door.send(b"a" * MIB)
        await door.over()


async def slow(target: Target) -> None:
    """Sockets that say nothing, as many as there are; each that is closed is opened again."""
    count = min(SILENT_SOCKETS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)

    async def silent() -> None:
        while True:
            with contextlib.suppress(OSError):
                async with target.tcp() as door:
                    await door.over()
            await asyncio.sleep(0.5)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(count):
            tasks.create_task(silent())


async def storm(target: Target) -> None:
    """Calls that are begun and dropped, as fast as they can be."""

    async def once_more() -> None:
        while True:
            with contextlib.suppress(OSError, TimeoutError, RefusedByServer):
                async with await target.call():
                    pass
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(UPGRADES_AT_ONCE):
            tasks.create_task(once_more())
