"""A long message is taken in slices, and means what short ones with the same audio mean."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from functools import cache
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime.faulty import FaultyStore, until
from tests.runtime.rig import CountingObserver, ScriptedAgent, rig
from tests.waiting import PATIENCE_S
from voice_agent.call import input_audio
from voice_agent.call.audio import FORMATS, PCM, AudioFormat, Converter
from voice_agent.call.bounds import MAX_AUDIO_BYTES
from voice_agent.call.input_audio import MAX_BUFFER_BYTES
from voice_agent.call.inputs import VoiceBoundary
from voice_agent.call.restoring import restore
from voice_agent.call.status import Status
from voice_agent.protocol.realtime import SLICE_BYTES
from voice_agent.runtime.calls.connection import Connection
from voice_agent.runtime.calls.live_call import LiveCall
from voice_agent.runtime.durability.call_writer import MAX_UNSAVED_BYTES
from voice_agent.runtime.pod.attachment import Attachment
from voice_agent.runtime.pod.pod import Pod
from voice_agent.runtime.ports import ClientOptions, Listener, StartCall, Transport
from voice_agent.speech.endpointing import Endpointer

MIB = 1024 * 1024


class Quiet(ScriptedAgent):
    """Understands nothing and says nothing, so that all events are the caller's own."""

    async def answer(self, call: Any, asked: Any) -> None:
        await asyncio.Event().wait()


def update(audio_format: AudioFormat = PCM, *, detects: bool = True) -> dict[str, Any]:
    """The session of a caller who speaks in a format."""
    detection = {"type": "server_vad", "create_response": False} if detects else None
    return {
        "type": "session.update",
        "session": {
            "type": "realtime",
            "audio": {"input": {"format": audio_format.as_json(), "turn_detection": detection}},
        },
    }


def append(audio: bytes, **more: str) -> dict[str, Any]:
    """An append."""
    return {"type": "input_audio_buffer.append", "audio": b64encode(audio).decode(), **more}


def item(audio: bytes, **more: str) -> dict[str, Any]:
    """An item that holds audio."""
    part = {"type": "input_audio", "audio": b64encode(audio).decode()}
    return {
        "type": "conversation.item.create",
        "item": {"id": "mine", "type": "message", "role": "user", "content": [part]},
        **more,
    }


async def offer(listener: Listener, event: dict[str, Any]) -> int:
    """Give a message to a listener as a transport does; how many turns of the event loop it took."""
    message, turns = orjson.dumps(event).decode(), 0
    while not listener.take(message):
        await listener.ready()
        turns += 1
    return turns


class DrivenCall:
    """A call of a pod whose messages come from the test, one by one, without a transport."""

    def __init__(self, pod: Pod, attachment: Attachment) -> None:
        self.pod = pod
        self.attachment = attachment
        self.live: LiveCall = pod.owned.by_id[attachment.call_id]

    async def say(self, *events: dict[str, Any]) -> int:
        """Messages of the caller, one after the other."""
        return sum([await offer(self.attachment, event) for event in events])

    @property
    def events(self) -> list[dict[str, Any]]:
        """All that the call has emitted, written or not."""
        return [orjson.loads(entry.head) for entry in self.live.call.outbox.after(0)]

    @property
    def errors(self) -> list[str]:
        """Codes of its errors."""
        return [event["error"]["code"] for event in self.events if event["type"] == "error"]

    async def picture(self) -> dict[str, Any]:
        """Everything that the store holds of the call, but for how its audio was cut and what is random."""
        await self.pod.committer.flush(self.live.writer)
        held = await self.pod.ports.store.load(self.live.call.call_id)
        assert held is not None
        call = restore(held, epoch=1, outbox_bytes=8 * MIB, checkpoint_ms=200)
        heard = call.input_audio
        latest = call.clips.latest
        assert latest is None or not heard.first_n or latest.first_n < heard.first_n
        return {
            "events": [event for event in self.events if event["type"] != "session.updated"],
            "items": held.items,
            "clip": (call.clips.latest.item_id, call.clips.latest.audio) if call.clips.latest else None,
            "input_audio": (bytes(heard.audio), heard.position, heard.base_ms, heard.item_id, heard.speaking),
            "seen": (list(call.client_events.seen), call.client_events.last_id),
            "turns": call.dialogue.turns,
        }


