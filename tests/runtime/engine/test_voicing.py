"""A voice says something, or it has failed: there is no third."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.runtime.clocks import StoppedClock
from tests.runtime.rig import CountingObserver
from voice_agent.call.audio import PCM, PCMU
from voice_agent.kit.clip import VoicedAudio
from voice_agent.kit.speech import SpeechInterrupted
from voice_agent.kit.voice import Utterance, Voice, VoiceFailed
from voice_agent.runtime.engine import voicing
from voice_agent.runtime.engine.agent_steps import BLOCKED_S, StepWatch, Watched
from voice_agent.runtime.engine.voicing import voiced

HELLO = Utterance("hello there", "alloy")
SECOND = VoicedAudio(bytes(PCM.size(1000)), PCM, [])


class MadeVoice(Voice):
    """Says what a function of the test gives."""

    name = "made"

    def __init__(self, say: Callable[[Utterance], Any]) -> None:
        self._say = say
        self.clock = StoppedClock()
        self.observer = CountingObserver()

    def say(self, utterance: Utterance) -> Any:
        return self._say(utterance)

    def watch(self) -> StepWatch:
        return StepWatch(self.name, "call", self.clock, self.observer, kind="voice")


def gives(*pieces: Any) -> MadeVoice:
    """A voice that gives these."""

    async def say(_: Utterance) -> AsyncIterator[Any]:
        for piece in pieces:
            yield piece

    return MadeVoice(say)


async def said(voice: MadeVoice, utterance: Utterance = HELLO) -> list[VoicedAudio]:
    return [piece async for piece in voiced(voice, utterance, voice.watch())]


async def test_what_a_voice_gives_is_handed_on() -> None:
    """Piece by piece, as bytes and lists; words count characters of the whole text, milliseconds of their piece."""
    first = VoicedAudio(bytearray(PCM.size(10)), PCM, ((0, 0), (10, 6)))  # type: ignore[arg-type]
    second = VoicedAudio(memoryview(bytes(PCMU.size(5))), PCMU, [[0, 6], [5, 11]])  # type: ignore[arg-type]
    found = await said(gives(first, VoicedAudio(b"", PCM), second))
    assert found == [
        VoicedAudio(bytes(PCM.size(10)), PCM, [[0, 0], [10, 6]]),
        VoicedAudio(bytes(PCMU.size(5)), PCMU, [[0, 6], [5, 11]]),
    ]
    assert [type(piece.audio) for piece in found] == [bytes, bytes]
    assert await said(gives()) == []


def raises_at_once(_: Utterance) -> Any:
    raise RuntimeError("no model")


async def raises_later(_: Utterance) -> AsyncIterator[Any]:
    yield SECOND
    raise RuntimeError("no model")


async def exits(_: Utterance) -> AsyncIterator[Any]:
    raise SystemExit(3)
    yield


async def cancels_itself(_: Utterance) -> AsyncIterator[Any]:
    work = asyncio.get_running_loop().create_future()
    work.cancel()
    await work
    yield


async def waits_for_what_fails(_: Utterance) -> AsyncIterator[Any]:
    request = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(request.set_exception, RuntimeError("no model"))
    try:
        await request
    except RuntimeError as error:
        raise OSError(str(error)) from error
    yield


async def no_generator(_: Utterance) -> Any:
    return [SECOND]


@pytest.mark.parametrize(
    ("voice", "why"),
    [
        (MadeVoice(raises_at_once), "raised RuntimeError"),
        (MadeVoice(raises_later), "raised RuntimeError"),
        (MadeVoice(exits), "raised SystemExit"),
        (MadeVoice(cancels_itself), "raised CancelledError"),
        (MadeVoice(waits_for_what_fails), "raised OSError"),
        (MadeVoice(no_generator), "raised TypeError"),
        (MadeVoice(lambda _: [SECOND]), "raised TypeError"),
    ],
)
async def test_a_voice_that_raises_has_failed(voice: MadeVoice, why: str) -> None:
    """At once or later; what it said before stands, and the cause is told."""
    with pytest.raises(VoiceFailed) as failed:
        await said(voice)
    assert (failed.value.kind, failed.value.why) == ("raised", why)
    assert failed.value.__cause__ is not None
    assert str(failed.value) == f"The voice 'made' {why}."


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ([b"\0\0"], "gave bytes, which is no audio or holds what is none"),
        ([None], "gave NoneType, which is no audio or holds what is none"),
        ([VoicedAudio("\0\0", PCM)], "gave VoicedAudio"),  # type: ignore[arg-type]
        ([VoicedAudio(b"\0\0", "audio/pcm")], "gave VoicedAudio"),  # type: ignore[arg-type]
        ([VoicedAudio(b"\0\0\0", PCM)], "gave 3 bytes of audio/pcm, which is no whole number of samples"),
        ([VoicedAudio(b"\0\0", PCM, [[0, None]])], "gave words that cannot be: "),  # type: ignore[list-item]
        ([VoicedAudio(b"\0\0", PCM, [[1]])], "gave words that cannot be: "),
        ([VoicedAudio(SECOND.audio, PCM, [[5, 1], [4, 2]])], "gave words that cannot be: words do not ascend"),
        ([VoicedAudio(SECOND.audio, PCM, [[5, 2], [6, 1]])], "gave words that cannot be: words do not ascend"),
        ([VoicedAudio(SECOND.audio, PCM, [[-1, 1]])], "gave words that cannot be: words do not ascend"),
        (
            [VoicedAudio(SECOND.audio, PCM, [[0, 6]]), VoicedAudio(SECOND.audio, PCM, [[0, 5]])],
            "gave words that cannot be: they are at 5 to 5 of 11",
        ),
        ([VoicedAudio(SECOND.audio, PCM, [[5, 12]])], "gave words that cannot be: "),
        ([VoicedAudio(SECOND.audio, PCM, [[1001, 6]])], "gave words that cannot be: "),
    ],
)
async def test_a_voice_that_gives_no_audio_has_failed(pieces: list[Any], why: str) -> None:
    """Before any of that piece is heard; the words say what was wrong with it."""
    with pytest.raises(VoiceFailed) as failed:
        await said(gives(*pieces))
    assert failed.value.kind == "no_part"
    assert failed.value.why.startswith(why)


@pytest.mark.parametrize("empty", [False, True])
async def test_a_voice_that_falls_silent_has_failed(monkeypatch: pytest.MonkeyPatch, *, empty: bool) -> None:
    """Whether it waits for ever or gives pieces without audio; it is closed, and time counts from its last audio."""
    closed = []

    async def say(_: Utterance) -> AsyncIterator[Any]:
        try:
            yield SECOND
            while empty:
                yield VoicedAudio(b"", PCM)
            await asyncio.get_running_loop().create_future()
        finally:
            closed.append(True)

    monkeypatch.setattr(voicing, "VOICE_SILENT_S", 0.01)
    with pytest.raises(VoiceFailed, match=r"The voice 'made' gave no audio for 0\.01 s\.$") as failed:
        await said(MadeVoice(say))
    assert failed.value.kind == "silent"
    assert closed == [True]


async def test_a_voice_that_is_slow_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the caller of `voiced` does with a piece is not the voice's time."""

    async def say(_: Utterance) -> AsyncIterator[Any]:
        yield SECOND
        for _turn in range(3):
            await asyncio.sleep(0)
        yield SECOND

    monkeypatch.setattr(voicing, "VOICE_SILENT_S", 0.05)
    voice, found = MadeVoice(say), []
    async for piece in voiced(voice, HELLO, voice.watch()):
        found.append(piece)
        await asyncio.sleep(0.1)
    assert found == [SECOND, SECOND]


