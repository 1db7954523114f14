"""What is told of an utterance, in which order, and what waits for a reader that is slow.

Tests of `kit.hearing`, `hearing` and `live_input`.
"""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.runtime.alone import Alone, alone, turns_pass
from tests.runtime.calls.test_streamed_transcription import FrameEar, part
from tests.runtime.engine.agents import HelloEar
from tests.runtime.engine.crashes import engine_call
from tests.runtime.engine.test_agent_run import begun
from tests.runtime.engine.test_contract import Listener
from voice_agent.call.audio import PCM
from voice_agent.call.input_audio import is_said
from voice_agent.call.inputs import AppendAudio, AudioStopped, ClearAudio, CommitAudio, UpdateSession
from voice_agent.kit.ear import AgentEar
from voice_agent.kit.hearing import Hearing, HearingKind
from voice_agent.runtime.engine.hearing import MAX_WAITING_CHARS, MAX_WAITING_HEARINGS, HearingNotices
from voice_agent.runtime.engine.live_queue import LiveReader

Told = tuple[str, str | None, str | None]

FOLLOWS = {
    "stopped": {"started"},
    "started": {"partial", "paused", "stopped"},
    "partial": {"partial", "paused", "stopped"},
    "paused": {"paused", "resumed", "stopped"},
    "resumed": {"partial", "paused", "stopped"},
}
"""What may come next."""


async def _read(notices: HearingNotices, reader: LiveReader[Hearing]) -> list[Told]:
    """All that has come, and nothing more will."""
    notices.end()
    return [(one.kind.value, one.text, one.item_id) async for one in reader]


async def test_an_utterance_is_told_from_its_start_to_its_end() -> None:
    """Each with what was understood so far."""
    notices = HearingNotices()
    reader = notices.reader()
    notices.started("item")
    notices.paused("one")
    notices.resumed()
    notices.understood("one two")
    notices.paused("one two")
    notices.stopped("item")
    assert await _read(notices, reader) == [
        ("started", None, "item"),
        ("paused", "one", "item"),
        ("resumed", "one", "item"),
        ("partial", "one two", "item"),
        ("paused", "one two", "item"),
        ("stopped", "one two", "item"),
    ]


async def test_who_begins_to_read_within_an_utterance_is_told_of_it() -> None:
    """And of the pause that lasts; of one that is over nothing."""
    notices = HearingNotices()
    notices.started("item")
    started = notices.reader()
    notices.paused("one")
    paused = notices.reader()
    notices.stopped("item")
    later = notices.reader()
    assert await _read(notices, started) == [
        ("started", None, "item"),
        ("paused", "one", "item"),
        ("stopped", "one", "item"),
    ]
    assert await _read(notices, paused) == [
        ("started", None, "item"),
        ("paused", "one", "item"),
        ("stopped", "one", "item"),
    ]
    assert await _read(notices, later) == []


async def test_what_is_understood_in_a_pause_is_told_as_a_pause() -> None:
    """Who began something for the pause begins it again with the newer text."""
    notices = HearingNotices()
    notices.started(None)
    reader = notices.reader()
    notices.paused(None)
    notices.paused("one")
    notices.understood("one")
    notices.understood("one")
    assert [kind for kind, _, _ in await _read(notices, reader)] == ["started", "paused"]


@given(st.lists(st.sampled_from(["started", "understood", "paused", "resumed", "stopped"]), max_size=40))
async def test_whatever_comes_in_whatever_order_only_what_may_follow_is_told(calls: list[str]) -> None:
    """A pause is never told twice without news, and nothing but a start follows an end."""
    notices = HearingNotices()
    queue = notices.reader()
    told: list[Told] = []
    for number, call in enumerate(calls):
        match call:
            case "started" | "stopped" | "understood" | "paused":
                getattr(notices, call)(f"text {number}")
            case _:
                notices.resumed()
        [waiting] = notices.queues
        if waiting.newest is not None:
            one = await anext(queue)
            told.append((one.kind.value, one.text, one.item_id))
            assert waiting.newest is None
    last = "stopped"
    for kind, _, _ in told:
        assert kind in FOLLOWS[last]
        last = kind
    assert all(before != after for before, after in pairwise(told))


async def test_partial_results_that_nobody_reads_are_one() -> None:
    """The newest says all that those before it said; starts and ends are bounded in number."""
    notices = HearingNotices()
    reader = notices.reader()
    notices.started("item")
    for number in range(1000):
        notices.understood(f"{number}")
    assert await _read(notices, reader) == [("started", None, "item"), ("partial", "999", "item")]
    reader = notices.reader()
    for number in range(MAX_WAITING_HEARINGS):
        notices.stopped(f"item_{number}")
        notices.started(f"item_{number + 1}")
    told = await _read(notices, reader)
    assert len(told) == MAX_WAITING_HEARINGS
    assert told[-1] == (HearingKind.STARTED, None, f"item_{MAX_WAITING_HEARINGS}")


async def test_long_texts_that_nobody_reads_are_bounded() -> None:
    """An ear may tell all that was said in each pause anew."""
    notices = HearingNotices()
    reader = notices.reader()
    notices.started("item")
    for _ in range(8):
        notices.paused("a" * (MAX_WAITING_CHARS // 4))
        notices.resumed()
    assert len(await _read(notices, reader)) == 4


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_a_client_does_what_is_told_are_whole_utterances(seed: int) -> None:
    """Turn detection on, off and on again, formats that change, audio dropped, committed and in pieces of any size.

    What was last told agrees with what the rules know, and what became of a turn is an item.
    """
    chance = Random(seed)
    agent = Listener(chance.choice((HelloEar, FrameEar, AgentEar))())
    async with alone(engine_call(), agent) as its:
        await begun(its)
        await said_by_client(its, part(0, 1000), 960)
        for _ in range(30):
            await any_act(its, chance)
        await turns_pass(50)
        last = "stopped"
        for kind, _, item_id in agent.told:
            assert kind in FOLLOWS[last]
            assert kind != "stopped" or item_id is None or item_id in its.call.conversation
            last = kind
        assert agent.told
        assert (last != "stopped") == is_said(its.call)


async def said_by_client(its: Alone, audio: bytes, size_bytes: int) -> None:
    """In pieces of this size."""
    for at in range(0, len(audio), size_bytes):
        its.live.receive_event(AppendAudio(audio[at : at + size_bytes]))
        await turns_pass(2)


async def any_act(its: Alone, chance: Random) -> None:
    """Something that a client does."""
    size_bytes, ms = chance.choice((320, 960, 24_000)), chance.choice((20, 100, 300, 700, 1500))
    detection = chance.choice((None, {"type": "server_vad"}, {"type": "server_vad", "silence_duration_ms": 200}))
    audio_format = chance.choice(({"type": "audio/pcm", "rate": 24_000}, {"type": "audio/pcmu"}))
    match chance.randrange(12):
        case 0 | 1 | 2 | 3:
            await said_by_client(its, part(1000, 1000 + ms), size_bytes)
        case 4 | 5 | 6:
            await said_by_client(its, bytes(PCM.size(ms)), size_bytes)
        case 7:
            its.live.receive_event(CommitAudio())
        case 8:
            its.live.receive_event(ClearAudio())
        case 9:
            changed = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
            its.live.receive_event(UpdateSession(changed))
        case 10:
            its.live.receive_event(UpdateSession({"type": "realtime", "audio": {"input": {"format": audio_format}}}))
        case _:
            its.live.feed(AudioStopped())
    await turns_pass(3)
