"""Recordings of calls' inputs, as files of a folder (`VOICE_RECORD_INPUTS`); `call.recording` says what is in them.

The event loop only puts bytes into a queue; a thread writes them, and removes files that are old or erased. One file a
call and owner, `<call_id>.<epoch>.<claim>.inputs`, for this user alone: what was said stands in it. A recording that
meets a bound is cut, and can be replayed as far as it goes.
"""

from __future__ import annotations

import os
import queue
import re
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary

import structlog

from voice_agent.call import machine
from voice_agent.call.beginnings import Beginning
from voice_agent.call.effects import Effect
from voice_agent.call.inputs import Input
from voice_agent.call.machine import Step
from voice_agent.call.record import CallRecord
from voice_agent.call.recording import InputText, emitted_after, opening
from voice_agent.errors import StoreRefused
from voice_agent.retry import Delays
from voice_agent.runtime.ports import Clock, Observer

MIB = 1024 * 1024
MAX_RECORDING_BYTES = 256 * MIB
"""Of one call and owner, an hour of PCM both ways with room to spare: stops one call from filling the disk."""
MAX_WAITING_BYTES = 64 * MIB
"""What waits for a disk that is slow: stops it from filling the memory."""
MAX_FOLDER_BYTES = 8 * 1024 * MIB
"""Of all recordings in the folder: stops many calls from filling the disk. It is counted every `SWEEP_S`."""
GATHER_S = 0.2
"""What comes in so long is written at once; a process that is killed loses that much."""
SWEEP_S = 60.0
ERASE_AGAIN = Delays(1.0, 600.0)
"""Between tries to erase what the disk does not let go of: it may never do so, and each try reads the folder."""
CLOSE_S = 5.0
"""How long the end of the pod waits for the disk."""
SUFFIX = ".inputs"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")

log = structlog.get_logger(__name__)


class Recordings(Protocol):
    """Where inputs are recorded."""

    def record(self, call: CallRecord, beginning: Beginning) -> Step:
        """How inputs of a call that begins now are to come to the rules."""

    def erase(self, call_id: str) -> Future[None]:
        """Keep nothing of a call, whoever owned it when; done once it is gone, or with `StoreRefused`."""


class NoRecordings(Recordings):
    """Nothing is recorded."""

    def record(self, call: CallRecord, beginning: Beginning) -> Step:
        """The rules themselves."""
        return machine.step

    def erase(self, call_id: str) -> Future[None]:
        """There is nothing."""
        done: Future[None] = Future()
        done.set_result(None)
        return done


