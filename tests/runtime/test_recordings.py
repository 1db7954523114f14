"""Recordings are files: written beside the event loop, bounded, and gone with their call."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.runtime.clocks import StoppedClock
from tests.runtime.rig import ANSWER, TYPED, CountingObserver, rig
from tests.waiting import until
from voice_agent.call import machine
from voice_agent.call.beginnings import CallMade, begin
from voice_agent.call.inputs import ClearAudio, ConnectionMade, EventDone
from voice_agent.call.machine import Step
from voice_agent.call.record import CallRecord
from voice_agent.call.replaying import replay
from voice_agent.errors import StoreRefused
from voice_agent.runtime import recordings
from voice_agent.runtime.clock import SystemClock
from voice_agent.runtime.ports import Clock
from voice_agent.runtime.recordings import ERASE_AGAIN, NoRecordings, RecordingFolder

KEPT_S = 1000.0


def made(call_id: str = "call_a", claim: str = "c0") -> CallMade:
    """How a call begins."""
    return CallMade(
        call_id=call_id,
        claim=claim,
        owner="pod-a",
        color="blue",
        model="test",
        voice="ash",
        created_at_ms=5,
        expires_at_s=9,
        outbox_bytes=1000,
        checkpoint_ms=100,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RecordingFolder]:
    """An empty one."""
    kept = opened(tmp_path / "recordings")
    yield kept
    kept.close()


def opened(path: Path, clock: Clock | None = None) -> RecordingFolder:
    """One with its thread."""
    return RecordingFolder(path, clock or SystemClock(), CountingObserver(), version="1", pod="pod-a", kept_s=KEPT_S)


def files(folder: RecordingFolder) -> list[Path]:
    """What is there."""
    return sorted(folder._folder.iterdir())


def begun(folder: RecordingFolder, call_id: str = "call_a", claim: str = "c0") -> tuple[CallRecord, Step]:
    """A call, and how inputs come to it."""
    beginning = made(call_id, claim)
    call = begin(beginning)
    return call, folder.record(call, beginning)


def test_inputs_are_written_as_they_come_and_replay(folder: RecordingFolder) -> None:
    """In a file and a folder that nobody else can read."""
    call, step = begun(folder)
    step(call, ConnectionMade(0, resumable=True), 1)
    step(call, ClearAudio(), 2)
    folder.close()
    [file] = files(folder)
    assert file.name == "call_a.1.c0.inputs"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    found = replay(file.read_bytes())
    assert found.is_identical
    assert (found.inputs, found.events) == (2, 1)


def test_an_input_at_which_the_rules_fail_is_recorded_too(folder: RecordingFolder) -> None:
    """It is the one that is looked for."""
    call, step = begun(folder)
    with patch.object(machine, "step", side_effect=KeyError("nothing")), pytest.raises(KeyError):
        step(call, ClearAudio(), 2)
    folder.close()
    assert replay(files(folder)[0].read_bytes()).inputs == 1


@pytest.mark.parametrize("bound", ["MAX_RECORDING_BYTES", "MAX_WAITING_BYTES", "full"])
def test_a_recording_that_meets_a_bound_is_cut_and_the_call_goes_on(
    folder: RecordingFolder, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    """It is counted once, and what was written before can be replayed."""
    call, step = begun(folder)
    step(call, ClearAudio(), 2)
    if bound == "full":
        folder.is_full = True
    else:
        monkeypatch.setattr(recordings, bound, 0)
    step(call, ClearAudio(), 2)
    folder.is_full = False
    monkeypatch.undo()
    step(call, ClearAudio(), 2)
    assert call.outbox.seq == 3
    folder.close()
    observer = folder.observer
    assert isinstance(observer, CountingObserver)
    assert observer.counts == {("limit_reached", "recorded_inputs"): 1}
    assert replay(files(folder)[0].read_bytes()).inputs == 1


def test_what_cannot_be_written_down_ends_the_recording_and_not_the_call(folder: RecordingFolder) -> None:
    """An agent may plan what is no JSON."""
    call, step = begun(folder)
    step(call, ClearAudio(), 2)
    assert step(call, EventDone(0, {"a": object()}), 3) == []
    step(call, ClearAudio(), 2)
    assert call.outbox.seq == 2
    folder.close()
    assert replay(files(folder)[0].read_bytes()).inputs == 1


def test_what_is_erased_is_gone_whoever_owned_it_and_nothing_is_added(folder: RecordingFolder) -> None:
    """Also what waits to be written; other calls stay."""
    for call_id, claim in (("call_a", "old"), ("call_ab", "c0")):
        begun(folder, call_id, claim)
    call, step = begun(folder)
    step(call, ClearAudio(), 2)
    folder.erase("call_a")
    step(call, ClearAudio(), 2)
    folder.erase("../call_ab")
    folder.close()
    assert [file.name for file in files(folder)] == ["call_ab.1.c0.inputs"]


async def test_an_erasure_is_told_once_the_files_are_gone_and_tried_again_until_they_are(
    folder: RecordingFolder,
) -> None:
    """Who asks learns that the disk does not let go of it; what others have recorded is written all the same."""
    begun(folder)
    await until(lambda: files(folder))
    with patch.object(Path, "unlink", side_effect=OSError("read-only")):
        with pytest.raises(StoreRefused, match="read-only"):
            await asyncio.wrap_future(folder.erase("call_a"))
        begun(folder, "call_b")
        await until(lambda: len(files(folder)) == 2)
    await asyncio.wrap_future(folder.erase("call_a"))
    assert [file.name for file in files(folder)] == ["call_b.1.c0.inputs"]


async def test_what_the_disk_does_not_let_go_of_is_tried_later_and_later(tmp_path: Path) -> None:
    """Until it is gone; a disk that is broken is not asked again with everything that is written."""
    clock = StoppedClock()
    folder = opened(tmp_path, clock)
    begun(folder)
    await until(lambda: files(folder))
    tries: list[Path] = []

    async def rounds(count: int, name: str) -> None:
        for number in range(count):
            begun(folder, f"call_{name}{number}")
            await until(lambda: not folder.waiting_bytes)

    def refuse(path: Path, *, missing_ok: bool) -> None:
        tries.append(path)
        raise OSError("read-only")

    with patch.object(Path, "unlink", refuse):
        with pytest.raises(StoreRefused):
            await asyncio.wrap_future(folder.erase("call_a"))
        await rounds(3, "b")
        assert len(tries) == 1
        for passed_s, known in ((0.5, 1), (0.5, 2), (1, 2), (1, 3), (2, 3), (2, 4)):
            clock.now_s += passed_s
            await rounds(2, f"c{1000 * clock.now_s:.0f}")
            assert len(tries) == known
    clock.now_s += ERASE_AGAIN.longest_s
    await rounds(1, "d")
    await until(lambda: "call_a.1.c0.inputs" not in [file.name for file in files(folder)])
    await asyncio.to_thread(folder.close)


async def test_a_pod_that_leaves_tries_once_more_to_erase(folder: RecordingFolder) -> None:
    """However long it would have waited: the pod after it does not know of the erasure."""
    begun(folder)
    await until(lambda: files(folder))
    with patch.object(Path, "unlink", side_effect=OSError("read-only")), pytest.raises(StoreRefused):
        await asyncio.wrap_future(folder.erase("call_a"))
    await asyncio.to_thread(folder.close)
    assert files(folder) == []


async def test_who_no_longer_waits_for_an_erasure_keeps_none_from_being_made(folder: RecordingFolder) -> None:
    """The request that asked for it may be over."""
    begun(folder)
    folder.erase("call_a").cancel()
    begun(folder, "call_b")
    await asyncio.wrap_future(folder.erase("call_b"))
    assert files(folder) == []


def test_old_files_go_and_those_of_calls_under_way_stay(tmp_path: Path) -> None:
    """Old is what had its last input before the retention."""
    folder = opened(tmp_path)
    call, step = begun(folder, "call_live")
    begun(folder, "call_over")
    step(call, ClearAudio(), 2)
    folder.close()
    (tmp_path / "notes.txt").write_text("not ours")
    long_ago_s = time.time() - 2 * KEPT_S
    for file in tmp_path.iterdir():
        os.utime(file, (long_ago_s, long_ago_s))
    folder._sweep()
    assert [file.name for file in files(folder)] == ["call_live.1.c0.inputs", "notes.txt"]


def test_a_folder_that_is_full_takes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until there is room again."""
    (tmp_path / "call_x.1.c0.inputs").write_bytes(b"much")
    monkeypatch.setattr(recordings, "MAX_FOLDER_BYTES", 3)
    folder = opened(tmp_path)
    assert folder.is_full
    monkeypatch.setattr(recordings, "MAX_FOLDER_BYTES", 5)
    folder._sweep()
    assert not folder.is_full
    folder.close()


