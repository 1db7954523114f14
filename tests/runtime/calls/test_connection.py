"""What goes out to one caller leaves the event loop to the others; what waits to be read is charged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson
import pytest

from tests.runtime.rig import CountingObserver, rig
from tests.waiting import PATIENCE_S, until
from voice_agent.call.changes import OutboxEntry
from voice_agent.runtime.calls import connection as connection_module
from voice_agent.runtime.calls.connection import (
    EVENT_COST_BYTES,
    MAX_PUSHED,
    MAX_UNSENT_BYTES,
    SENT_IN_TURN_BYTES,
    Connection,
)
from voice_agent.runtime.ports import ClientOptions, StartCall, Transport

HEAD = b'{"type":"x"}'


class EagerTransport(Transport):
    """Takes everything at once."""

    def __init__(self) -> None:
        self.sent = 0

    def write(self, text: bytes) -> bool:
        self.sent += 1
        return True

    async def send(self, text: bytes) -> None:
        self.write(text)

    async def receive(self) -> str | bytes | int:
        raise AssertionError

    async def close(self, code: int, reason: str) -> None:
        """Nothing is left to do."""


def entries(count: int, audio: bytes) -> list[OutboxEntry]:
    return [OutboxEntry(n, HEAD, audio) for n in range(1, count + 1)]


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("audio", [b"", bytes(4800)])
async def test_a_long_replay_lets_others_have_their_turn(audio: bytes, is_open: bool) -> None:
    """Whether it waited for the connection or was committed at once, and however fast the caller reads."""
    transport = EagerTransport()
    connection = Connection(CountingObserver(), ClientOptions(), resumable=True)
    count = 2000
    if not is_open:
        connection.push(entries(count, audio))
    running = asyncio.create_task(connection.run(transport, b"{}"))
    await asyncio.sleep(0)
    if is_open:
        connection.push(entries(count, audio))
        assert transport.sent == 1
    most = SENT_IN_TURN_BYTES // (EVENT_COST_BYTES + len(HEAD) + len(audio)) + 1
    turns = 0
    while transport.sent <= count:
        before = transport.sent
        await asyncio.sleep(0)
        turns += 1
        assert transport.sent - before <= most
    assert turns < count  # It goes on in the next turn, not after a time.
    connection.close(1000)
    await running


async def test_a_few_events_go_out_where_they_become_durable() -> None:
    """Without a switch of tasks."""
    transport = EagerTransport()
    connection = Connection(CountingObserver(), ClientOptions(), resumable=True)
    running = asyncio.create_task(connection.run(transport, b"{}"))
    await asyncio.sleep(0)
    connection.push(entries(MAX_PUSHED, b""))
    assert transport.sent == 1 + MAX_PUSHED
    connection.close(1000)
    await running


class DeafTransport(Transport):
    """Takes the greeting and then, until the test lets it go on, nothing."""

    def __init__(self) -> None:
        self.sent = 0
        self.closed: tuple[int, str] | None = None
        self.may_go_on = asyncio.Event()

    async def send(self, text: bytes) -> None:
        if self.sent:
            await self.may_go_on.wait()
        self.sent += 1

    async def receive(self) -> str | bytes | int:
        raise AssertionError

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)


@pytest.mark.parametrize("is_open", [False, True])
async def test_a_caller_who_does_not_read_is_told_to_come_back(is_open: bool) -> None:
    """1013 once over 8 MiB wait, in front of them; one large event alone is sent, and what waits is freed."""
    observer = CountingObserver()
    connection = Connection(observer, ClientOptions(), resumable=True)
    transport = DeafTransport()
    running = asyncio.create_task(connection.run(transport, b"{}"))
    if is_open:
        await asyncio.sleep(0)
    half = MAX_UNSENT_BYTES // 2
    connection.push(entries(1, bytes(MAX_UNSENT_BYTES)))
    assert connection.closing is None
    connection.push(entries(1, bytes(half)))
    assert connection.closing is not None
    assert connection.closing[0] == 1013
    assert str(MAX_UNSENT_BYTES) in connection.closing[1]
    assert connection.unsent_bytes == 0
    assert observer.counts["limit_reached", "unsent_bytes"] == 1
    transport.may_go_on.set()
    await running
    assert transport.closed == connection.closing
    assert transport.sent == 1


async def test_what_a_caller_may_leave_unread_is_sent() -> None:
    """Up to the limit nothing is lost, however long it waits."""
    connection = Connection(CountingObserver(), ClientOptions(), resumable=True)
    transport = DeafTransport()
    running = asyncio.create_task(connection.run(transport, b"{}"))
    half = MAX_UNSENT_BYTES // 2 - len(HEAD)
    connection.push(entries(1, bytes(half)))
    connection.push(entries(1, bytes(half)))
    connection.push(entries(1, bytes(half)))
    assert connection.closing is None
    transport.may_go_on.set()
    await until(lambda: transport.sent == 4)
    assert connection.unsent_bytes == 0
    connection.close(1000)
    await running


@pytest.mark.parametrize("at_once", [False, True])
async def test_nothing_is_sent_behind_a_close(at_once: bool) -> None:
    """What becomes durable after it is replayed to whoever comes back."""
    transport = EagerTransport()
    connection = Connection(CountingObserver(), ClientOptions(), resumable=True)
    running = asyncio.create_task(connection.run(transport, b"{}"))
    await asyncio.sleep(0)
    connection.close(1012, at_once=at_once)
    connection.push(entries(1, b"xx"))
    connection.push(entries(2, b""))
    await running
    assert transport.sent == 1


async def test_what_waits_to_be_read_is_charged_to_the_caller() -> None:
    """Too much is refused with a reason that names the limit, and counted; what is held is given back at the end."""
    async with rig() as its:
        pod = await its.pod()
        attachment = await pod.start(StartCall(model="scripted", api_key_hash="key"))
        before_bytes = pod.owned.budget.used_by("key")
        assert attachment.reserve(1_000_000) is None
        assert pod.owned.budget.used_by("key") == before_bytes + 1_000_000
        refusal = attachment.reserve(pod.owned.budget.limit_bytes)
        assert refusal is not None
        assert refusal.startswith("incomplete_messages:")
        assert str(pod.owned.budget.key_bytes) in refusal
        assert isinstance(pod.observer, CountingObserver)
        assert pod.observer.counts["limit_reached", "incomplete_messages"] == 1
        await attachment.abandon()
        assert pod.owned.budget.used_by("key") == before_bytes


async def test_who_was_to_be_closed_before_there_was_a_transport_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A caller of whom another took the call in the middle of the upgrade, and who does not read."""
    monkeypatch.setattr(connection_module, "CLOSE_FLUSH_S", 0.01)
    connection = Connection(CountingObserver(), ClientOptions(), resumable=True)
    transport = DeafTransport()
    connection.push(entries(1, b""))
    connection.close(4409)
    async with asyncio.timeout(PATIENCE_S):
        await connection.run(transport, b"{}")
    assert transport.closed is not None
    assert transport.closed[0] == 4409


