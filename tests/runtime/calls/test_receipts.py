"""What of a client's own is durable is told to it, and not more often than it is worth."""

from __future__ import annotations

import orjson
import pytest

from tests.call.calls import manual_call
from tests.runtime.alone import alone
from tests.runtime.rig import MemoryTransport, rig
from tests.waiting import until
from voice_agent.call.audio import PCM, PCMU
from voice_agent.call.inputs import AppendAudio, CommitAudio, UpdateSession
from voice_agent.runtime.calls import receipts
from voice_agent.runtime.calls.connection import Connection
from voice_agent.runtime.calls.receipts import Receipts
from voice_agent.runtime.durability.call_writer import SavedInput
from voice_agent.runtime.ports import ClientOptions


class Client:
    """Takes what is told while it keeps up."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.keeps_up = True

    def send(self, text: bytes) -> bool:
        if self.keeps_up:
            self.told.append(orjson.loads(text)["input_audio_bytes"])
        return self.keeps_up


async def test_the_first_is_told_at_once_and_the_newest_a_second_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes in between is not told one by one, and nothing is told twice."""
    monkeypatch.setattr(receipts, "TELL_S", 0.01)
    client = Client()
    told = Receipts(client.send)
    for number in (1, 2, 3):
        told.saved(SavedInput(number, None), counts_in=PCM)
    assert client.told == [1]
    await until(lambda: client.told == [1, 3])
    await until(lambda: told._timer is None)
    told.saved(SavedInput(3, None), counts_in=PCM)
    assert client.told == [1, 3]


async def test_a_client_that_does_not_keep_up_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would never hear of the last write else."""
    monkeypatch.setattr(receipts, "TELL_S", 0.01)
    client = Client()
    told = Receipts(client.send)
    client.keeps_up = False
    told.saved(SavedInput(1, None), counts_in=PCM)
    client.keeps_up = True
    await until(lambda: client.told == [1])
    told.stop()


async def test_bytes_of_another_format_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not those that wait to be told either, for the client takes them for bytes of the format it was told of last."""
    monkeypatch.setattr(receipts, "TELL_S", 0.01)
    client = Client()
    told = Receipts(client.send)
    for number in (1, 2):
        told.saved(SavedInput(number, None, PCM), counts_in=PCM)
    told.saved(SavedInput(2, None, PCM), counts_in=PCMU)
    await until(lambda: told._timer is None)
    assert client.told == [1]
    told.saved(SavedInput(3, None, PCMU), counts_in=PCMU)
    assert client.told == [1, 3]


async def test_a_format_that_the_store_does_not_have_yet_silences_what_it_had() -> None:
    """While the store is given up the change is seen all the same, and what was saved counts in the one before."""
    async with alone(manual_call()) as its:
        connection = Connection(its.observer, ClientOptions(received=True), resumable=True)
        assert connection.receipts is not None
        its.live.attach(connection, None)
        its.live.feed(AppendAudio(bytes(9600)))
        its.live.feed(CommitAudio("commit"))
        await its.live.writer.wait_durable()
        assert connection.receipts._saved == SavedInput(9600, "commit")
        its.store.is_away = True
        its.live.feed(UpdateSession({"audio": {"input": {"format": PCMU.as_json()}}}))
        await until(lambda: its.committer.degraded)
        await its.live.writer.wait_durable()
        assert its.call.outbox.visible_seq == its.call.outbox.seq
        assert connection.receipts._saved is None


async def test_only_what_the_store_has_is_told() -> None:
    """While it is away a call goes on from memory: what came then is lost with the pod, and is not called durable."""
    async with alone(manual_call()) as its:
        its.call.client_events.counts_bytes = True
        its.live.feed(AppendAudio(bytes(9600), "mine"))
        await its.live.writer.wait_durable()
        assert its.live.writer.saved == SavedInput(9600, "mine")
        its.store.is_away = True
        its.live.feed(AppendAudio(bytes(9600)))
        its.live.feed(CommitAudio("commit"))
        await until(lambda: its.committer.degraded)
        its.live.feed(AppendAudio(bytes(9600)))
        await its.live.writer.wait_durable()
        assert its.call.heard_bytes > 9600
        assert its.live.writer.saved == SavedInput(9600, "mine")


async def test_a_client_that_asked_for_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that did not is not."""

    def write(transport: MemoryTransport, text: bytes) -> bool:
        transport.events.append(orjson.loads(text))
        return True

    monkeypatch.setattr(MemoryTransport, "write", write)
    async with rig() as its:
        pod = await its.pod()
        asked = await its.start(pod, resumable=True, client=ClientOptions(received=True))
        other = await its.start(pod, resumable=True)
        for caller in (asked, other):
            await caller.greeting()
            caller.transport.say({"type": "conversation.item.create", "event_id": "mine", "item": ITEM})
        await until(lambda: TOLD in asked.transport.events)
        await until(lambda: other.transport.events[-1]["type"] == "conversation.item.done")
        assert "call.received" not in [event["type"] for event in other.transport.events]


async def test_who_comes_back_without_asking_is_told_nothing() -> None:
    """Though what was saved for the connection before is known."""
    async with alone(manual_call()) as its:
        its.live.attach(Connection(its.observer, ClientOptions(received=True), resumable=True), None)
        its.live.feed(AppendAudio(bytes(9600), "mine"))
        await its.live.writer.wait_durable()
        assert its.live.writer.saved is not None
        connection = its.attach()
        its.live.feed(CommitAudio("commit"))
        await its.live.writer.wait_durable()
        assert "input_audio_buffer.committed" in connection.pushed


TOLD = {"type": "call.received", "input_audio_bytes": 0, "last_client_event_id": "mine"}
ITEM = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}


async def test_a_connection_that_is_over_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a timer keep it, though a write is durable afterwards."""
    client = Client()
    told = Receipts(client.send)
    told.stop()
    told.saved(SavedInput(1, None), counts_in=PCM)
    assert client.told == []
    assert told._timer is None