def test_a_disk_that_fails_ends_all_recordings(folder: RecordingFolder) -> None:
    """It is said once, and calls go on."""
    call, step = begun(folder)
    with patch.object(folder, "_work", side_effect=OSError("no space")):
        step(call, ClearAudio(), 2)
        folder.close()
    assert folder.is_full
    assert files(folder) == []


async def test_what_a_failed_write_has_lost_waits_no_longer_and_is_the_end(
    folder: RecordingFolder,
) -> None:
    """A disk that was full for a while cuts the recordings of that time, and none that begin later."""
    call, step = begun(folder)
    with patch.object(recordings, "open", side_effect=OSError("no space"), create=True):
        step(call, ClearAudio(), 1)
        await until(lambda: folder.is_full and not folder.waiting_bytes)
    folder.is_full = False
    step(call, ClearAudio(), 2)
    later, its_step = begun(folder, "call_b")
    its_step(later, ClearAudio(), 3)
    await until(lambda: not folder.waiting_bytes)
    assert [file.name.partition(".")[0] for file in files(folder)] == ["call_b"]


def test_a_folder_that_is_closed_has_no_thread(folder: RecordingFolder) -> None:
    """All is written, and nothing waits any more."""
    begun(folder)
    folder.close()
    assert not folder._thread.is_alive()
    assert folder.waiting_bytes == 0
    assert len(files(folder)) == 1


