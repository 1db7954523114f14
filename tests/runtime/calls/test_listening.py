"""What a live call hears: where its turns lie, and when it begins to understand them.

Tests of `listening`, too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from tests.call.calls import FRAME, emitted, manual_call, moved, new_call
from tests.runtime.alone import Alone, Recogniser, alone, turns_pass
from tests.runtime.calls.test_long_messages import talk
from tests.runtime.calls.test_streamed_transcription import FrameEar, heard_by
from tests.speech.test_semantic_endpointing import in_noise
from tests.waiting import until
from voice_agent.call import input_audio
from voice_agent.call.audio import PCM
from voice_agent.call.effects import Effect
from voice_agent.call.inputs import (
    AppendAudio,
    ClearAudio,
    CommitAudio,
    ConnectionLost,
    CreateResponse,
    FromCaller,
    HandoffPlanned,
    Input,
    UpdateSession,
)
from voice_agent.call.machine import Step
from voice_agent.call.record import CallRecord
from voice_agent.runtime.calls import listening, turn_ending
from voice_agent.runtime.calls.early_transcription import AHEAD_MS, EARLY_PAUSE_MS
from voice_agent.runtime.calls.listening import HELD_SPEECH_MS, MAX_EARLY_BYTES
from voice_agent.runtime.calls.muted import MUTED_S, notice_silence
from voice_agent.runtime.calls.turn_ending import AGAIN_PAUSE_MS, YOUNG_MS
from voice_agent.speech import silero
from voice_agent.speech.endpointing import MAX_SPEECH_MS

BEFORE = PCM.size(100_000)
"""A call that has lasted for a while: its positions are no lengths."""
NO_DETECTION = UpdateSession({"type": "realtime", "audio": {"input": {"turn_detection": None}}})


def frames(from_ms: int, to_ms: int) -> list[bytes]:
    """Of the talk, which has voices from its first second to its third and from 5.5 s on."""
    return [talk(PCM)[at : at + len(FRAME)] for at in range(PCM.size(from_ms), PCM.size(to_ms), len(FRAME))]


def old_call() -> CallRecord:
    """A call that has lasted for a while."""
    call = new_call()
    call.input_audio.position = BEFORE
    return call


def hear(its: Alone, from_ms: int, to_ms: int) -> None:
    """The caller says this part of the talk."""
    for frame in frames(from_ms, to_ms):
        its.live.receive_event(AppendAudio(frame))


def turns(call: CallRecord) -> list[tuple[str, int]]:
    """Where speech started and stopped, in milliseconds."""
    at = {"input_audio_buffer.speech_started": "audio_start_ms", "input_audio_buffer.speech_stopped": "audio_end_ms"}
    return [(event["type"], event[at[event["type"]]]) for event in emitted(call) if event["type"] in at]


def nothing(*_: object) -> None:
    """In place of what turns lead to."""


def hold_nothing(its: Alone) -> None:
    """Have the rules get each frame as it comes."""
    held = its.live.listening.held
    held.most_silence_bytes = held.most_speech_bytes = 0


@cache
def undisturbed() -> list[tuple[str, int]]:
    """The turns of the talk, heard by one pod frame by frame."""
    its = Alone(old_call())
    its.live._carry_out = nothing  # type: ignore[method-assign, assignment]  # only turns matter here
    its.live.listening.note_pause = nothing  # type: ignore[method-assign, assignment]  # only turns matter here
    hear(its, 0, 8000)
    return turns(its.call)


def is_near(found: list[tuple[str, int]], wanted: list[tuple[str, int]]) -> bool:
    """Whether they are the same turns: a detector that has heard less of the noise may differ by some windows."""
    pairs = zip(found, wanted, strict=False)
    return len(found) == len(wanted) and all(a[0] == b[0] and abs(a[1] - b[1]) <= 100 for a, b in pairs)


@pytest.mark.parametrize("cut_ms", [1500, 2900, 3200])
async def test_a_take_over_in_an_utterance_moves_no_boundary(cut_ms: int) -> None:
    """Neither the end of this turn nor the start of the next: positions go on, and so does the length of the turn."""
    async with alone(old_call()) as blue:
        hear(blue, 0, cut_ms)
        assert blue.call.input_audio.speaking
        blue.live.feed(HandoffPlanned())
        before = turns(blue.call)
        call = moved(blue.call)
    async with alone(call) as green:
        green.live.resume_work()
        hear(green, cut_ms, 8000)
        assert len(undisturbed()) == 3
        assert is_near(before + turns(green.call), undisturbed())


@pytest.mark.skipif(not silero.is_installed(), reason="needs the extra natural")
@pytest.mark.parametrize("kind", ["hiss", "voices"])
@pytest.mark.parametrize("cut_ms", [3700, 4200, 4700])
async def test_a_take_over_in_noise_moves_nothing(cut_ms: int, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """How loud it was before is in the record: the turn ends where it would have, and the ear gets the same."""
    monkeypatch.setattr(turn_ending, "ready_model", silero.silero_model)
    audio = in_noise(kind)[: PCM.size(6400)]
    pieces = [AppendAudio(audio[at : at + len(FRAME)]) for at in range(0, len(audio), len(FRAME))]
    found = []
    for before in (len(pieces), cut_ms // 20):
        detection = {"type": "semantic_vad", "create_response": False}
        async with alone(new_call(audio={"input": {"turn_detection": detection}})) as blue:
            for piece in pieces[:before]:
                blue.live.receive_event(piece)
            told = turns(blue.call)
            blue.live.feed(HandoffPlanned())
            async with alone(moved(blue.call)) as green:
                green.live.resume_work()
                for piece in pieces[before:]:
                    green.live.receive_event(piece)
                told += turns(green.call)
                await turns_pass()
                assert isinstance(green.agent, Recogniser)
                found.append((told, green.agent.asked[-1:]))
    assert found[0] == found[1]
    assert [kind.rpartition("_")[2] for kind, _ in found[0][0]][:2] == ["started", "stopped"]


async def test_a_take_over_does_not_make_a_turn_longer_than_it_may_be() -> None:
    """Its length counts from its start, wherever in the call that was."""
    call = old_call()
    heard = call.input_audio
    heard.speaking, heard.item_id = True, "item"
    heard.audio += b"".join(frames(5600, 9600)) * 15
    del heard.audio[PCM.size(MAX_SPEECH_MS - 1500) :]
    heard.position += len(heard.audio)
    async with alone(call) as its:
        its.live.resume_work()
        hear(its, 6000, 7400)
        assert turns(call) == []
        hear(its, 7400, 7600)
        assert [kind.rpartition("_")[2] for kind, _ in turns(call)] == ["stopped", "started"]


@pytest.mark.parametrize("refused", [AppendAudio(bytes(len(FRAME) + 1)), AppendAudio(bytes(len(FRAME)), "again")])
async def test_audio_that_is_not_taken_is_not_listened_to(refused: AppendAudio) -> None:
    """Half a sample, or what had come before the connection broke: turns lie where they do without it."""
    async with alone(old_call()) as its:
        its.call.client_events.remember("again", heard_to=0)
        its.call.client_events.resent_to = 0
        hear(its, 0, 900)
        came = its.observer.frames.came
        its.live.receive_event(refused)
        assert its.observer.frames.came - came == (refused.event_id is None)
        hear(its, 900, 8000)
        assert turns(its.call) == undisturbed()


async def test_a_turn_is_understood_from_its_pause_on() -> None:
    """Once, while the caller may still go on; when the turn ends, that is its result."""
    async with alone() as its:
        agent = its.agent
        assert isinstance(agent, Recogniser)
        looks: list[tuple[bool, int]] = []
        for frame in frames(0, 4000):
            its.live.receive_event(AppendAudio(frame))
            await turns_pass(2)
            looks.append((its.call.input_audio.speaking, len(agent.asked)))
        assert (True, 0) in looks
        assert (True, 1) in looks
        assert looks[-1] == (False, 1)
        agent.may_understand.set()
        await until(lambda: not its.call.clips.untranscribed)
        [item] = [item for item in its.call.conversation.items() if item["role"] == "user"]
        assert item["content"][0]["transcript"] == f"{agent.asked[0]} bytes"


async def test_what_is_said_after_a_pause_is_understood_though_the_turn_ends_in_the_same_piece() -> None:
    """What was understood in the pause is not all of the turn."""
    async with alone() as its:
        agent = its.agent
        assert isinstance(agent, Recogniser)
        agent.may_understand.set()
        hear(its, 0, 3300)
        await until(lambda: agent.asked)
        its.live.receive_event(AppendAudio(b"".join(frames(1000, 4000))))
        await until(lambda: not its.call.clips.untranscribed and not its.call.input_audio.speaking)
        [item] = [item for item in its.call.conversation.items() if item["role"] == "user"]
        assert len(agent.asked) == 2
        assert item["content"][0]["transcript"] == f"{agent.asked[1]} bytes"
        assert agent.asked[1] - agent.asked[0] > PCM.size(2000)


async def test_what_is_said_between_two_pauses_is_understood_though_it_comes_with_the_second() -> None:
    """In one piece of audio: what was understood in the first pause is not taken for all of the turn."""
    async with alone() as its:
        agent = its.agent
        assert isinstance(agent, Recogniser)
        agent.may_understand.set()
        hear(its, 0, 3300)
        await until(lambda: agent.asked)
        its.live.receive_event(AppendAudio(b"".join(frames(1000, 3300))))
        await until(lambda: len(agent.asked) == 2)
        hear(its, 3300, 4000)
        await until(lambda: not its.call.clips.untranscribed and not its.call.input_audio.speaking)
        [item] = [item for item in its.call.conversation.items() if item["role"] == "user"]
        assert item["content"][0]["transcript"] == f"{agent.asked[1]} bytes"
        assert agent.asked[1] - agent.asked[0] > PCM.size(2000)


@pytest.mark.parametrize(
    ("pause_ms", "size_bytes", "begins"),
    [
        (EARLY_PAUSE_MS, MAX_EARLY_BYTES, True),
        (EARLY_PAUSE_MS - 1, 960, False),
        (EARLY_PAUSE_MS, MAX_EARLY_BYTES + 1, False),
    ],
)
async def test_what_is_understood_early(pause_ms: int, size_bytes: int, *, begins: bool) -> None:
    """What ends in a pause of that length, and is no longer than that."""
    async with alone() as its:
        its.call.input_audio.speaking, its.call.input_audio.item_id = True, "item"
        its.call.input_audio.audio += bytes(size_bytes)
        its.live.listening.note_pause(pause_ms)
        assert its.live.listening._early.is_begun is begins


@pytest.mark.parametrize(("more_ms", "begins_at_once"), [(YOUNG_MS - 20, False), (YOUNG_MS, True)])
async def test_who_stops_again_soon_is_given_longer_to_go_on(more_ms: int, *, begins_at_once: bool) -> None:
    """Each attempt costs as much as all that was said; one that lasts is not made anew while the pause goes on."""
    async with alone() as its:
        agent, buffer = its.agent, its.call.input_audio
        assert isinstance(agent, Recogniser)
        its.live.listening.speech_started("item")
        buffer.speaking, buffer.item_id = True, "item"
        buffer.audio += bytes(PCM.size(1000))
        for pause_ms in (EARLY_PAUSE_MS, EARLY_PAUSE_MS + 20):
            its.live.listening.note_pause(pause_ms)
            await turns_pass(2)
        assert agent.asked == [PCM.size(1000)]
        its.live.listening.note_pause(0)
        buffer.audio += bytes(PCM.size(more_ms))
        its.live.listening.note_pause(EARLY_PAUSE_MS)
        assert its.live.listening._early.is_begun is begins_at_once
        its.live.listening.note_pause(AGAIN_PAUSE_MS)
        assert its.live.listening._early.is_begun


class QuickToStop(Recogniser):
    """What it is asked for costs nothing once it is not wanted."""

    def __init__(self) -> None:
        super().__init__()
        assert self.ear is not None
        self.ear.stops_soon = True


async def test_an_ear_that_stops_soon_is_asked_ahead() -> None:
    """In a pause that is shorter by so much; it stops if the caller goes on, and is asked as early in the next one."""
    async with alone(agent=QuickToStop()) as its:
        listening, agent, buffer = its.live.listening, its.agent, its.call.input_audio
        assert isinstance(agent, Recogniser)
        listening.speech_started("item")
        buffer.speaking, buffer.item_id = True, "item"
        for said_ms in (1000, 1200):
            buffer.audio[:] = bytes(PCM.size(said_ms))
            listening.note_pause(EARLY_PAUSE_MS - AHEAD_MS - 20)
            assert not listening._early.is_begun
            listening.note_pause(EARLY_PAUSE_MS - AHEAD_MS)
            await until(lambda said_ms=said_ms: agent.asked[-1:] == [PCM.size(said_ms)])
            listening.note_pause(0)
            await until(lambda said_ms=said_ms: agent.given_up[-1:] == [PCM.size(said_ms)])


@pytest.mark.parametrize("stops_soon", [True, False])
async def test_the_ear_gets_the_same_however_late_it_is_asked(*, stops_soon: bool) -> None:
    """Also on a pod that has taken over, where it is not known when it was asked before."""
    asked: list[list[int]] = []
    for cut_ms in (0, 1500, 2900):
        for was_asked in (True, False):
            async with alone(agent=QuickToStop() if stops_soon else None) as blue:
                hear(blue, 0, cut_ms or 1500)
                blue.live.feed(HandoffPlanned())
                call = moved(blue.call) if cut_ms else blue.call
                async with alone(call, QuickToStop() if stops_soon else None) as green:
                    its = green if cut_ms else blue
                    assert isinstance(its.agent, Recogniser)
                    if cut_ms:
                        its.live.resume_work()
                    hear(its, cut_ms or 1500, 2980)
                    if was_asked:
                        its.live.listening._asked_bytes = len(its.call.input_audio.audio)
                    hear(its, 2980, 3400)
                    await until(lambda agent=its.agent: agent.asked)
                    asked.append(its.agent.asked[-1:])
    assert asked == asked[:1] * 6


@pytest.mark.parametrize("stops_soon", [True, False])
@pytest.mark.parametrize("is_muted", [True, False])
async def test_the_ear_gets_the_same_of_a_turn_that_was_over_when_another_pod_had_it(
    *, stops_soon: bool, is_muted: bool
) -> None:
    """Which the pod before asked about in its pause, and which its own end is long behind."""
    async with alone(agent=QuickToStop() if stops_soon else None) as blue:
        connection = blue.attach()
        hear(blue, 0, 3300 if is_muted else 4000)
        if is_muted:
            notice_silence(blue.live, MUTED_S)
            connection.asked.pop()()
        assert not blue.call.input_audio.speaking
        await turns_pass()
        blue.live.feed(HandoffPlanned())
        async with alone(moved(blue.call), QuickToStop() if stops_soon else None) as green:
            green.live.resume_work()
            assert isinstance(blue.agent, Recogniser)
            assert isinstance(green.agent, Recogniser)
            await until(lambda agent=green.agent: agent.asked)
            assert green.agent.asked == blue.agent.asked[-1:]


async def test_a_pause_is_told_of_at_its_time_though_the_ear_knew_before() -> None:
    """And the ear is asked once for it, however much it lasts."""
    async with alone(agent=QuickToStop()) as its:
        listening, agent, buffer = its.live.listening, its.agent, its.call.input_audio
        assert isinstance(agent, Recogniser)
        agent.may_understand.set()
        told: list[str | None] = []
        listening._paused = told.append  # type: ignore[method-assign, assignment]  # only whether and when matters here
        buffer.speaking, buffer.item_id = True, "item"
        buffer.audio[:] = bytes(PCM.size(1000))
        listening.note_pause(EARLY_PAUSE_MS - AHEAD_MS)
        await turns_pass(5)
        assert (told, agent.asked) == ([], [PCM.size(1000)])
        for pause_ms in (EARLY_PAUSE_MS, EARLY_PAUSE_MS + 20):
            buffer.audio += FRAME
            listening.note_pause(pause_ms)
            await turns_pass(5)
        assert (told, agent.asked) == ([f"{PCM.size(1000)} bytes"], [PCM.size(1000)])


async def test_the_next_utterance_is_asked_about_as_if_there_had_been_none() -> None:
    """However soon it comes, and however long the one before it was."""
    async with alone() as its:
        listening, buffer = its.live.listening, its.call.input_audio
        for said_ms in (3000, 500):
            listening.speech_started("item")
            buffer.speaking, buffer.item_id = True, "item"
            buffer.audio[:] = bytes(PCM.size(said_ms))
            listening.note_pause(EARLY_PAUSE_MS)
            assert listening._early.is_begun
            listening.speech_stopped("item")
            listening._early.cancel()


@pytest.mark.parametrize("end", ["is ended", "is hung up", "is another pod's", "is erased", "moves"])
async def test_what_was_begun_early_ends_with_the_call(end: str) -> None:
    """Nobody will ask for it on this pod."""
    async with alone() as its:
        agent = its.agent
        assert isinstance(agent, Recogniser)
        connection = its.attach()
        hear(its, 0, 2900)
        its.live.listening.note_pause(EARLY_PAUSE_MS)
        await until(lambda: agent.asked)
        if end == "is ended":
            its.live.finish("admin")
        elif end == "is hung up":
            its.live.detach(connection, hung_up=True, planned=False)
        elif end == "is another pod's":
            its.live.writer.superseded()
        elif end == "is erased":
            its.live.writer.erased()
        else:
            await its.live.stop_work()
        await until(lambda: agent.given_up)
        assert not its.live.listening._early.is_begun


async def test_audio_that_is_cleared_ends_the_utterance_it_was_of() -> None:
    """What is said then is another one."""
    async with alone() as its:
        hear(its, 0, 2000)
        its.live.receive_event(ClearAudio())
        hear(its, 0, 2000)
        assert [kind for kind, _ in turns(its.call)] == ["input_audio_buffer.speech_started"] * 2


async def test_nobody_is_listened_to_for_turns_that_are_not_detected() -> None:
    """The caller commits them, or there are none: it would cost time at every frame."""
    async with alone() as its:
        assert its.live.listening.endpointer is not None
        its.live.receive_event(NO_DETECTION)
        assert its.live.listening.endpointer is None
    async with alone(new_call(mirror=True)) as its:
        assert its.live.listening.endpointer is None


async def test_a_turn_that_is_not_understood_in_time_is_not_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reply waits no longer, and the recogniser is told to stop."""
    monkeypatch.setattr(listening, "TRANSCRIPTION_LIMIT_S", 0.01)
    async with alone(manual_call()) as its:
        agent = its.agent
        assert isinstance(agent, Recogniser)
        its.live.receive_event(AppendAudio(FRAME * 10))
        its.live.receive_event(CommitAudio())
        await until(lambda: not its.call.clips.untranscribed)
        assert agent.given_up == [10 * len(FRAME)]
        assert its.live.listening._transcribing == {}


