"""Many runs of a script in one round trip, with little in between.

redis-py keeps the connections: addresses, passwords, TLS, pools, timeouts, lost servers.
But it packs and reads a pipeline command by command, at 40 to 60 µs of CPU each, which
for a pod that commits a thousand events a second would be most of its work. Here the
commands are packed by hiredis' own packer, sent as one piece, and of the answers only the
first of each piece that arrives goes through redis-py; the others are taken from the
parser behind it. That parser is not public: where it looks otherwise than expected, every
answer takes the long way (``tests/stores/test_redis_pipeline.py`` notices).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import redis.asyncio as redis
from hiredis import pack_command
from redis import exceptions
from redis._parsers.hiredis import NOT_ENOUGH_DATA

Command = tuple[str | int | bytes, ...]
AT_ONCE_BYTES = 64 * 1024
"""What a connection without unread answers takes without making its writer wait (asyncio's high-water mark)."""


def pack(commands: Iterable[Command]) -> bytes:
    """Commands as the server reads them (RESP), one after the other."""
    return b"".join([pack_command(command) for command in commands])  # type: ignore[arg-type]  # it takes any number


async def ask_all(node: redis.Redis, commands: Sequence[Command]) -> list[Any]:
    """The answers to all commands, in order; errors that the server answers with are among them.

    Raises what redis-py raises for a connection that fails or takes too long. However it ends, cancellation
    included, no connection with unread answers goes back to the pool.
    """
    pool = node.connection_pool
    connection: Any = await pool.get_connection()  # type: ignore[no-untyped-call]
    try:
        await _send(connection, pack(commands))
        return await _answers(connection, len(commands))
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    finally:
        await pool.release(connection)


async def _send(connection: Any, packed: bytes) -> None:
    """As redis-py sends, which makes a task each time for what it might have to wait for."""
    if not hasattr(getattr(connection, "_writer", None), "write") or len(packed) > AT_ONCE_BYTES:
        await connection.send_packed_command([packed])
    else:
        await connection.check_health()
        connection._writer.write(packed)  # noqa: SLF001 - see above; the check may have made another one


async def _answers(connection: Any, count: int) -> list[Any]:
    answers: list[Any] = []
    next_answer = getattr(getattr(connection._parser, "_reader", None), "gets", None)  # noqa: SLF001 - see above
    while len(answers) < count:
        try:
            answers.append(await connection.read_response())
        except exceptions.ResponseError as error:
            answers.append(error)
        while next_answer is not None:
            answer = next_answer()
            if answer is NOT_ENOUGH_DATA:
                break
            if isinstance(answer, exceptions.ConnectionError):
                raise answer
            if type(answer).__name__ == "PushNotification":
                await connection._parser.handle_push_response(answer)  # noqa: SLF001 - as redis-py does
                continue
            answers.append(answer)
    return answers
