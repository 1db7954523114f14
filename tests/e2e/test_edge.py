"""Callers who know nothing of resuming, behind an edge, while their pods are killed and drained.

Tests of `cli.fronting`, too.
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
from pathlib import Path
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import connect

from tests.e2e.edges import edge
from tests.e2e.pods import pods
from tests.forked import run
from tests.tls import make_certificate
from tests.waiting import PATIENCE_S, until
from voice_agent.settings import PREFIX

TURNS = 3
SAID_BYTES = 48_000
"""A second of 24 kHz PCM16 a turn."""
MANUAL = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}


class PlainCall:
    """Says turns to `echo`, and checks every number and every byte of what comes back."""

    def __init__(self, url: str, chunk_bytes: int, tls: ssl.SSLContext | None = None) -> None:
        self.events = 0
        self.turns = 0
        self.heard = b""
        self.said = b""
        self._url = f"{url}?model=echo"
        self._chunk_bytes = chunk_bytes
        self._tls: dict[str, Any] = {"ssl": tls} if tls else {}

    async def run(self) -> None:
        """The whole call. Raises `AssertionError`, and `ConnectionClosed` if it is cut."""
        async with connect(self._url, proxy=None, compression=None, ping_interval=None, **self._tls) as socket:
            # One id for all that it sends, as a careless client has.
            await socket.send(said("session.update", session=MANUAL))
            for turn in range(TURNS):
                audio = os.urandom(SAID_BYTES)
                for at in range(0, len(audio), self._chunk_bytes):
                    piece = base64.b64encode(audio[at : at + self._chunk_bytes]).decode()
                    await socket.send(f'{{"type":"input_audio_buffer.append","audio":"{piece}"}}')
                    await asyncio.sleep(0.02)  # a caller speaks at this pace
                self.said += audio
                await socket.send(said("input_audio_buffer.commit"))
                await socket.send(said("response.create"))
                while self.turns <= turn:
                    self.take(orjson.loads(await asyncio.wait_for(socket.recv(), PATIENCE_S)))
        assert self.heard == self.said

    def take(self, event: dict[str, str]) -> None:
        """An event of the server."""
        if event["type"] == "session.created":
            assert event["event_id"] == "evt_0"
            return
        self.events += 1
        assert event["event_id"] == f"evt_{self.events}"
        assert event["type"] != "error", event
        if event["type"] == "response.output_audio.delta":
            self.heard += base64.b64decode(event["delta"])
        self.turns += event["type"] == "response.done"


def said(kind: str, **fields: object) -> str:
    """A client event."""
    return orjson.dumps({"type": kind, "event_id": "mine", **fields}).decode()


WAYS = [
    ("kill", False),
    ("term", True),
    *(pytest.param(*way, marks=pytest.mark.slow) for way in (("term", False), ("kill", True))),
]


@pytest.mark.parametrize(("how", "is_encrypted"), WAYS)
async def test_a_plain_client_hears_every_word_though_its_pod_goes(
    redis_url: str, tmp_path: Path, how: str, *, is_encrypted: bool
) -> None:
    """In the middle of what it says, and of what it is answered; with chunks of any size, and one id for all events.

    With TLS both between it and the edge and between the edge and the pods, or without.
    """
    tls = make_certificate(tmp_path) if is_encrypted else None
    settings: dict[str, Any] = {"tls_cert": tls[0], "tls_key": tls[1]} if tls else {}
    async with pods(redis_url) as its:
        blue = await its.start("blue", agent="echo", **settings)
        green = await its.start("green", agent="echo", **settings)
        async with edge(its.directory, blue.port, green.port, tls=tls) as front:
            calls = [PlainCall(front.url, size, front.tls) for size in (960, 1200, 1442, 1922)]
            talking = asyncio.gather(*(call.run() for call in calls))
            await until(lambda: all(call.turns for call in calls) or talking.done())
            # To a cutover they are callers who would not be lost with their pod.
            assert (await blue.metrics())["voice_calls_not_resumable"] == 0
            if how == "kill":
                blue.kill()
            else:
                blue.terminate()
            await talking
            counted = await green.metrics()
            assert not any(counted[name] for name in counted if name.startswith("voice_calls_dropped_total"))
            page = await front.get("/metrics")
            assert "voice_edge_gap_seconds_count 2.0" in page
            assert await front.lost() == 0
        for pod in (blue, green):
            pod.terminate()


def test_a_wrong_setting_is_told_in_one_line() -> None:
    """By the option or the variable that it came from."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
    for arguments, variables, told in (
        ([], {}, "VOICE_EDGE_TO: must be set, such as ws://lb:8080."),
        (["--to", "lb:8080"], {}, "--to: 'lb:8080' is not an address such as ws://lb:8080."),
        ([], {"VOICE_EDGE_TO": "ws://a,http://b"}, "VOICE_EDGE_TO: 'http://b' is not an address such as ws://lb:8080."),
    ):
        done = run(["edge", *arguments], kept | variables)
        assert done.returncode == 2
        assert done.stderr.strip().endswith(told)
        assert len(done.stderr.strip().splitlines()) == 1