TAKEN: list[FromCaller] = [AppendAudio(FRAME), CommitAudio(), CreateResponse({}), NO_DETECTION]


@pytest.mark.parametrize("event", TAKEN, ids=lambda it: type(it).__name__)
async def test_nothing_happens_to_a_call_that_another_pod_has(event: FromCaller) -> None:
    """Its state is what it was, and nothing is begun."""
    async with alone(manual_call()) as its:
        its.live.receive_event(AppendAudio(FRAME * 10))
        its.live.writer.superseded()
        before = (its.call.outbox.seq, its.call.input_audio.position, its.call.dialogue.turns)
        its.live.receive_event(event)
        assert (its.call.outbox.seq, its.call.input_audio.position, its.call.dialogue.turns) == before
        assert its.live.responder._task is None


# --- what is gathered between boundaries and pauses --------------------------------------


def test_frames_are_gathered_and_change_no_turn_nor_what_is_heard_of_it() -> None:
    """The rules get some of them at a time, and come to the same as if they got each."""
    gathered, each = Alone(old_call()), Alone(old_call())
    steps = {gathered: 0, each: 0}
    for its in (gathered, each):
        its.live._carry_out = nothing  # type: ignore[method-assign, assignment]  # only turns matter here
        its.live.listening.note_pause = nothing  # type: ignore[method-assign, assignment]  # only turns matter here
        step = its.live.step

        def counted(call: CallRecord, event: Input, now_ms: int, its: Alone = its, step: Step = step) -> list[Effect]:
            steps[its] += 1
            return step(call, event, now_ms)

        its.live.step = counted
    hold_nothing(each)
    for its in (gathered, each):
        hear(its, 0, 8000)
        its.live.listening.held.give()
    assert turns(gathered.call) == turns(each.call)
    clips = [its.call.clips.latest for its in (gathered, each)]
    assert clips[0] is not None
    assert clips[0] == clips[1]
    assert gathered.call.input_audio == each.call.input_audio
    assert steps[each] == len(frames(0, 8000))
    assert steps[gathered] < 0.4 * steps[each]


