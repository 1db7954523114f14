"""Mirrored audio that goes out before it is written: the store knows its number all the same, and both ways agree."""

from __future__ import annotations

import copy
from dataclasses import asdict, replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.call.calls import FRAME, new_call
from voice_agent.call import inputs, machine
from voice_agent.call.changes import CallWrite, OutboxEntry, Snapshot
from voice_agent.call.codec import restore
from voice_agent.call.effects import LetOut
from voice_agent.call.record import NUMBERS_AHEAD, Call
from voice_agent.call.writes import take_write

AUDIO = inputs.AppendAudio(FRAME)
TYPED = inputs.CreateItem({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]})


class Witness:
    """A pod and a store in a few lines: sends what may be sent, and keeps the number that the store knows."""

    def __init__(self, call: Call, *, shortcut: bool) -> None:
        self.call = call
        self.shortcut = shortcut
        self.sent: list[OutboxEntry] = []
        self.stored = call.seq
        self.fields: dict[str, bytes] = {}
        self.under_way: tuple[CallWrite, list[OutboxEntry]] | None = None

    def feed(self, event: inputs.Input) -> None:
        if self.shortcut and isinstance(event, inputs.AppendAudio):
            out = machine.let_out(self.call, event)
            if out is not None:
                self.send(out)
                return
        for effect in machine.step(self.call, event, 0):
            if isinstance(effect, LetOut):
                self.send(effect.event)

    def send(self, event: OutboxEntry) -> None:
        assert event.n <= self.stored, "its number is in the store before it is sent"
        assert event.n == (self.sent[-1].n if self.sent else 0) + 1, "in order"
        self.sent.append(event)

    def write(self) -> None:
        """A write sets out."""
        if self.under_way is None and self.call.has_changes:
            waiting = self.call.unsaved_events
            self.under_way = (take_write(self.call, 0), waiting)

    def written(self) -> None:
        """It has arrived, and its answer has come."""
        if self.under_way is None:
            return
        write, waiting = self.under_way
        self.under_way = None
        self.fields.update(write.fields)
        self.stored = int(write.fields["seq"])
        for event in waiting + machine.release(self.call, waiting):
            self.send(event)

    def settle(self) -> None:
        """Until nothing waits."""
        while self.call.has_changes or self.under_way:
            self.write()
            self.written()


STEPS = st.lists(
    st.one_of(
        st.integers(1, 700).map(lambda frames: ("frames", frames)),
        st.sampled_from(["item", "update", "named", "odd", "write", "written", "plan", "lose", "attach", "end"]).map(
            lambda step: (step, 1)
        ),
    ),
    max_size=40,
)


def play(witness: Witness, steps: list[tuple[str, int]]) -> None:
    """Carry the steps out."""
    for number, (step, times) in enumerate(steps):
        match step:
            case "frames":
                for _ in range(times):
                    witness.feed(AUDIO)
            case "item":
                witness.feed(TYPED)
            case "update":
                witness.feed(inputs.UpdateSession({"type": "realtime", "instructions": f"{number}"}))
            case "named":
                witness.feed(replace(AUDIO, event_id=f"e{number}"))
            case "odd":
                witness.feed(inputs.AppendAudio(b"x"))
            case "write":
                witness.write()
            case "written":
                witness.written()
            case "plan":
                witness.feed(inputs.HandoffPlanned())
            case "lose":
                witness.feed(inputs.ConnectionLost(hung_up=False))
            case "attach":
                machine.attach(witness.call, None, 0, resumable=True)
            case _:
                witness.feed(inputs.EndCall("admin"))


@given(STEPS)
def test_the_shortcut_does_what_the_machine_does(steps: list[tuple[str, int]]) -> None:
    """The same events with the same numbers, and the same call at the end, whatever happens in between."""
    calls = [new_call(mirror=True, outbox_bytes=0) for _ in range(2)]
    long_way, short = Witness(calls[0], shortcut=False), Witness(calls[1], shortcut=True)
    play(long_way, steps)
    play(short, steps)
    assert short.sent == long_way.sent
    held = [asdict(copy.copy(call)) for call in calls]
    for one in held:
        one["outbox"] = one["conversation"] = None
    assert held[0] == held[1]
    assert [*calls[0].conversation.items()] == [*calls[1].conversation.items()]
    assert short.fields == long_way.fields