async def test_the_silence_of_a_voice_that_loads_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a start on a busy machine the first answer failed: models had taken longer than a voice may be silent."""

    class Loading(MadeVoice):
        looks = 0

        @property
        def is_loading(self) -> bool:
            self.looks += 1
            if self.looks == LOOKS:
                loaded.set()
            return self.looks < LOOKS

    async def say(_: Utterance) -> AsyncIterator[Any]:
        await loaded.wait()
        yield SECOND
        await asyncio.get_running_loop().create_future()

    loaded = asyncio.Event()
    monkeypatch.setattr(voicing, "VOICE_SILENT_S", 0.4)
    voice = Loading(say)
    async with aclosing(voiced(voice, HELLO, voice.watch())) as pieces:
        assert await anext(pieces) == SECOND
        with pytest.raises(VoiceFailed, match="gave no audio"):
            await anext(pieces)


LOOKS = 7
"""At four a limit, longer than a voice may be silent."""


async def test_a_voice_that_loads_for_ever_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that cannot say whether it loads does not."""

    class Loading(MadeVoice):
        is_loading = True

    class Broken(MadeVoice):
        @property
        def is_loading(self) -> bool:
            raise RuntimeError("broken")

    async def say(_: Utterance) -> AsyncIterator[Any]:
        await asyncio.get_running_loop().create_future()
        yield SECOND

    monkeypatch.setattr(voicing, "VOICE_SILENT_S", 0.02)
    monkeypatch.setattr(voicing, "VOICE_LOADS_WITHIN_S", 0.04)
    for voice in (Loading(say), Broken(say)):
        with pytest.raises(VoiceFailed, match="gave no audio"):
            await said(voice)


