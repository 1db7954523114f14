"""The process that hears and speaks: ``python -m voice_agent.speech.worker <socket fd> <parent's pid>``.

Started by `voice_agent.speech.workers` only. Reads jobs from the socket, answers each, and ends
when the socket closes, which happens when the parent is gone however it went. On Linux
it is also killed by the kernel at the moment its parent dies, in the middle of a job too.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from io import BufferedIOBase
from typing import Any

import orjson

from voice_agent.call.audio import FORMATS
from voice_agent.speech.framing import HEADER
from voice_agent.speech.recognition import Recognizer
from voice_agent.speech.synthesis import speak

_PR_SET_PDEATHSIG = 1

Answer = tuple[dict[str, Any], bytes]


def main() -> None:
    """Load the models, then work until the socket closes."""
    descriptor, parent_pid = int(sys.argv[1]), int(sys.argv[2])
    # Signals go to whole process groups; calls under way are finished first, so they are the parent's to act on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _die_with(parent_pid)
    recognizer = Recognizer()
    speak("ready")
    # The parent may go in the middle of a job or of an answer: that is the end, and no error.
    with (
        suppress(EOFError, ConnectionError),
        socket.socket(fileno=descriptor) as connection,
        connection.makefile("rwb") as stream,
    ):
        while True:
            head_bytes, payload_bytes = HEADER.unpack(_read(stream, HEADER.size))
            head, payload = orjson.loads(_read(stream, head_bytes)), _read(stream, payload_bytes)
            answer, audio = _answer(recognizer, head, payload)
            encoded = orjson.dumps(answer)
            stream.write(HEADER.pack(len(encoded), len(audio)) + encoded + audio)
            stream.flush()


def _read(stream: BufferedIOBase, size: int) -> bytes:
    """So many bytes; raises `EOFError` if the socket closes before them."""
    found = stream.read(size)
    if len(found) < size:
        raise EOFError
    return found


def _die_with(parent_pid: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the line above
        sys.exit(1)


def _answer(recognizer: Recognizer, head: dict[str, Any], payload: bytes) -> Answer:
    def transcribe() -> Answer:
        return {"text": recognizer.transcribe(payload, FORMATS[head["format"]])}, b""

    def say() -> Answer:
        spoken = speak(head["text"], head["voice"], head["speed"])
        return {"words": spoken.words}, spoken.audio

    jobs: dict[str, Callable[[], Answer]] = {
        "begin": lambda: ({}, b""),
        "transcribe": transcribe,
        "synthesize": say,
    }
    try:
        return jobs[head["do"]]()
    except Exception as error:  # noqa: BLE001 the root of a job: it is answered with its error, the worker goes on
        return {"error": f"{type(error).__name__}: {error}"}, b""


if __name__ == "__main__":
    main()
