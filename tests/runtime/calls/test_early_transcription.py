"""Recognition that begins in a pause."""

from __future__ import annotations

import asyncio

import pytest

from tests.runtime.alone import TimingObserver, turns_pass
from tests.runtime.clocks import StoppedClock
from tests.runtime.rig import CountingObserver
from tests.waiting import until
from voice_agent.call.audio import PCM
from voice_agent.kit.clip import Clip
from voice_agent.kit.ear import Ear
from voice_agent.runtime.calls.early_transcription import BUDGET_MS, EarlyTranscription
from voice_agent.runtime.clock import SystemClock
from voice_agent.speech.speech_work import WORK, SpeechWork

HALF, WHOLE = Clip(b"half", PCM), Clip(b"whole", PCM)


class Parrot(Ear):
    """Understands the bytes themselves; notes what it was asked and what was given up."""

    name = "parrot"

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.given_up: list[bytes] = []
        self.may_answer = asyncio.Event()

    async def transcribe(self, clip: Clip) -> str | None:
        self.asked.append(clip.audio)
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.given_up.append(clip.audio)
            raise
        return clip.audio.decode()


def understanding(ear: Ear) -> EarlyTranscription:
    """Of one call."""
    return EarlyTranscription(ear, SystemClock(), CountingObserver(), "call")


async def test_a_turn_that_ended_in_the_pause_is_recognised_once() -> None:
    """The attempt of the pause is the answer; the rest of the turn is only silence."""
    ear = Parrot()
    its = understanding(ear)
    its.begin("item_1", HALF)
    ear.may_answer.set()
    assert (await its.transcript_of("item_1", WHOLE)).text == "half"
    assert ear.asked == [b"half"]
    assert not its.is_begun


async def test_a_turn_that_pauses_again_and_again_has_a_budget() -> None:
    """Attempts are marked as such; once they have cost too much the turn is recognised when it is over, and then only.

    The next turn has a budget of its own.
    """
    ear = CostlyEar()
    its = understanding(ear)
    told: list[str | None] = []
    for count, item_id in enumerate(("item_1", "item_1", "item_1", "item_2"), 1):
        its.begin(item_id, HALF)
        its.when_known(told.append)
        await until(lambda count=count: len(told) == count)
    assert (told, ear.early) == (["half", "half", None, "half"], [True, True, True])
    its.cancel()
    assert (await its.transcript_of("item_2", WHOLE)).text == "whole"
    assert ear.early[-1] is False


async def test_attempts_ahead_of_a_pause_leave_half_of_the_budget() -> None:
    """A long turn has many short pauses, and its end is to be known early, too."""
    its = understanding(CostlyEar())
    told: list[str | None] = []
    for count in (1, 2):
        its.begin("item_1", HALF, ahead=count == 2)
        its.when_known(told.append)
        await until(lambda count=count: len(told) == count)
    its.begin("item_1", HALF)
    its.when_known(told.append)
    await until(lambda: told == ["half", None, "half"])


async def test_once_the_turn_is_over_its_attempt_is_not_early_any_more() -> None:
    """Somebody waits for it now, and the workers learn that."""
    works: list[SpeechWork | None] = []

    class Noting(Parrot):
        async def transcribe(self, clip: Clip) -> str | None:
            works.append(WORK.get())
            return await super().transcribe(clip)

    ear = Noting()
    its = understanding(ear)
    its.begin("item_1", WHOLE)
    await until(lambda: bool(works))
    over = asyncio.create_task(its.transcript_of("item_1", WHOLE))
    await until(lambda: works[0] is not None and not works[0].is_early)
    ear.may_answer.set()
    assert (await over).text == "whole"


class CostlyEar(Parrot):
    """Takes more than half of a turn's budget each time."""

    def __init__(self) -> None:
        super().__init__()
        self.early: list[bool] = []
        self.may_answer.set()

    async def transcribe(self, clip: Clip) -> str | None:
        work = WORK.get()
        assert work is not None
        self.early.append(work.is_early)
        work.cpu_ms += BUDGET_MS * 0.6
        return await super().transcribe(clip)