@given(STEPS, st.booleans())
def test_a_new_owner_never_gives_a_number_again(steps: list[tuple[str, int]], planned: bool) -> None:
    """Whenever the pod dies; and after a planned handoff the numbers go on without a gap."""
    witness = Witness(new_call(mirror=True, outbox_bytes=0), shortcut=True)
    witness.feed(AUDIO)
    witness.settle()
    play(witness, [step for step in steps if step[0] != "end"])
    if planned:
        witness.feed(inputs.HandoffPlanned())
        witness.settle()
    seen = witness.sent[-1].n
    fields = {"call_id": b"call_x", "session": b"", "created_at": b"0", "status": b"attached", **witness.fields}
    whole = new_call(mirror=True, outbox_bytes=0)
    whole.write_whole = True
    fields = {**take_write(whole, 0).fields, **witness.fields}
    next_owner = restore(Snapshot(fields, {}, [], []), epoch=2, outbox_bytes=0, checkpoint_ms=200)
    attached = machine.attach(next_owner, seen, 0, resumable=True)
    goes_on_at = next_owner.seq + 1
    assert goes_on_at > seen
    if planned:
        assert goes_on_at == seen + 1
        assert attached.gap is None
    elif goes_on_at > seen + 1:
        assert attached.gap == (seen + 1, goes_on_at - 1)


@pytest.mark.parametrize("shortcut", [False, True])
def test_a_steady_stream_is_let_out_with_few_writes(shortcut: bool) -> None:
    """After the first events are durable a minute of frames needs a write every two seconds, and waits for none."""
    witness = Witness(new_call(mirror=True, outbox_bytes=0), shortcut=shortcut)
    witness.feed(AUDIO)
    witness.settle()
    writes = 0
    for _ in range(3000):
        before = len(witness.sent)
        witness.feed(AUDIO)
        assert len(witness.sent) == before + 1
        if witness.call.has_changes:
            writes += 1
            witness.settle()
    assert writes == 30


@pytest.mark.parametrize("happens", ["another pod takes it over", "the client cancels the response"])
def test_where_no_item_is_known_to_go_on_a_frame_goes_the_long_way(happens: str) -> None:
    """The next owner goes on in the same item, and what was cancelled in a new response."""
    witness = Witness(new_call(mirror=True, outbox_bytes=0), shortcut=True)
    for _ in range(3):
        witness.feed(AUDIO)
        witness.settle()
    if happens == "the client cancels the response":
        witness.feed(inputs.CancelResponse())
    else:
        witness.feed(inputs.HandoffPlanned())
        witness.settle()
        whole = take_write_of_all(witness.call)
        witness.call = restore(Snapshot(whole.fields, whole.items, [], []), epoch=2, outbox_bytes=0, checkpoint_ms=200)
        machine.attach(witness.call, witness.sent[-1].n, 0, resumable=True)
    witness.settle()
    for _ in range(3):
        witness.feed(AUDIO)
        witness.settle()
    bodies = [orjson.loads(event.head) for event in witness.sent if event.audio]
    assert [body["type"] for body in bodies] == ["response.output_audio.delta"] * 6
    assert (bodies[-1]["item_id"] == bodies[0]["item_id"]) == (happens == "another pod takes it over")
    assert len({body["item_id"] for body in bodies[3:]}) == 1


def take_write_of_all(call: Call) -> CallWrite:
    call.write_whole = True
    return take_write(call, 0)


def test_a_call_that_waited_once_waits_for_one_write_only() -> None:
    """Frames that came during a slow write go out with it; the one after them waits for nothing."""
    witness = Witness(new_call(mirror=True, outbox_bytes=0), shortcut=True)
    witness.feed(AUDIO)
    witness.write()
    for _ in range(5):
        witness.feed(AUDIO)
    assert witness.sent == []
    witness.written()
    assert witness.call.unsaved_events == []
    behind = len(witness.sent)
    witness.feed(AUDIO)
    assert len(witness.sent) == behind + 1