async def driven_call(pod: Pod, model: str = "scripted", **request: Any) -> DrivenCall:
    """A call that nothing has happened to."""
    return DrivenCall(pod, await pod.start(StartCall(**{"model": model, "api_key_hash": "key", **request})))


@cache
def talk(audio_format: AudioFormat) -> bytes:
    """Ten seconds: silence, a voice, a pause, a voice that goes on."""
    rng = np.random.default_rng(7)
    seconds = np.arange(PCM.rate_hz * 10) / PCM.rate_hz
    voice = sum(np.sin(2 * np.pi * 130 * number * seconds) / number for number in range(1, 25))
    spoken = ((seconds > 1) & (seconds < 3)) | ((seconds > 5.5) & (seconds < 9.9))
    syllables = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * seconds)
    samples = voice * spoken * syllables * 6000 + rng.normal(0, 20, len(seconds))
    return Converter(PCM, audio_format).convert(samples.clip(-32768, 32767).astype("<i2").tobytes())


async def heard(audio_format: AudioFormat, cuts: list[int], *, detects: bool) -> dict[str, Any]:
    """The call of somebody who says it in pieces that are cut there."""
    audio = talk(audio_format)
    places = sorted({0, len(audio), *(cut % len(audio) // 2 * 2 for cut in cuts)})
    async with rig(None, Quiet(transcript=None)) as its:
        caller = await driven_call(await its.pod(outbox_bytes=8 * MIB, random_bytes=Random(7).randbytes))
        await caller.say(update(audio_format, detects=detects))
        for start, end in pairwise(places):
            await caller.say(append(audio[start:end], **({"event_id": "last"} if end == len(audio) else {})))
        await until(lambda: not caller.live.call.clips.untranscribed)
        input_audio.flush(caller.live.call)
        return await caller.picture()


@settings(max_examples=25)
@given(
    st.sampled_from(sorted(FORMATS)),
    st.booleans(),
    st.lists(st.integers(0, 10**6), max_size=12) | st.just(list(range(0, 10**6, 960))),
)
def test_the_cut_of_the_audio_does_not_matter(name: str, detects: bool, cuts: list[int]) -> None:
    """In one message or in any number of them: the same events, record and audio, with turns detected or by hand."""
    whole = asyncio.run(heard(FORMATS[name], [], detects=detects))
    assert len(talk(FORMATS[name])) > 3 * SLICE_BYTES
    if detects:
        assert "input_audio_buffer.committed" in [event["type"] for event in whole["events"]]
    assert asyncio.run(heard(FORMATS[name], cuts, detects=detects)) == whole


async def test_a_long_append_lets_others_have_their_turn() -> None:
    """Each slice is one turn of the event loop: a task beside it runs as often as there are slices."""
    async with rig() as its:
        caller = await driven_call(await its.pod())
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        beside = asyncio.create_task(other())
        await caller.say(append(bytes(40 * SLICE_BYTES)))
        beside.cancel()
        assert turns >= 40


async def test_a_long_append_waits_for_the_store() -> None:
    """What is not durable never exceeds the bound by more than a slice, however long the message; then all of it is."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod()
        caller = await driven_call(pod)
        await caller.say(update(detects=False))
        await pod.committer.flush(caller.live.writer)
        store.gate.clear()
        saying = asyncio.create_task(caller.say(append(bytes(6 * MIB))))
        await until(lambda: caller.live.writer.is_backlogged)
        call = caller.live.call
        assert call.unsaved_bytes <= MAX_UNSAVED_BYTES + SLICE_BYTES
        assert call.input_audio.position < 6 * MIB
        store.gate.set()
        await saying
        await pod.committer.flush(caller.live.writer)
        assert call.input_audio.position == 6 * MIB
        assert isinstance(pod.observer, CountingObserver)
        assert pod.observer.counts["limit_reached", "unsaved_bytes"]


async def test_no_round_carries_more_of_a_call_than_the_bound() -> None:
    """Long appends, an item of minutes of audio, a session of half a megabyte again and again."""
    sizes: list[int] = []

    class Weighing(FaultyStore):
        async def commit(self, writes: Any) -> Any:
            sizes.extend(write.size_bytes for write in writes)
            return await super().commit(writes)

    async with rig(Weighing()) as its:
        pod = await its.pod()
        caller = await driven_call(pod)
        large = update(detects=False)
        large["session"]["instructions"] = "x" * 60_000
        await caller.say(large, append(bytes(5 * MIB)), item(bytes(6 * MIB)), {"type": "input_audio_buffer.commit"})
        await caller.say(*[{"type": "session.update", "session": {}}] * 100)
        await pod.committer.flush(caller.live.writer)
    assert max(sizes) < 2 * MIB
    assert sum(sizes) > 15 * MIB


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (append(bytes(10 * SLICE_BYTES + 1), event_id="e"), "invalid_value"),
        (append(bytes(MAX_BUFFER_BYTES), event_id="e"), "input_audio_buffer_full"),
        ({**append(b""), "audio": "AAAA" * 90_000 + "!", "event_id": "e"}, "invalid_base64"),
        (item(bytes(10 * SLICE_BYTES + 1), event_id="e"), "invalid_value"),
        (item(bytes(10 * SLICE_BYTES), event_id="e", previous_item_id="x"), "item_create_invalid_previous_item_id"),
    ],
    ids=["odd", "full", "no base64", "odd item", "misplaced item"],
)
async def test_what_is_wrong_is_known_before_anything_is_taken(event: dict[str, Any], code: str) -> None:
    """One error, and the call is as before; the event is remembered, as any that was answered."""
    async with rig() as its:
        caller = await driven_call(await its.pod())
        await caller.say(update(detects=False), append(bytes(960)))
        call = caller.live.call
        speech = call.speech.made
        await caller.say(event)
        assert caller.errors == [code]
        assert (call.input_audio.position, len(call.input_audio.audio), call.speech.made) == (960, 960, speech)
        assert "e" in call.client_events.seen


async def test_an_event_id_takes_effect_with_the_last_slice() -> None:
    """A caller who is cut off in the middle sends the message again, and it is heard from where it must be."""
    async with rig() as its:
        caller = await driven_call(await its.pod(), resumable=True)
        await caller.say(update(detects=False))
        message = orjson.dumps(append(bytes(10 * SLICE_BYTES), event_id="mine")).decode()
        while caller.live.call.input_audio.position < 4 * SLICE_BYTES:
            assert not caller.attachment.take(message)
            await caller.attachment.ready()
        assert "mine" not in caller.live.call.client_events.seen
        await caller.attachment.abandon()
        assert caller.live.call.lifecycle.status is Status.PARKED
        assert caller.live.call.heard_bytes == 4 * SLICE_BYTES
        again = DrivenCall(caller.pod, (await its.resume(caller.pod, caller.attachment.call_id, 0)).attachment)
        await again.say(append(bytes(6 * SLICE_BYTES), event_id="mine"))
        assert "mine" in again.live.call.client_events.seen
        assert again.live.call.input_audio.position == 10 * SLICE_BYTES


async def test_a_message_is_not_repeated_for_its_id_in_slices_either() -> None:
    """One that took effect is not heard again after a resume; on one connection the same id is another message."""
    async with rig() as its:
        caller = await driven_call(await its.pod(), resumable=True)
        await caller.say(update(detects=False))
        message = append(bytes(3 * SLICE_BYTES), event_id="mine")
        await caller.say(message)
        await caller.attachment.abandon()
        again = DrivenCall(caller.pod, (await its.resume(caller.pod, caller.attachment.call_id, 0)).attachment)
        await again.say(message)
        assert again.live.call.input_audio.position == 3 * SLICE_BYTES
        await again.say(message)
        assert again.live.call.input_audio.position == 6 * SLICE_BYTES


async def test_a_message_that_is_cut_by_a_close_is_dropped() -> None:
    """The pod closes the connection in the middle: what is left of the message is taken without being heard."""
    async with rig() as its:
        caller = await driven_call(await its.pod(), resumable=True)
        await caller.say(update(detects=False))
        message = orjson.dumps(append(bytes(10 * SLICE_BYTES))).decode()
        while caller.live.call.input_audio.position < 4 * SLICE_BYTES:
            caller.attachment.take(message)
        assert caller.live.connection is not None
        caller.live.connection.close(1012)
        assert caller.attachment.take(message)
        assert caller.live.call.input_audio.position == 4 * SLICE_BYTES


async def test_a_handoff_waits_for_no_long_message() -> None:
    """While the call is about to be handed off a message rests; what was heard of it is durable."""
    async with rig() as its:
        pod = await its.pod()
        caller = await driven_call(pod, resumable=True)
        await caller.say(update(detects=False))
        message = orjson.dumps(append(bytes(10 * SLICE_BYTES))).decode()
        while caller.live.call.input_audio.position < 4 * SLICE_BYTES:
            caller.attachment.take(message)
        await caller.live.hand_off()
        assert caller.attachment.take(message)
        assert caller.live.call.heard_bytes == 4 * SLICE_BYTES
        await caller.attachment.abandon()


async def test_an_item_of_minutes_is_stored_in_slices() -> None:
    """Its audio is durable before the item is seen, and another pod finds all of it."""
    async with rig() as its:
        pod, other = await its.pod(), await its.pod("pod-b", "green")
        caller = await driven_call(pod, resumable=True)
        audio = bytes(range(256)) * 8 * 1024
        turns = await caller.say(item(audio, event_id="mine"))
        assert turns >= 2 * len(audio) // SLICE_BYTES
        assert not caller.errors
        await caller.attachment.abandon()
        await its.resume(other, caller.attachment.call_id, 0)
        again = other.owned.by_id[caller.attachment.call_id].call
        assert again.clips.latest is not None
        assert again.clips.latest.audio == audio
        assert "mine" in again.client_events.seen


async def test_a_call_takes_no_more_audio_than_it_may_keep() -> None:
    """Items of minutes, one after the other, none of them understood: refused before a slice of them is stored."""
    agent = ScriptedAgent()
    never = asyncio.Event()

    async def transcribe(clip: Any) -> None:
        await never.wait()

    agent.transcribe = transcribe  # type: ignore[method-assign]
    async with rig(None, agent) as its:
        caller = await driven_call(await its.pod())
        await caller.say(item(bytes(MAX_AUDIO_BYTES // 2 + 2)))
        second = item(bytes(MAX_AUDIO_BYTES // 2))
        second["item"]["id"] = "second"
        speech = caller.live.call.speech.made
        await caller.say(second)
        assert caller.errors == ["audio_full"]
        assert caller.live.call.speech.made == speech


async def test_messages_of_other_transports_are_taken_in_slices() -> None:
    """The default of `Transport.deliver` offers a message until it is taken."""

    class OneMessage(Transport):
        def __init__(self) -> None:
            self.messages: list[str | int] = [orjson.dumps(append(bytes(10 * SLICE_BYTES))).decode(), 1006]

        async def receive(self) -> str | bytes | int:
            return self.messages.pop(0)

        async def send(self, text: bytes) -> None: ...

        async def close(self, code: int, reason: str) -> None: ...

    async with rig() as its:
        caller = await driven_call(await its.pod())
        await caller.say(update(detects=False))
        assert await OneMessage().deliver(caller.attachment) == 1006
        assert caller.live.call.input_audio.position == 10 * SLICE_BYTES


async def test_an_utterance_of_minutes_is_not_recognised_in_each_of_its_pauses() -> None:
    """Beginning early is for turns of seconds."""
    agent = ScriptedAgent()
    clips: list[int] = []

    async def transcribe(clip: Any) -> str:
        clips.append(len(clip.audio))
        return "heard"

    agent.transcribe = transcribe  # type: ignore[method-assign]
    async with rig(None, agent) as its:
        caller = await driven_call(await its.pod())
        call = caller.live.call
        await caller.say(append(talk(PCM)[: PCM.size(2_500)]))
        assert call.input_audio.speaking
        caller.live.listening.note_pause(pause_ms=300)
        await until(lambda: clips)
        caller.live.listening.note_pause(pause_ms=0)
        call.input_audio.audio += bytes(2 * MIB)
        caller.live.listening.note_pause(pause_ms=300)
        assert not caller.live.listening._early.is_begun


async def test_a_taken_over_utterance_is_heard_again_from_its_end_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last seconds say whether it is over; minutes before them are not worth the time of all other calls."""
    fed: list[int] = []
    async with rig() as its:
        pod, other = await its.pod(), await its.pod("pod-b", "green")
        caller = await driven_call(pod, resumable=True)
        await caller.say(append(talk(PCM)[: PCM.size(2_900)]))
        call = caller.live.call
        assert call.input_audio.speaking
        call.input_audio.audio += talk(PCM)[PCM.size(5_600) : PCM.size(9_500)] * 20
        call.input_audio.position += PCM.size(3_900) * 20
        await caller.attachment.abandon()
        feed = Endpointer.feed

        def noted(endpointer: Endpointer, audio: bytes) -> tuple[VoiceBoundary, ...]:
            fed.append(len(audio))
            return feed(endpointer, audio)

        monkeypatch.setattr(Endpointer, "feed", noted)
        again = await its.resume(other, caller.attachment.call_id, 0)
        assert again.call_id in other.owned.by_id
        assert sum(fed) <= PCM.size(500 + 3000)
        assert other.owned.by_id[again.call_id].call.input_audio.speaking


async def test_a_caller_who_reads_nothing_is_cut_off_by_name() -> None:
    """The close says which bound was reached, and it is counted."""
    observer = CountingObserver()
    connection = Connection(observer, ClientOptions(), resumable=True)
    async with rig() as its:
        caller = await driven_call(await its.pod())
        caller.live.call.outbox.emit({"type": "x"}, bytes(5 * MIB))
        for _ in range(3):
            connection.push(caller.live.call.outbox.unsaved[-1:])
    assert connection.closing is not None
    assert connection.closing[0] == 1013
    assert str(8 * MIB) in connection.closing[1]
    assert observer.counts["limit_reached", "unsent_bytes"] == 1


async def test_a_transcription_that_nobody_waits_for_is_stopped() -> None:
    """Its item was deleted, before or after the work began; one of the same id that was made since is transcribed."""
    agent = ScriptedAgent()
    begun: list[int] = []
    stopped: list[int] = []
    gate = asyncio.Event()

    async def transcribe(clip: Any) -> str:
        begun.append(len(clip.audio))
        try:
            await gate.wait()
        except asyncio.CancelledError:
            stopped.append(len(clip.audio))
            raise
        return "heard"

    agent.transcribe = transcribe  # type: ignore[method-assign]
    delete = {"type": "conversation.item.delete", "item_id": "mine"}
    async with rig(None, agent) as its:
        caller = await driven_call(await its.pod())
        await caller.say(item(bytes(9600)))
        await until(lambda: begun == [9600])
        await caller.say(delete, item(bytes(9602)), delete, item(bytes(9604)))
        await until(lambda: stopped == [9600] and begun == [9600, 9604])
        assert "mine" in caller.live.listening._transcribing
        gate.set()
        await until(lambda: not caller.live.call.clips.untranscribed)
        assert not caller.live.listening._transcribing
        entry = caller.live.call.conversation.get("mine")
        assert entry is not None
        assert entry.item["content"][0]["transcript"] == "heard"


async def test_a_call_goes_on_from_memory_however_much_it_is_told() -> None:
    """While the store is away nothing is durable, and nobody waits for it; when it is back, all of it is there."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod()
        caller = await driven_call(pod)
        store.is_away = True
        large = {"type": "function_call_output", "call_id": "c", "output": "x" * 200_000}
        async with asyncio.timeout(PATIENCE_S):
            await caller.say(*[{"type": "conversation.item.create", "item": large}] * 20)
            await caller.say(update(detects=False), append(bytes(3 * MIB)))
        assert pod.committer.degraded
        store.is_away = False
        await until(lambda: not pod.committer.write_back.is_behind)
        held = await store.load(caller.live.call.call_id)
        assert held is not None
        assert len(held.items) == 20
        assert sum(len(piece.audio) for piece in held.speech) == 3 * MIB