class RecordingFolder(Recordings):
    """Files of a folder, which is made if it is not there; raises `OSError` if that cannot be."""

    def __init__(
        self, folder: Path, clock: Clock, observer: Observer, *, version: str, pod: str, kept_s: float
    ) -> None:
        """A file is removed `kept_s` after its last input, and no sooner than after `SWEEP_S`."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.is_full = False
        """The folder holds all that it may, or the disk takes no more."""
        self.observer = observer
        self._folder = folder
        self._clock = clock
        self._put_bytes = self._done_bytes = 0
        """By the event loop, and by the thread."""
        self._version = version
        self._pod = pod
        self._kept_s = max(kept_s, SWEEP_S)
        self._open: WeakValueDictionary[Path, _Recorder] = WeakValueDictionary()
        self._jobs: queue.SimpleQueue[tuple[Path, bytes | Future[None]] | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._refused: dict[Path, tuple[float, float]] = {}
        """Of what the disk did not let go of: the last delay, and when it is tried again. The thread's own."""
        self._sweep()
        self._thread = threading.Thread(target=self._run, name="recordings", daemon=True)
        self._thread.start()

    def record(self, call: CallRecord, beginning: Beginning) -> Step:
        """A step that records; the rules themselves for a call whose names are fit for no file."""
        if not _NAME.fullmatch(call.call_id) or not _NAME.fullmatch(call.owner.claim or "-"):
            return machine.step
        path = self._folder / f"{call.call_id}.{call.owner.epoch}.{call.owner.claim}{SUFFIX}"
        recorder = self._open[path] = _Recorder(self, path, call.call_id)
        recorder.keep(opening(beginning, version=self._version, pod=self._pod))
        return recorder.step

    def erase(self, call_id: str) -> Future[None]:
        """What waits goes, too. What the disk does not let go of is tried again, later and later."""
        self._stop(lambda path: path.name.startswith(f"{call_id}."))
        done: Future[None] = Future()
        if _NAME.fullmatch(call_id):
            self._jobs.put((self._folder / f"{call_id}.", done))
        else:
            done.set_result(None)
        return done

    @property
    def waiting_bytes(self) -> int:
        """What is not written yet."""
        return self._put_bytes - self._done_bytes

    def put(self, path: Path, entry: bytes) -> None:
        """Have an entry written."""
        self._put_bytes += len(entry)
        self._jobs.put((path, entry))

    def close(self) -> None:
        """Write what waits, as far as the disk takes it in `CLOSE_S`."""
        self._closing.set()
        self._jobs.put(None)
        self._thread.join(CLOSE_S)

    # --- the thread -------------------------------------------------------------

    def _run(self) -> None:
        swept_s = self._clock.monotonic_s()
        while True:
            jobs = self._gather()
            try:
                self._work(jobs)
                self._erase_again()
                if self._clock.monotonic_s() - swept_s >= SWEEP_S:
                    swept_s = self._clock.monotonic_s()
                    self._sweep()
            except OSError as error:
                self.is_full = True
                paths = {path for path, _ in jobs}
                self._stop(paths.__contains__)
                log.warning("recordings cannot be written", error=str(error))
            finally:
                self._done_bytes += sum(len(entry) for _, entry in jobs if isinstance(entry, bytes))
            if self._closing.is_set() and self._jobs.empty():
                for path in list(self._refused):
                    self._remove(path, None)  # The last chance: the next pod does not know of it.
                return

    def _gather(self) -> list[tuple[Path, bytes | Future[None]]]:
        jobs = []
        try:
            jobs.append(self._jobs.get(timeout=self._pause_s()))
            self._closing.wait(GATHER_S)
            while True:
                jobs.append(self._jobs.get_nowait())
        except queue.Empty:
            return [job for job in jobs if job is not None]

    def _pause_s(self) -> float:
        """How long the thread has nothing to do by itself."""
        now_s = self._clock.monotonic_s()
        return max(0.0, min((SWEEP_S, *(again_s - now_s for _, again_s in self._refused.values()))))

    def _work(self, jobs: list[tuple[Path, bytes | Future[None]]]) -> None:
        """In the order of the files, of each in the order of its entries; what is erased later is not written."""
        files: dict[Path, list[bytes]] = defaultdict(list)
        for path, entry in jobs:
            if isinstance(entry, bytes):
                files[path].append(entry)
                continue
            for known in [one for one in files if one.name.startswith(path.name)]:
                del files[known]
            self._remove(path, entry if entry.set_running_or_notify_cancel() else None)
        if self.is_full:
            self._stop(files.__contains__)
            return
        for path, entries in files.items():
            with open(path, "ab", opener=_for_this_user) as file:
                file.write(b"".join(entries))

    def _erase_again(self) -> None:
        now_s = self._clock.monotonic_s()
        for path, (_, again_s) in list(self._refused.items()):
            if again_s <= now_s:
                self._remove(path, None)

    def _remove(self, path: Path, erased: Future[None] | None) -> None:
        """Erase what is recorded of a call, and tell `erased` what became of it."""
        try:
            for old in self._folder.glob(f"{path.name}*{SUFFIX}"):
                old.unlink(missing_ok=True)
        except OSError as error:
            last_s, _ = self._refused.get(path, (0.0, 0.0))
            delay_s = ERASE_AGAIN.after(last_s)
            self._refused[path] = delay_s, self._clock.monotonic_s() + delay_s
            if erased is not None:
                erased.set_exception(StoreRefused(f"a recording cannot be erased: {error}"))
                log.warning("a recording cannot be erased; it is tried again", error=str(error))
        else:
            self._refused.pop(path, None)
            if erased is not None:
                erased.set_result(None)

    def _stop(self, concerns: Callable[[Path], bool]) -> None:
        """Write no more to these files: behind a hole nothing is of use, but a recording may be cut at its end."""
        for known in self._open.valuerefs():
            if (recorder := known()) is not None and concerns(recorder.path):
                recorder.is_stopped = True

    def _sweep(self) -> None:
        """Remove what is old, and count the rest."""
        size_bytes = 0
        under_way = {recorder.path for known in self._open.valuerefs() if (recorder := known()) is not None}
        oldest_s = self._clock.wall_ms() / 1000 - self._kept_s
        for path in self._folder.glob(f"*{SUFFIX}"):
            try:
                found = path.stat()
            except FileNotFoundError:
                continue  # Another pod's thread was faster.
            if found.st_mtime < oldest_s and path not in under_way:
                path.unlink(missing_ok=True)
            else:
                size_bytes += found.st_size
        self.is_full = size_bytes > MAX_FOLDER_BYTES


def _for_this_user(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class _Recorder:
    """One call's, while this pod owns it."""

    def __init__(self, folder: RecordingFolder, path: Path, call_id: str) -> None:
        self.path = path
        self.is_stopped = False
        self._folder = folder
        self._call_id = call_id
        self._size_bytes = 0

    def step(self, call: CallRecord, event: Input, now_ms: int) -> list[Effect]:
        """`machine.step`, recorded with what it emits; also an input that it fails at."""
        if self.is_stopped:
            return machine.step(call, event, now_ms)
        try:
            text = InputText(event, now_ms)
        except (TypeError, ValueError) as error:
            # An agent may say what is no JSON. That is for the rules to judge; of the recording it is the end.
            self._cut(str(error))
            return machine.step(call, event, now_ms)
        before = call.outbox.seq
        try:
            return machine.step(call, event, now_ms)
        finally:
            self.keep(text.entry(emitted_after(call, before)))

    def keep(self, entry: bytes) -> None:
        """Have an entry written, unless a bound is met: then this was the end."""
        folder = self._folder
        self._size_bytes += len(entry)
        too_much = self._size_bytes > MAX_RECORDING_BYTES or folder.waiting_bytes > MAX_WAITING_BYTES
        if not too_much and not folder.is_full:
            folder.put(self.path, entry)
        elif not self.is_stopped:
            folder.observer.limit_reached("recorded_inputs")
            self._cut("it is too large, or the disk too slow or too full")

    def _cut(self, reason: str) -> None:
        self.is_stopped = True
        log.warning("a recording was cut", call_id=self._call_id, size_bytes=self._size_bytes, reason=reason)