@pytest.mark.parametrize("kind", ["clear", "named", "handoff", "agent", "lost"])
async def test_what_is_held_comes_to_the_rules_before_anything_else_does(kind: str) -> None:
    """The position is whole whenever something else happens to the call, whoever it comes from."""
    async with alone(old_call()) as its:
        happens: dict[str, Callable[[], object]] = {
            "clear": lambda: its.live.receive_event(ClearAudio()),
            "named": lambda: its.live.receive_event(AppendAudio(b"", "an-id")),
            "handoff": lambda: its.live.feed(HandoffPlanned()),
            "agent": lambda: its.live.change_agent(Recogniser()),
            "lost": lambda: its.live.feed(ConnectionLost(hung_up=False, planned=False)),
        }
        hear(its, 0, 60)
        assert its.call.input_audio.position == BEFORE
        happens[kind]()
        assert its.call.input_audio.position == BEFORE + PCM.size(60)
        assert not its.live.listening.held.audio


async def test_what_is_held_is_taken_back_when_the_client_sends_it_again() -> None:
    """Of a client that comes back, and goes on from what is durable, no silence is heard twice."""
    async with alone(old_call()) as its:
        its.attach()
        hear(its, 0, 60)
        durable = its.call.input_audio.durable_position
        its.attach()
        assert its.call.input_audio.position == durable
        hear(its, 0, 80)
        its.live.listening.held.give()
        assert its.call.input_audio.position == durable + PCM.size(80)


