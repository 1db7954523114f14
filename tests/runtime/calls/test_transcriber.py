"""Whatever an ear does wrong, the turn is not understood, the call goes on, and the log says which ear it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.runtime.clocks import StoppedClock
from tests.runtime.rig import CountingObserver
from voice_agent.call.audio import PCM
from voice_agent.kit.clip import Clip
from voice_agent.kit.ear import Ear, Transcript
from voice_agent.runtime.calls import transcriber
from voice_agent.runtime.calls.transcriber import NoTranscript, Transcriber
from voice_agent.runtime.engine.agent_steps import BLOCKED_S

CLIP = Clip(bytes(PCM.size(20)), PCM)


class MadeEar(Ear):
    """Understands what a function of the test gives."""

    name = "made"

    def __init__(self, made: Callable[[Any], Any]) -> None:
        self.made = made
        self.clock = StoppedClock()
        self.observer = CountingObserver()
        self.heeded: list[Transcript] = []

    async def transcribe(self, clip: Clip) -> str | None:
        found: str | None = await self.made(clip)
        return found

    def listen(self, frames: AsyncIterator[Clip]) -> Any:
        return self.made(frames)

    def at_work(self) -> Transcriber:
        return Transcriber(self, "call", self.clock, self.observer)

    async def of_frames(self) -> str | None:
        return (await self.at_work().of_frames(frames(), self.heeded.append)).text


async def frames() -> AsyncIterator[Clip]:
    yield CLIP
    yield CLIP


def gives(*transcripts: Any) -> MadeEar:
    """An ear that gives these for frames."""

    async def listen(frames: AsyncIterator[Clip]) -> AsyncIterator[Any]:
        async for _ in frames:
            pass
        for transcript in transcripts:
            yield transcript

    return MadeEar(listen)


async def test_the_last_transcript_is_what_was_said() -> None:
    """Each is told of as it comes, those that are not final as well."""
    ear = gives(Transcript("next", is_final=False), Transcript("next"), Transcript("next week"))
    assert await ear.of_frames() == "next week"
    assert [transcript.text for transcript in ear.heeded] == ["next", "next", "next week"]
    assert await gives(Transcript(None)).of_frames() is None
    assert await gives(Transcript("")).of_frames() == ""


async def raises(_: object) -> Any:
    raise RuntimeError("no model")


async def exits(_: object) -> Any:
    raise SystemExit(3)


async def cancels_itself(_: object) -> Any:
    work = asyncio.get_running_loop().create_future()
    work.cancel()
    await work


async def gives_bytes(_: object) -> Any:
    return b"hello"


async def gives_no_unicode(_: object) -> Any:
    return "\ud800"


@pytest.mark.parametrize("made", [raises, exits, cancels_itself, gives_bytes, gives_no_unicode])
async def test_an_ear_that_fails_on_a_clip_has_not_understood_it(made: Callable[[object], Any]) -> None:
    """One line of the log names it; nothing of it comes as far as the call."""
    with capture_logs() as logs:
        assert (await MadeEar(made).at_work().of_clip(CLIP)).text is None
    assert [(line["event"], line["ear"]) for line in logs] == [("transcription failed", "made")]


@pytest.mark.parametrize(
    "wrong",
    [
        Transcript("hello", certain=None),  # type: ignore[arg-type]
        Transcript("hello", alternatives=None),  # type: ignore[arg-type]
        Transcript("hello", alternatives=(b"hallo",)),  # type: ignore[arg-type]
        Transcript("hello", alternatives=("\ud800",)),
    ],
)
async def test_an_ear_whose_doubt_is_no_doubt_has_not_understood(wrong: Transcript) -> None:
    """What cannot be kept of a transcript is told of as text is that cannot."""

    async def transcribe(_: object) -> Transcript:
        return wrong

    with capture_logs() as logs:
        assert await MadeEar(transcribe).at_work().of_clip(CLIP) == Transcript(None)
        assert await gives(wrong).of_frames() is None
    assert [line["event"] for line in logs] == ["transcription failed"] * 2


async def test_what_an_ear_doubts_is_kept_within_bounds() -> None:
    """Three alternatives that say something else, or nothing, each cut; what is not understood is not doubted."""
    given = Transcript("for", certain=False, alternatives=("for", "four" * 1000, "", "fore"))

    async def transcribe(_: object) -> Transcript:
        return given

    async def does_not_know(_: object) -> Transcript:
        return Transcript(None, certain=False, alternatives=("four",))

    async def is_certain(_: object) -> Transcript:
        return Transcript("for", alternatives=("", "four"))

    assert await MadeEar(is_certain).at_work().of_clip(CLIP) == Transcript("for", alternatives=("four",))
    found = await MadeEar(transcribe).at_work().of_clip(CLIP)
    assert found == Transcript("for", certain=False, alternatives=("four" * 250, ""))
    assert await MadeEar(does_not_know).at_work().of_clip(CLIP) == Transcript(None)


def raises_at_once(_: object) -> Any:
    raise RuntimeError("no model")


async def raises_later(_: object) -> AsyncIterator[Transcript]:
    yield Transcript("next", is_final=False)
    raise RuntimeError("no model")


@pytest.mark.parametrize(
    "ear",
    [
        MadeEar(raises_at_once),
        MadeEar(raises_later),
        MadeEar(gives_bytes),
        MadeEar(lambda _: [Transcript("hello")]),
        gives(),
        gives("hello"),
        gives(Transcript(b"hello")),  # type: ignore[arg-type]
        gives(Transcript("\ud800")),
        gives(Transcript("hello"), Transcript("hello there", is_final=False)),
    ],
)
async def test_an_ear_that_fails_on_frames_has_not_understood_them(ear: MadeEar) -> None:
    """What it understood before that counts for nothing: it may be half of what was said."""
    with capture_logs() as logs:
        assert await ear.of_frames() is None
    assert [(line["event"], line["ear"]) for line in logs] == [("transcription failed", "made")]


@pytest.mark.parametrize("swallows", [False, True])
async def test_an_ear_that_is_not_wanted_any_more_is_closed(*, swallows: bool) -> None:
    """Cancelled where it waits; whatever it makes of that, whoever waits for it is cancelled."""
    waits, closed = asyncio.Event(), []

    async def listen(_: object) -> AsyncIterator[Transcript]:
        try:
            waits.set()
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            if not swallows:
                raise
        finally:
            closed.append(True)
        yield Transcript("half")

    ear = MadeEar(listen)
    work = asyncio.create_task(ear.of_frames())
    await waits.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert closed == [True]
    assert ear.heeded == []


async def test_an_ear_that_does_not_close_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has understood stands; nobody waits for it for longer than that."""
    monkeypatch.setattr(transcriber, "EAR_CLOSES_WITHIN_S", 0.01)

    class Unclosing:
        """What an ear gives that is no generator."""

        def __init__(self, _: object) -> None:
            self.left = [Transcript("hello")]

        async def __anext__(self) -> Transcript:
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop()

        async def aclose(self) -> None:
            await asyncio.get_running_loop().create_future()

    with capture_logs() as logs:
        assert await MadeEar(Unclosing).of_frames() == "hello"
    assert [line["event"] for line in logs] == ["ear raised when it was closed"]