class NarrowTransport(Transport):
    """Takes so many events at once, and whatever is waited for."""

    def __init__(self, room: int = 0) -> None:
        self.room = room
        self.numbers: list[int] = []
        self.closed: tuple[int, str] | None = None
        self.probed = 0

    def write(self, text: bytes) -> bool:
        if not self.room:
            return False
        self.room -= 1
        self._take(text)
        return True

    async def send(self, text: bytes) -> None:
        self._take(text)

    def _take(self, text: bytes) -> None:
        event_id = orjson.loads(text).get("event_id", "evt_0")
        self.numbers.append(int(event_id.removeprefix("evt_")))

    def probe(self, answered: Callable[[], None]) -> None:
        self.probed += 1
        answered()

    async def receive(self) -> str | bytes | int:
        raise AssertionError

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)


@pytest.mark.parametrize("then", [0, 9])
@pytest.mark.parametrize("room", range(4))
async def test_each_event_goes_out_once_and_in_order(room: int, then: int) -> None:
    """However much the socket takes at once, and though it takes more while some wait. Frames of audio are counted."""
    transport, observer = NarrowTransport(room), CountingObserver()
    connection = Connection(observer, ClientOptions(), resumable=True)
    running = asyncio.create_task(connection.run(transport, b"{}"))
    await asyncio.sleep(0)
    connection.push([OutboxEntry(1, HEAD, b"audio"), OutboxEntry(2, HEAD, b""), OutboxEntry(3, HEAD, b"audio")])
    assert transport.numbers == list(range(room + 1))
    transport.room = then
    connection.push([OutboxEntry(4, HEAD, b"audio")])
    connection.push([OutboxEntry(5, HEAD, b"")])
    if room == 3:  # None waits.
        assert transport.numbers == list(range(6 if then else 4))
    connection.close(1000)
    await running
    assert transport.numbers == list(range(6))
    assert observer.frames.went == 3
    assert connection.unsent_bytes == 0
    assert transport.closed == (1000, "hang-up")