def test_what_is_held_of_a_caller_who_speaks_is_saved_as_soon_as_without() -> None:
    """A crash loses no more: at each frame as much of it has been given to a write."""
    gathered, each = Alone(old_call()), Alone(old_call())
    hold_nothing(each)
    saved: dict[Alone, list[int]] = {gathered: [], each: []}
    held: list[int] = []
    for its in (gathered, each):
        its.live._carry_out = nothing  # type: ignore[method-assign, assignment]  # only what is saved matters here
        its.live.listening.note_pause = nothing  # type: ignore[method-assign, assignment]  # it is for the ear
        its.call.speech.checkpoint_ms = 200
        for start_ms in range(0, 3400, 20):
            hear(its, start_ms, start_ms + 20)
            if its.call.input_audio.speaking:
                saved[its].append(its.call.input_audio.durable_position)
                held.append(len(its.live.listening.held.audio))
    assert saved[gathered] == saved[each]
    assert len(set(saved[each])) > 2
    assert max(held) == PCM.size(HELD_SPEECH_MS - 20)


async def test_nothing_is_held_in_a_pause() -> None:
    """It may end the turn, and an ear that is asked is to have all that was said before it."""
    paused_ms = 0
    async with alone(old_call()) as its:
        for start_ms in range(0, 3400, 20):
            hear(its, start_ms, start_ms + 20)
            endpointer = its.live.listening.endpointer
            assert endpointer is not None
            if endpointer.pause_ms:
                paused_ms += 20
                assert its.call.input_audio.position == BEFORE + PCM.size(start_ms + 20)
    assert paused_ms >= 200