async def test_an_ear_that_blocks_is_told_of() -> None:
    """As an agent is that does."""

    async def transcribe(_: object) -> str:
        ear.clock.now_s += BLOCKED_S
        return "hello"

    ear = MadeEar(transcribe)
    with capture_logs() as logs:
        assert (await ear.at_work().of_clip(CLIP)).text == "hello"
    assert ear.observer.counts["agent_fault", "blocked"] == 1
    told = "ear blocks the event loop: all calls of this pod stood still"
    assert [(line["event"], line["ear"]) for line in logs] == [(told, "made")]


async def test_what_was_said_is_in_no_error() -> None:
    """For it would be in the log: an ear that gives no transcript is told of by what kind of thing it gave."""

    async def of_clip(clip: Clip) -> Any:
        return {"text": "My pin is 1234."}

    with pytest.raises(NoTranscript) as failed:
        await MadeEar(of_clip).at_work()._of_clip(CLIP)
    assert "1234" not in str(failed.value)
    with pytest.raises(NoTranscript) as failed:
        await gives("My pin is 1234.").at_work()._of_frames(frames(), lambda heard: None)
    assert "1234" not in str(failed.value)


@pytest.mark.parametrize("streams", [False, True])
async def test_an_ear_whose_group_of_tasks_fails_leaves_the_turn_without_a_transcript(streams: bool) -> None:
    """It cancels the task in which the ear is asked, and may not take that back."""

    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError("gone")

    async def made(_: Any) -> str | None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
        return "never"

    async def listen(frames: Any) -> AsyncIterator[Transcript]:
        yield Transcript(await made(frames))

    ear = MadeEar(listen if streams else made)
    with capture_logs() as logs:
        assert (await ear.of_frames() if streams else (await ear.at_work().of_clip(CLIP)).text) is None
    assert [line["event"] for line in logs] == ["transcription failed"]