async def test_a_timeout_of_a_voices_own_is_its_own() -> None:
    """It cancels the task in which the voice is asked, and takes that back: to whoever asks, nothing has happened."""

    async def say(_: Utterance) -> AsyncIterator[Any]:
        for _number in range(2):
            try:
                async with asyncio.timeout(0):
                    await asyncio.Event().wait()
            except TimeoutError:
                yield SECOND

    assert await said(MadeVoice(say)) == [SECOND, SECOND]


async def test_a_group_of_a_voices_own_that_fails_is_its_fault() -> None:
    """It cancels the task in which the voice is asked: to whoever asks, the voice has failed, and goes on."""

    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError("gone")

    async def say(_: Utterance) -> AsyncIterator[Any]:
        yield SECOND
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())

    with pytest.raises(VoiceFailed, match="ExceptionGroup"):
        await said(MadeVoice(say))
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_a_cancellation_behind_a_timeout_of_a_voices_own_is_none_of_its_own() -> None:
    """Whatever the voice makes of it."""
    begun = asyncio.Event()

    async def say(_: Utterance) -> AsyncIterator[Any]:
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            pass
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            yield SECOND

    saying = asyncio.create_task(said(MadeVoice(say)))
    await begun.wait()
    saying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saying


async def test_a_voice_that_blocks_is_told_of() -> None:
    """Once in the log, and counted; it goes on."""

    async def say(_: Utterance) -> AsyncIterator[Any]:
        voice.clock.now_s += BLOCKED_S
        yield SECOND

    voice = MadeVoice(say)
    with capture_logs() as logs:
        assert await said(voice) == [SECOND]
    assert voice.observer.counts["agent_fault", "blocked"] == 1
    told = "voice blocks the event loop: all calls of this pod stood still"
    assert [(line["event"], line["voice"]) for line in logs] == [(told, "made")]


class Interruptible(Watched[None]):
    """An agent that has a voice say something; interrupted, it is thrown `SpeechInterrupted` into."""

    def __init__(self, voice: MadeVoice) -> None:
        super().__init__(self._have_said(voice), voice.watch())
        self.is_interrupted = False

    async def _have_said(self, voice: MadeVoice) -> None:
        async with aclosing(voiced(voice, HELLO, voice.watch())) as pieces:
            async for _ in pieces:
                pass

    def thrown(self, error: BaseException) -> BaseException:
        task = asyncio.current_task()
        assert task is not None
        if not self.is_interrupted:
            return error
        task.uncancel()
        return SpeechInterrupted()


async def awaited(work: Interruptible) -> None:
    await work