def test_names_that_are_fit_for_no_file_are_not_recorded(folder: RecordingFolder) -> None:
    """A store may hold anything."""
    for call_id, claim in (("../x", "c0"), ("call_a", "../c0")):
        call, step = begun(folder, call_id, claim)
        step(call, ClearAudio(), 2)
    folder.close()
    assert files(folder) == []


def test_without_a_folder_inputs_come_to_the_rules_themselves() -> None:
    """No detour on the way of every frame."""
    beginning = made()
    assert NoRecordings().record(begin(beginning), beginning) is machine.step
    NoRecordings().erase("call_a")


async def test_a_pods_calls_are_recorded_by_each_owner_and_erased_with_the_call(tmp_path: Path) -> None:
    """A take-over begins with what the store held. Erasing takes files of the owner, and of the pod asked."""
    folders = [opened(tmp_path / name) for name in "ab"]
    async with rig() as its:
        pods = [await its.pod(name, recordings=folder) for name, folder in zip("ab", folders, strict=True)]
        caller = await its.start(pods[0], resumable=True)
        caller.transport.say(TYPED)
        caller.transport.say(ANSWER)
        await caller.transport.event("response.done")
        await caller.gone()
        again = await its.resume(pods[1], caller.call_id, 2)
        again.transport.say(TYPED)
        await again.transport.event("conversation.item.done", 2)
        await until(lambda: all(files(folder) for folder in folders))
        for folder, epoch in zip(folders, (1, 2), strict=True):
            await until(lambda folder=folder: not folder.waiting_bytes)
            [file] = files(folder)
            assert file.name.startswith(f"{caller.call_id}.{epoch}.")
            found = replay(file.read_bytes())
            assert found.is_identical
            assert found.events >= 2
        assert await pods[0].erase(caller.call_id)
        again.transport.say(TYPED)
        await again.transport.until(lambda it: it.closed)
        await until(lambda: not any(files(folder) for folder in folders))
    for folder in folders:
        await asyncio.to_thread(folder.close)
