"""The process that hears and speaks: ``python -m voice_agent.speech.worker <socket fd> <parent's pid>``.

Started by `voice_agent.speech.workers` only. Reads jobs from the socket, answers each, and ends
when the socket closes, which happens when the parent is gone however it went. On Linux
it is also killed by the kernel at the moment its parent dies, in the middle of a job too.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import orjson

from voice_agent.call.audio import FORMATS
from voice_agent.kit.ear import Transcript
from voice_agent.speech.dropped_jobs import IS_WANTED
from voice_agent.speech.engines import AnswerEngine, EarEngine, Engine, VoiceEngine, load
from voice_agent.speech.framing import DROP, HEADER
from voice_agent.speech.spoken_form import spoken_form

_PR_SET_PDEATHSIG = 1
NICENESS = 5
"""More than the server's: its frames, of all calls, go before the words that one caller waits for."""

Answer = tuple[dict[str, Any], bytes]


def main() -> None:
    """Work until the socket closes. The first job is to load the engines."""
    descriptor, parent_pid = int(sys.argv[1]), int(sys.argv[2])
    # Signals go to whole process groups; calls under way are finished first, so they are the parent's to act on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _die_with(parent_pid)
    os.nice(NICENESS)
    work = _Work()
    # The parent may go in the middle of a job or of an answer: that is the end, and no error.
    with suppress(EOFError, ConnectionError), socket.socket(fileno=descriptor) as connection:
        # While a job is under way nothing comes but word that its answer is not wanted, or the end.
        IS_WANTED.set(lambda: not select.select([connection], [], [], 0)[0])
        while True:
            head_bytes, payload_bytes = HEADER.unpack(_read(connection, HEADER.size))
            head, payload = orjson.loads(_read(connection, head_bytes)), _read(connection, payload_bytes)
            if head["do"] == DROP:
                continue  # Of the job before, which is answered.
            answer, audio = work.answer(head, payload)
            encoded = orjson.dumps(answer)
            connection.sendall(HEADER.pack(len(encoded), len(audio)) + encoded + audio)


def _read(connection: socket.socket, size: int) -> bytes:
    """So many bytes and no more; raises `EOFError` if the socket closes before them."""
    found = connection.recv(size, socket.MSG_WAITALL)
    if len(found) < size:
        raise EOFError
    return found


def _die_with(parent_pid: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the line above
        sys.exit(1)


class _Work:
    """The engines that are loaded, and what is done with them."""

    def __init__(self) -> None:
        self._engines: dict[str, Engine] = {}

    def answer(self, head: dict[str, Any], payload: bytes) -> Answer:
        """Of one job. One that fails is answered with its error."""
        jobs: dict[str, Callable[[], Answer]] = {
            "begin": lambda: self._begin(head),
            "transcribe": lambda: self._transcribe(head, payload),
            "synthesize": lambda: self._synthesize(head),
        }
        began_s = time.process_time()
        try:
            answer, audio = jobs[head["do"]]()
        except Exception as error:  # noqa: BLE001 the root of a job: the worker goes on
            answer, audio = {"error": f"{type(error).__name__}: {error}"}, b""
        return {**answer, "cpu_ms": round((time.process_time() - began_s) * 1000, 1)}, audio

    def _begin(self, head: dict[str, Any]) -> Answer:
        for name, settings in head["engines"].items():
            self._engine(name, settings)
        return {}, b""

    def _transcribe(self, head: dict[str, Any], audio: bytes) -> Answer:
        engine = self._engine(head["engine"], head["settings"])
        assert isinstance(engine, EarEngine)
        transcribe = engine.transcribe
        if head.get("yes_or_no") and isinstance(engine, AnswerEngine):
            transcribe = engine.transcribe_answer
        found = transcribe(audio, FORMATS[head["format"]], head["language"], head.get("prompt", ""))
        if not isinstance(found, Transcript):
            return {"text": found}, b""
        return {"text": found.text, "certain": found.certain, "alternatives": list(found.alternatives)}, b""

    def _synthesize(self, head: dict[str, Any]) -> Answer:
        engine = self._engine(head["engine"], head["settings"])
        assert isinstance(engine, VoiceEngine)
        form = spoken_form(head["text"], head["language"])
        spoken = engine.speak(form.text, head["voice"], head["speed"], head["seed"], head["language"])
        return {"words": form.written(spoken.words)}, spoken.audio

    def _engine(self, name: str, settings: Mapping[str, Any]) -> Engine:
        if name not in self._engines:
            self._engines[name] = load(name, settings)
        return self._engines[name]


if __name__ == "__main__":
    main()