@pytest.mark.parametrize("named", [0, 3], ids=["without ids", "each third with an id"])
@pytest.mark.parametrize("most_ms", range(300, 500, 20))
async def test_endpointing_is_where_the_rules_are_though_they_cut_a_turn_that_is_held(
    most_ms: int, named: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn that is too long is ended by the rules, and endpointing begins anew: it has heard all that they have."""
    monkeypatch.setattr(input_audio, "MAX_BUFFER_BYTES", PCM.size(most_ms))
    async with alone(old_call()) as its:
        for number, frame in enumerate(frames(0, 3400), 1):
            its.live.receive_event(AppendAudio(frame, f"e{number}" if named and number % named == 0 else None))
            listening = its.live.listening
            assert listening.endpointer is not None
            came = its.call.input_audio.position + len(listening.held.audio)
            assert (listening.endpointer._position, came) == (came, BEFORE + number * len(frame))
        assert its.observer.counts["limit_reached", "turn_bytes"] >= 1


async def test_nothing_is_held_of_speech_for_an_ear_that_streams() -> None:
    """It gets frames as they come."""
    async with heard_by(FrameEar(), old_call()) as its:
        hear(its, 0, 1200)
        assert its.call.input_audio.speaking
        for start_ms in range(1200, 1500, 20):
            hear(its, start_ms, start_ms + 20)
            assert its.call.input_audio.position == BEFORE + PCM.size(start_ms + 20)


def test_nothing_is_held_where_its_length_counts_to_the_frame() -> None:
    """Neither of a caller who commits turns, nor where a silence of some length becomes a turn."""
    timed = {"type": "server_vad", "idle_timeout_ms": 5000}
    for detection in (None, timed):
        its = Alone(old_call())
        its.live.receive_event(UpdateSession({"type": "realtime", "audio": {"input": {"turn_detection": detection}}}))
        hear(its, 0, 20)
        assert its.call.input_audio.position == BEFORE + len(FRAME)
