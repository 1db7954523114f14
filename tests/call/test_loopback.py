"""`loopback`: nothing comes back before it is durable, and what is durable is exact, whatever is kept for replay."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.call.calls import attach, new_call, release
from voice_agent.call import inputs, machine
from voice_agent.call.changes import CallWrite, OutboxEntry, Snapshot
from voice_agent.call.effects import Effect
from voice_agent.call.record import CallRecord
from voice_agent.call.restoring import restore
from voice_agent.call.writes import take_write

SAMPLE_BYTES = 2
OUTBOXES = pytest.mark.parametrize("outbox_bytes", [0, 1 << 20], ids=["no outbox", "outbox"])
TYPED = inputs.CreateItem({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]})
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.integers(1, 9)),
        st.sampled_from(["item", "write", "written", "plan", "lose", "crash"]).map(lambda step: (step, 1)),
    ),
    max_size=40,
)


class LoopbackCall:
    """A pod, a store and a caller in a few lines; the caller says a stream of numbered samples, and comes back."""

    def __init__(self, outbox_bytes: int) -> None:
        self.outbox_bytes = outbox_bytes
        self.call = new_call(mirror=True, outbox_bytes=outbox_bytes)
        self.said = 0
        """So many samples the caller has said on this connection and those before."""
        self.seen: list[OutboxEntry] = []
        self.gaps = 0
        self.fields: dict[str, bytes] = {}
        self.items: dict[str, bytes] = {}
        self.events: dict[int, OutboxEntry] = {}
        """All that was ever written; what is still held for replay is a part of it."""
        self.under_way: tuple[CallWrite, list[OutboxEntry]] | None = None
        self.call.record.write_whole = True
        self.settle()

    @property
    def stored(self) -> int:
        """The newest number that the store knows."""
        return int(self.fields["seq"])

    def say(self, samples: int) -> list[Effect]:
        """The next frame."""
        frame = b"".join((self.said + at).to_bytes(SAMPLE_BYTES, "little") for at in range(samples))
        self.said += samples
        return machine.step(self.call, inputs.AppendAudio(frame, f"e{self.said}"), 0)

    def write(self) -> None:
        """A write sets out, and arrives; its answer is not there yet."""
        if self.under_way is not None or not self.call.has_changes:
            return
        waiting = self.call.outbox.unsaved
        write = take_write(self.call, 0)
        self.under_way = (write, waiting)
        self.fields.update(write.fields)
        self.items.update(write.items)
        self.events.update({entry.n: entry for entry in waiting})

    def written(self) -> None:
        """Its answer has come."""
        if self.under_way is not None:
            _, waiting = self.under_way
            self.under_way = None
            release(self.call, waiting)
            self.see(waiting)

    def settle(self) -> None:
        """Until nothing waits."""
        while self.call.has_changes or self.under_way:
            self.write()
            self.written()

    def see(self, events: list[OutboxEntry]) -> None:
        for entry in events:
            assert entry.n <= self.stored, "durable before visible"
            assert entry.n == (self.seen[-1].n if self.seen else 0) + 1 + self.gaps, "in order"
            self.gaps = 0
            self.seen.append(entry)

    def crash(self) -> None:
        """The pod dies; the caller comes back to another, and goes on where that has heard it."""
        self.under_way = None
        held = [entry for n, entry in sorted(self.events.items()) if n <= self.stored] if self.outbox_bytes else []
        found = Snapshot(dict(self.fields), dict(self.items), held, [])
        self.call = restore(found, epoch=2, outbox_bytes=self.outbox_bytes, checkpoint_ms=200)
        last = self.seen[-1].n if self.seen else 0
        attached = attach(self.call, last, 0, resumable=True)
        if self.outbox_bytes:
            assert attached.gap is None
        elif attached.gap is not None:
            assert attached.gap == (last + 1, self.stored)
            self.gaps = self.stored - last
        self.see(attached.replay)
        self.said = self.call.heard_bytes // SAMPLE_BYTES


def the_stream(samples: int) -> bytes:
    """All that the caller says."""
    return b"".join(at.to_bytes(SAMPLE_BYTES, "little") for at in range(samples))


@OUTBOXES
@given(steps=STEPS)
@example(steps=[("say", 1), ("write", 1), ("say", 1), ("crash", 1), ("say", 1)])
def test_a_resume_after_a_crash_is_exact(outbox_bytes: int, steps: list[tuple[str, int]]) -> None:
    """A frame and its echo are durable together: what the next owner has heard has a number, no more and no less.

    Nothing goes out before the store has its number, and a caller who goes on from there is echoed every sample once.
    """
    loopback = LoopbackCall(outbox_bytes)
    for step, samples in steps:
        match step:
            case "say":
                assert loopback.say(samples) == []
            case "item":
                machine.step(loopback.call, TYPED, 0)
            case "write":
                loopback.write()
            case "written":
                loopback.written()
            case "plan":
                machine.step(loopback.call, inputs.HandoffPlanned(), 0)
            case "lose":
                machine.step(loopback.call, inputs.ConnectionLost(hung_up=False), 0)
            case _:
                loopback.crash()
                durable = b"".join(entry.audio for n, entry in sorted(loopback.events.items()) if n <= loopback.stored)
                assert durable == the_stream(loopback.said)
    loopback.settle()
    assert b"".join(entry.audio for _, entry in sorted(loopback.events.items())) == the_stream(loopback.said)
    if outbox_bytes:
        assert b"".join(entry.audio for entry in loopback.seen) == the_stream(loopback.said)


@OUTBOXES
def test_each_frame_has_a_write_that_moves_the_position_with_it(outbox_bytes: int) -> None:
    """However long it goes on: the number, the caller's position and the response's audio, all three exact."""
    loopback = LoopbackCall(outbox_bytes)
    for number in range(1, 600):
        loopback.say(1)
        loopback.write()
        assert loopback.stored == loopback.call.outbox.seq
        assert loopback.fields["input_audio"].split()[1] == b"%d" % (number * SAMPLE_BYTES)
        assert loopback.fields["response_audio"].split()[0] == b"%d" % (number * SAMPLE_BYTES)
        loopback.written()
    assert loopback.seen[-1].n == loopback.call.outbox.seq


@pytest.mark.parametrize("happens", ["another pod takes it over", "the client cancels the response"])
def test_a_frame_goes_on_in_the_item_that_is_open(happens: str) -> None:
    """The next owner goes on in the same item, and what was cancelled in a new response."""
    loopback = LoopbackCall(0)
    loopback.say(3)
    loopback.settle()
    before = response_of(loopback.call)
    if happens == "another pod takes it over":
        loopback.crash()
    else:
        machine.step(loopback.call, inputs.CancelResponse(), 0)
    loopback.say(3)
    assert (response_of(loopback.call) == before) == (happens == "another pod takes it over")


def response_of(call: CallRecord) -> tuple[str, str | None]:
    assert call.response is not None
    return call.response.response_id, call.response.open_item.item_id


def test_a_loopback_may_move_at_any_moment() -> None:
    """Its response is open all the time, and nothing is lost of it."""
    loopback = LoopbackCall(1 << 20)
    loopback.say(3)
    assert loopback.call.response is not None
    assert machine.is_quiet(loopback.call)
