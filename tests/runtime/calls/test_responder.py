"""At most one response of a call is made at a time."""

from __future__ import annotations

from tests.runtime.alone import alone
from voice_agent.call.changes import OutboxEntry
from voice_agent.call.events import pack
from voice_agent.call.inputs import CreateResponse

HEAD = pack({"type": "x"})


async def test_the_first_audio_of_a_reply_is_timed() -> None:
    """From the end of the caller's speech to the write that lets it out; once, and not if nobody is there."""
    async with alone() as its:
        its.attach()
        text, audio = OutboxEntry(1, HEAD, b""), OutboxEntry(2, HEAD, b"xx")
        its.live.writer.committed([audio])
        its.live.receive_event(CreateResponse({}))
        its.clock.now_s += 0.5
        its.live.writer.committed([text])
        assert its.observer.stages == []
        its.clock.now_s += 0.25
        its.live.writer.committed([text, audio])
        its.clock.now_s += 0.25
        its.live.writer.committed([audio])
        assert its.observer.stages == [("first_audio", 0.75)]
        its.live.connection = None
        its.live.writer.committed([audio])