@pytest.mark.parametrize("made_of_it", ["raised on", "swallowed", "another error", "a piece more"])
@pytest.mark.parametrize("how", ["interrupted", "cancelled"])
async def test_to_a_voice_an_interruption_is_a_cancellation(how: str, made_of_it: str) -> None:
    """It sees no error that it could take for its own; whatever it makes of that, the agent is interrupted."""
    waits, seen = asyncio.Event(), []

    async def say(_: Utterance) -> AsyncIterator[Any]:
        try:
            waits.set()
            await asyncio.get_running_loop().create_future()
        except BaseException as error:
            seen.append(type(error))
            if made_of_it == "raised on":
                raise
            if made_of_it == "another error":
                raise RuntimeError("I was cancelled") from None
        yield SECOND
        if made_of_it == "a piece more":
            yield SECOND

    work = Interruptible(MadeVoice(say))
    task = asyncio.create_task(awaited(work))
    await waits.wait()
    work.is_interrupted = how == "interrupted"
    task.cancel()
    with pytest.raises(SpeechInterrupted if work.is_interrupted else asyncio.CancelledError):
        await task
    assert seen == [asyncio.CancelledError]


async def test_who_was_interrupted_stays_so_though_the_voice_waits_on_and_is_cancelled() -> None:
    """What comes later is only what became of that."""
    waits, seen = asyncio.Event(), []

    async def say(utterance: Utterance) -> AsyncIterator[Any]:
        for _ in range(2):
            try:
                waits.set()
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError as error:
                seen.append(type(error))
        yield SECOND

    work = Interruptible(MadeVoice(say))
    task = asyncio.create_task(awaited(work))
    for is_interrupted in (True, False):
        await waits.wait()
        waits.clear()
        work.is_interrupted = is_interrupted
        task.cancel()
    with pytest.raises(SpeechInterrupted):
        await task
    assert seen == [asyncio.CancelledError] * 2


async def test_what_was_to_be_a_generator_is_closed() -> None:
    """Nobody is told that it was never awaited."""
    made: list[Any] = []

    def say(utterance: Utterance) -> Any:
        made.append(no_generator(utterance))
        return made[-1]

    with pytest.raises(VoiceFailed):
        await said(MadeVoice(say))
    assert [inspect.getcoroutinestate(each) for each in made] == [inspect.CORO_CLOSED]


async def test_a_voice_that_is_not_wanted_any_more_is_closed() -> None:
    """With the iterator that is closed, before that returns; its faults in that are told and raise nothing."""
    closed = []

    async def say(_: Utterance) -> AsyncIterator[Any]:
        try:
            yield SECOND
            yield SECOND
        finally:
            await asyncio.sleep(0)
            closed.append(True)
            raise RuntimeError("in the end")

    voice = MadeVoice(say)
    with capture_logs() as logs:
        async with aclosing(voiced(voice, HELLO, voice.watch())) as pieces:
            async for _ in pieces:
                break
        assert closed == [True]
    assert [line["event"] for line in logs] == ["voice raised when it was closed"]


async def test_a_voice_that_does_not_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it for longer than that."""
    monkeypatch.setattr(voicing, "VOICE_CLOSES_WITHIN_S", 0.01)

    async def say(_: Utterance) -> AsyncIterator[Any]:
        try:
            yield SECOND
        finally:
            await asyncio.get_running_loop().create_future()

    voice, pieces = MadeVoice(say), []
    with capture_logs() as logs:
        async with aclosing(voiced(voice, HELLO, voice.watch())) as found:
            async for piece in found:
                pieces.append(piece)
                break
    assert pieces == [SECOND]
    assert [line["event"] for line in logs] == ["voice raised when it was closed"]


async def test_a_step_of_a_voice_is_not_one_of_its_agent() -> None:
    """Each is told of what it did itself."""

    async def say(_: Utterance) -> AsyncIterator[Any]:
        voice.clock.now_s += BLOCKED_S
        await asyncio.sleep(0)
        yield SECOND

    voice, observer = MadeVoice(say), CountingObserver()
    outer = StepWatch("agent", "call", voice.clock, observer)
    assert await Watched(said(voice), outer) == [SECOND]
    assert voice.observer.counts["agent_fault", "blocked"] == 1
    assert observer.counts == {}

    async def agent() -> None:
        await said(voice)
        voice.clock.now_s += BLOCKED_S

    await Watched(agent(), outer)
    assert observer.counts["agent_fault", "blocked"] == 1
