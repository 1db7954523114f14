"""What every Python client is told, and how it tells what it saw."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import wave
from collections.abc import AsyncIterator, Coroutine
from dataclasses import asdict, dataclass, field
from typing import Any

PCM_24_KHZ_BYTES_PER_S = 48_000
CHUNK_BYTES = PCM_24_KHZ_BYTES_PER_S // 50
INTERRUPT_AFTER_BYTES = PCM_24_KHZ_BYTES_PER_S
"""Of a story that lasts a minute: a second."""
LIMIT_S = 55.0
"""Ends a client that waits for what does not come, in time for its caller to read what it saw."""

log = logging.getLogger(__name__)


@dataclass
class Seen:
    """What the client saw by its own callbacks."""

    said: str = ""
    """The transcript of the assistant's first reply, or of the reply to the tool's output."""
    heard: str = ""
    """What the client says the caller said, by voice."""
    audio_bytes: int = 0
    """Of that reply, PCM of 24 kHz."""
    tool_arguments: Any = None
    after: str = ""
    """The transcript of the reply to what the caller said after an interruption."""
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Scenario:
    """The one argument of a program, as JSON."""

    name: str
    url: str
    """``ws://host:port/v1``."""
    speech: str
    """A WAV file of what the caller says."""
    question: str
    story: str
    """Typed, it is answered for a minute."""
    turn_detection: str = ""
    """Its type, where it is not to be the client's own default."""

    @property
    def pieces(self) -> list[bytes]:
        """What the caller says, in pieces of 20 ms, with the silence after it that ends the turn."""
        with wave.open(self.speech) as recording:
            pcm = recording.readframes(recording.getnframes()) + bytes(2 * PCM_24_KHZ_BYTES_PER_S)
        whole = len(pcm) // CHUNK_BYTES * CHUNK_BYTES
        return [pcm[at : at + CHUNK_BYTES] for at in range(0, whole, CHUNK_BYTES)]

    async def as_spoken(self) -> AsyncIterator[bytes]:
        """The pieces at the pace of speech: a burst would be answered before the client knows of any speech."""
        for piece in self.pieces:
            yield piece
            await asyncio.sleep(CHUNK_BYTES / PCM_24_KHZ_BYTES_PER_S)  # the pace


def given() -> Scenario:
    """This program's scenario; warnings and errors of all loggers go to stderr, where each fails the test."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    return Scenario(**json.loads(sys.argv[1]))


def run(talk: Coroutine[Any, Any, None], seen: Seen) -> None:
    """Run a program to its end and print what was seen, also when it fails."""

    async def bounded() -> None:
        async with asyncio.timeout(LIMIT_S):
            await talk

    try:
        asyncio.run(bounded())
    except Exception:
        log.exception("The client did not come to its end.")
        print(json.dumps(asdict(seen)), flush=True)
        # Some clients start threads that end only with a connection that was closed in good order.
        os._exit(1)
    print(json.dumps(asdict(seen)))