async def test_a_caller_who_goes_on_is_heard_out() -> None:
    """The attempt is dropped and all of the turn recognised."""
    ear = Parrot()
    its = understanding(ear)
    its.begin("item_1", HALF)
    await asyncio.sleep(0)
    its.cancel()
    ear.may_answer.set()
    assert (await its.transcript_of("item_1", WHOLE)).text == "whole"
    await until(lambda: ear.given_up == [b"half"])


async def test_an_attempt_is_never_taken_for_another_turn() -> None:
    """Only the item it was begun for gets its result."""
    ear = Parrot()
    its = understanding(ear)
    its.begin("item_1", HALF)
    ear.may_answer.set()
    assert (await its.transcript_of("item_2", WHOLE)).text == "whole"


async def test_an_attempt_that_is_given_up_as_it_ends_tells_nobody() -> None:
    """Another has begun before the loop came to it."""
    told: list[str | None] = []
    ear = Parrot()
    its = understanding(ear)
    its.begin("item_1", HALF)
    its.when_known(told.append)
    assert its._early is not None
    _, attempt = its._early
    ear.may_answer.set()
    while not attempt.done():
        await asyncio.sleep(0)
    its.begin("item_2", WHOLE)
    await turns_pass()
    assert (attempt.result().text, told) == ("half", [])
    its.cancel()


async def test_an_attempt_that_nobody_will_ask_for_is_given_up() -> None:
    """Another has begun, the caller goes on, or another turn is over: a recogniser works on one turn of a call."""
    ear = Parrot()
    its = understanding(ear)
    its.begin("item_1", HALF)
    await until(lambda: ear.asked == [b"half"])
    its.begin("item_2", WHOLE)
    assert its.is_begun
    await until(lambda: (ear.asked, ear.given_up) == ([b"half", b"whole"], [b"half"]))
    its.cancel()
    its.cancel()
    assert not its.is_begun
    await until(lambda: ear.given_up == [b"half", b"whole"])
    its.begin("item_3", HALF)
    await until(lambda: len(ear.asked) == 3)
    other = asyncio.create_task(its.transcript_of("item_4", WHOLE))
    await until(lambda: ear.given_up == [b"half", b"whole", b"half"])
    ear.may_answer.set()
    assert (await other).text == "whole"


async def test_the_time_of_recognition_is_told() -> None:
    """What the caller waits for it once the turn is over."""
    clock, observer = StoppedClock(), TimingObserver()

    class SlowEar(Ear):
        async def transcribe(self, clip: Clip) -> str | None:
            clock.now_s += 0.5
            return "slow"

    its = EarlyTranscription(SlowEar(), clock, observer, "call")
    assert (await its.transcript_of("item", WHOLE)).text == "slow"
    assert observer.stages == [("stt", 0.5)]


async def test_a_recogniser_that_fails_leaves_the_turn_not_understood() -> None:
    """None, not an exception; and lost audio is not even asked about."""

    class BrokenEar(Ear):
        async def transcribe(self, clip: Clip) -> str | None:
            raise RuntimeError("broken")

    assert (await understanding(BrokenEar()).transcript_of("item_1", WHOLE)).text is None
    ear = Parrot()
    assert (await understanding(ear).transcript_of("item_1", Clip(b"", PCM))).text is None
    assert ear.asked == []


class Swallowing(Ear):
    """Makes of a cancellation what it likes."""

    def __init__(self, *, raises: bool) -> None:
        self.raises = raises
        self.asked = asyncio.Event()

    async def transcribe(self, clip: Clip) -> str | None:
        try:
            self.asked.set()
            return await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            if self.raises:
                raise RuntimeError("I was cancelled") from None
            return "half of it"


@pytest.mark.parametrize("raises", [True, False])
@pytest.mark.parametrize("early", [True, False])
async def test_a_cancellation_that_a_recogniser_swallows_is_one(*, raises: bool, early: bool) -> None:
    """The turn is left to whoever takes the call over; it does not count as understood, nor as not."""
    ear = Swallowing(raises=raises)
    its = understanding(ear)
    clip = Clip(bytes(PCM.size(100)), PCM)
    if early:
        its.begin("item", clip)
    work = asyncio.create_task(its.transcript_of("item", clip))
    await ear.asked.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