def test_what_is_not_audio_waits_for_its_own_write() -> None:
    """An item that came during a write is not durable with it, and what follows it does not overtake it."""
    witness = Witness(new_call(mirror=True, outbox_bytes=0), shortcut=True)
    witness.feed(AUDIO)
    witness.write()
    witness.feed(AUDIO)
    witness.feed(TYPED)
    witness.feed(AUDIO)
    witness.written()
    assert witness.sent[-1].audio
    assert not witness.call.unsaved_events[0].audio
    witness.settle()
    assert witness.sent[-1].n == witness.call.seq


def test_with_numbers_used_up_frames_wait_for_the_store() -> None:
    """A store that hangs stops the mirror when the numbers taken in advance run out."""
    witness = Witness(new_call(mirror=True, outbox_bytes=0), shortcut=True)
    witness.feed(AUDIO)
    witness.settle()
    for _ in range(2 * NUMBERS_AHEAD):
        witness.feed(AUDIO)
    assert witness.sent[-1].n <= witness.stored
    assert len(witness.call.unsaved_events) > NUMBERS_AHEAD // 2
    witness.settle()
    assert witness.sent[-1].n == witness.call.seq


@pytest.mark.parametrize(("mirror", "outbox_bytes"), [(True, 1 << 20), (False, 0)])
def test_only_a_mirror_without_an_outbox_lets_out(mirror: bool, outbox_bytes: int) -> None:
    """Everything else is durable before it is visible."""
    witness = Witness(new_call(mirror=mirror, outbox_bytes=outbox_bytes), shortcut=True)
    witness.feed(AUDIO)
    witness.settle()
    before = len(witness.sent)
    for _ in range(10):
        witness.feed(AUDIO)
    assert len(witness.sent) == before


def test_nothing_is_let_out_of_a_call_that_is_about_to_move() -> None:
    """The next owner gives the next number, so the store must know the newest one exactly."""
    call = new_call(mirror=True, outbox_bytes=0)
    its = Witness(call, shortcut=True)
    for _ in range(3):
        its.feed(AUDIO)
        its.settle()
    assert machine.let_out(call, AUDIO) is not None
    assert call.numbers_to_save() == call.seq + NUMBERS_AHEAD
    its.feed(inputs.HandoffPlanned())
    assert machine.let_out(call, AUDIO) is None
    assert int(take_write(call, 0).fields["seq"]) == call.seq
    machine.release(call, [])
    assert machine.let_out(call, AUDIO) is None


def test_half_a_sample_is_not_let_out() -> None:
    """It goes the long way, and is refused there."""
    call = new_call(mirror=True, outbox_bytes=0)
    its = Witness(call, shortcut=True)
    for _ in range(3):
        its.feed(AUDIO)
        its.settle()
    for odd in (b"", b"x", FRAME + b"x"):
        assert machine.let_out(call, inputs.AppendAudio(odd)) is None
    assert machine.let_out(call, inputs.AppendAudio(b"xx")) is not None


def test_what_is_let_out_is_counted_as_sent() -> None:
    """What a caller heard of it is known, and how long it lasts is told when the response is done."""
    call = new_call(mirror=True, outbox_bytes=0)
    its = Witness(call, shortcut=True)
    for _ in range(3):
        its.feed(AUDIO)
        its.settle()
    assert call.response is not None
    assert call.playback is not None
    before = call.response.audio_bytes
    for _ in range(5):
        assert machine.let_out(call, AUDIO) is not None
    assert call.response.audio_bytes == before + 5 * len(FRAME)
    assert call.playback.audio_bytes == call.response.audio_bytes - call.response.item_audio_from


def test_a_loopback_may_move_at_any_moment() -> None:
    """Its response is open all the time, and nothing is lost of it."""
    call = new_call(mirror=True)
    machine.step(call, AUDIO, 0)
    assert call.response is not None
    assert machine.is_quiet(call)
