"""Events that a pod takes from anybody with a key, in sizes that it must not keep for everybody."""

from __future__ import annotations

import base64
import contextlib
import itertools
import secrets

from tests.hostile.wire import CLOSE, Call, Target, event, frame

MIB = 1024 * 1024
LONG_BYTES = 15 * MIB - 100
"""The longest audio of one event, nearly."""
PCMA = {"type": "audio/pcma"}
RETRIEVES = 250
PARKED = 40
ITEMS = 400
FULL_AFTER = 33
"""Items of 500 kB that a conversation holds."""
HANG_UP = (1000).to_bytes(2)
AUDIO_ITEMS = 20
AUDIO_ITEM_BYTES = 14_000_000
UPDATES = 2000
MANY_ITEMS = 19_000
INSERTS = 800
DEEP = 5_000_000
COMMAS = 10_000_000
SETTLED_S = 2.0
REST_S = 1.0


def _append(size: int) -> bytes:
    return event("input_audio_buffer.append", audio=base64.b64encode(bytes(size)).decode())


def _session(**fields: object) -> bytes:
    return event("session.update", session={"type": "realtime", **fields})


def _typed(text: str, **fields: object) -> bytes:
    content = [{"type": "input_text", "text": text[at : at + 200_000]} for at in range(0, len(text), 200_000)]
    return event("conversation.item.create", item={"type": "message", "role": "user", "content": content}, **fields)


MANUAL = _session(audio={"input": {"turn_detection": None}})
COMMIT = event("input_audio_buffer.commit")


async def _committed(call: Call, audio: bytes) -> str:
    """Have one long turn in the conversation; its id."""
    await call.send(MANUAL)
    await call.send(audio)
    await call.send(COMMIT)
    return str((await call.wait(b'"type":"input_audio_buffer.committed"'))["item_id"])


async def pcma(target: Target) -> None:
    """Long A-law with the turns detected: a quarter of an hour of it in one event."""
    audio = _append(LONG_BYTES)
    async with await target.call() as call:
        await call.send(_session(audio={"input": {"format": PCMA}}))
        for _ in range(3):
            await call.send(audio)
            await call.over(SETTLED_S)


async def retrieve(target: Target) -> None:
    """One long turn, and then it is asked for by 66 bytes, again and again."""
    async with await target.call() as call:
        item_id = await _committed(call, _append(LONG_BYTES))
        await call.send(event("conversation.item.retrieve", item_id=item_id) * RETRIEVES)
        await call.over(20.0)


async def park(target: Target) -> None:
    """Calls that leave 30 MB behind and drop their connection."""
    audio = _append(LONG_BYTES)
    for _ in range(PARKED):
        async with await target.call() as call:
            await _committed(call, audio)
            await call.send(audio)
            await call.over(SETTLED_S)


async def items(target: Target) -> None:
    """Typed items of nearly the longest kind."""
    one = _typed("x" * 500_000)
    async with await target.call() as call:
        for _ in range(ITEMS):
            await call.send(one)
        await call.over(SETTLED_S)


async def hang_up(target: Target) -> None:
    """Conversations that are filled, and calls that are hung up, again and again."""
    one = _typed("x" * 500_000)
    async with await target.call() as call:
        for _ in range(FULL_AFTER):
            await call.send(one)
        await call.send(frame(HANG_UP, CLOSE))
        await call.over(SETTLED_S)


async def audio_items(target: Target) -> None:
    """Items that hold audio."""
    content = [{"type": "input_audio", "audio": base64.b64encode(bytes(AUDIO_ITEM_BYTES)).decode()}]
    one = event("conversation.item.create", item={"type": "message", "role": "user", "content": content})
    async with await target.call() as call:
        for _ in range(AUDIO_ITEMS):
            await call.send(one)
        await call.over(SETTLED_S)


async def session_updates(target: Target) -> None:
    """A session as large as may be, answered whole to each of many empty updates."""
    tools = [
        {"type": "function", "name": f"tool_{number}", "description": "x" * 2000, "parameters": {}}
        for number in range(110)
    ]
    async with await target.call() as call:
        await call.send(_session(instructions="x" * 64_000, tools=tools))
        await call.send(_session() * UPDATES)
        await call.over(20.0)


async def inserts(target: Target) -> None:
    """Many items, and then many more in one place between them."""
    async with await target.call() as call:
        for start in range(0, MANY_ITEMS, 1000):
            await call.send(
                b"".join(
                    event("conversation.item.create", item={"id": f"item_{number}", **SHORT})
                    for number in range(start, start + 1000)
                )
            )
        await call.send(event("conversation.item.create", item=SHORT, previous_item_id="item_1") * INSERTS)
        await call.over(20.0)


SHORT = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]}


async def deep_json(target: Target) -> None:
    """JSON so deep that a parser without a bound would not come back."""
    nested = b'{"type":"session.update","session":' + b'{"a":' * (DEEP // 5)
    lists = b'{"type":"conversation.item.create","item":' + b"[" * DEEP
    async with await target.call() as call:
        while True:
            await call.send(frame(nested))
            await call.send(frame(lists))
            await call.over(REST_S)


async def commas(target: Target) -> None:
    """Messages of nothing but commas: half in one that is too complex, half in those just below that bound."""
    head, tail = b'{"type":"session.update","session":{"type":"realtime","x":[', b"0]}}"
    many = frame(head + b"0," * (COMMAS // 2) + tail)
    few = frame(head + b"0," * 99_000 + b" " * 60_000 + tail)
    async with await target.call() as call:
        while True:
            await call.send(many)
            await call.send(few * 10)
            await call.over(REST_S)


async def ping_pong(target: Target) -> None:
    """A call as large as may be, taken from pod to pod as fast as it can be."""
    query = f"model=echo&call_key={secrets.token_hex(16)}"
    async with await target.call(query) as call:
        for _ in range(MANY_ITEMS // 1000):
            await call.send(event("conversation.item.create", item=SHORT) * 1000)
        await call.send(event("conversation.item.create", item={"id": "the_last", **SHORT}))
        await call.wait(b'"id":"the_last"')
    for at in itertools.cycle(range(len(target.ports))):
        with contextlib.suppress(TimeoutError):
            async with await target.call(query, at=at):
                target.got.add("taken over")