@pytest.mark.parametrize(("reason", "told"), [("", "service restart: reconnect now"), ("too old", "too old")])
async def test_a_connection_is_closed_once_behind_what_waits(reason: str, told: str) -> None:
    """With the reason that is given, or that of the code; whoever closes it later changes nothing."""
    connection = Connection(CountingObserver(), ClientOptions(), resumable=True)
    transport = NarrowTransport()
    connection.push(entries(3, b""))
    connection.close(1012, reason)
    connection.close(1011, "later", at_once=True)
    assert connection.closing == (1012, told)
    await connection.run(transport, b"{}")
    assert transport.numbers == [0, 1, 2, 3]
    assert transport.closed == (1012, told)


async def test_a_connection_on_which_nothing_waits_is_closed_at_once() -> None:
    """No time is given for last words where there are none."""
    connection = Connection(CountingObserver(), ClientOptions(), resumable=True)
    transport = NarrowTransport()
    running = asyncio.create_task(connection.run(transport, b"{}"))
    await asyncio.sleep(0)
    connection.close(1012)
    for _ in range(5):
        await asyncio.sleep(0)
    assert running.done()
    assert transport.closed is not None


@pytest.mark.parametrize("reads", [False, True])
async def test_a_caller_may_read_what_is_left_when_the_connection_is_closed(
    reads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for ever: who does not is cut off."""
    monkeypatch.setattr(connection_module, "CLOSE_FLUSH_S", PATIENCE_S if reads else 0.01)
    connection = Connection(CountingObserver(), ClientOptions(), resumable=True)
    transport = DeafTransport()
    running = asyncio.create_task(connection.run(transport, b"{}"))
    connection.push(entries(2, b""))
    await until(lambda: transport.sent)
    connection.close(1012)
    for _ in range(5):
        await asyncio.sleep(0)
    if reads:
        transport.may_go_on.set()
    async with asyncio.timeout(PATIENCE_S):
        await running
    assert transport.sent == (3 if reads else 1)
    assert transport.closed is not None
    assert transport.closed[0] == 1012


class BrokenTransport(NarrowTransport):
    """Takes the greeting and breaks."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    async def send(self, text: bytes) -> None:
        if self.numbers:
            raise self._error
        await super().send(text)


@pytest.mark.parametrize("error", [RuntimeError("a fault of ours"), TimeoutError("not the caller's")])
async def test_a_connection_on_which_nothing_can_be_sent_is_closed(error: Exception) -> None:
    """With 1011, so that the caller comes back; nobody waits for it to listen."""
    connection = Connection(CountingObserver(), ClientOptions(), resumable=True)
    transport = BrokenTransport(error)
    connection.push(entries(1, b""))
    connection.pause_reading()
    waiting = asyncio.create_task(connection.reading())
    await connection.run(transport, b"{}")
    assert transport.closed is not None
    assert transport.closed[0] == 1011
    async with asyncio.timeout(PATIENCE_S):
        await waiting


async def test_whoever_waits_until_a_connection_reads_waits_as_long_as_reading_is_paused() -> None:
    """Each time anew; one that is closed is paused no more."""
    connection = Connection(CountingObserver(), ClientOptions(), resumable=True)
    await connection.reading()
    for closes in (False, True):
        connection.pause_reading()
        waiting = asyncio.create_task(connection.reading())
        for _ in range(3):
            await asyncio.sleep(0)
        assert connection.reading_paused
        assert not waiting.done()
        if closes:
            connection.close(1012)
        else:
            connection.resume_reading()
        async with asyncio.timeout(PATIENCE_S):
            await waiting
        assert not connection.reading_paused


async def test_a_caller_is_asked_for_a_sign_of_life_while_the_connection_stands() -> None:
    """Not before there is one, and not once it is to be closed."""
    connection = Connection(CountingObserver(), ClientOptions(), resumable=True)
    transport = NarrowTransport()
    answers: list[int] = []
    connection.probe(lambda: answers.append(1))
    running = asyncio.create_task(connection.run(transport, b"{}"))
    await asyncio.sleep(0)
    assert transport.probed == 0
    connection.probe(lambda: answers.append(2))
    assert answers == [2]
    connection.close(1012)
    connection.probe(lambda: answers.append(3))
    await running
    connection.probe(lambda: answers.append(4))
    assert (transport.probed, answers) == (1, [2])
