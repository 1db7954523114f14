"""Microphone and loudspeaker, on a sound device that a test plays."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import types
from collections.abc import Callable
from typing import Any, Self

import pytest

from voice_agent.call.audio import PCM, PCMA, from_linear
from voice_agent.client.microphone import KEPT_FRAMES, Loudspeaker, microphone
from voice_agent.client.refusals import CallFailed


class HandPlayedStream:
    """A stream whose device is the test: `play` hands a frame in, or takes one out."""

    opened: list[HandPlayedStream]

    def __init__(self, *, callback: Callable[..., None], **options: Any) -> None:
        self.callback = callback
        self.options = options
        self.closed = False
        type(self).opened.append(self)

    def start(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def play(self, size: int) -> bytes:
        out = bytearray(size)
        self.callback(memoryview(out), size // 2, None, None)
        return bytes(out)


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> list[HandPlayedStream]:
    """The streams that are opened."""
    HandPlayedStream.opened = []
    device = types.SimpleNamespace(RawInputStream=HandPlayedStream, RawOutputStream=HandPlayedStream)
    monkeypatch.setitem(sys.modules, "sounddevice", device)
    return HandPlayedStream.opened


async def test_frames_arrive_in_the_format_of_the_call(streams: list[HandPlayedStream]) -> None:
    """The device records at the call's own rate, so that nothing is resampled."""
    said = [bytes([n]) * 320 for n in range(3)]
    async with contextlib.aclosing(microphone(PCMA)) as frames:
        first = asyncio.create_task(anext(frames))
        await asyncio.sleep(0)
        for frame in said:
            streams[0].callback(frame, 160, None, None)
        heard = [await first, await anext(frames), await anext(frames)]
    assert heard == [from_linear(frame, PCMA) for frame in said]
    assert (streams[0].options["samplerate"], streams[0].options["blocksize"]) == (8000, 160)
    assert streams[0].closed


async def test_a_congested_call_keeps_the_latest_half_minute(streams: list[HandPlayedStream]) -> None:
    """Older frames go; memory stays bounded."""
    async with contextlib.aclosing(microphone(PCM)) as frames:
        first = asyncio.create_task(anext(frames))
        await asyncio.sleep(0)
        for number in range(KEPT_FRAMES + 10):
            streams[0].callback(number.to_bytes(4, "little"), 2, None, None)
        heard = [await first] + [await anext(frames) for _ in range(KEPT_FRAMES - 1)]
    assert [int.from_bytes(frame, "little") for frame in heard] == list(range(10, KEPT_FRAMES + 10))


def test_the_loudspeaker_never_blocks_and_plays_in_order(streams: list[HandPlayedStream]) -> None:
    """A minute may be written at once; the device takes what it needs and gets silence when there is no more."""
    speaker = Loudspeaker()
    speaker.write(b"\1\2" * PCM.rate_hz * 60)
    speaker.write(b"\3\4")
    assert streams[0].play(PCM.rate_hz * 60 * 2) == b"\1\2" * PCM.rate_hz * 60
    assert streams[0].play(6) == b"\3\4\0\0\0\0"
    speaker.close()
    assert streams[0].closed


def test_an_interruption_silences_the_loudspeaker(streams: list[HandPlayedStream]) -> None:
    """What was waiting is not played after the caller has spoken."""
    speaker = Loudspeaker()
    speaker.write(b"\1" * 100)
    speaker.interrupt()
    speaker.write(b"\2" * 2)
    assert streams[0].play(4) == b"\2\2\0\0"


async def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, and the way that works without."""
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(CallFailed, match=r"pip install 'voice-agent\[microphone\]', or use --wav"):
        await anext(microphone(PCM))
    with pytest.raises(CallFailed, match="no microphone here"):
        Loudspeaker()


async def test_without_the_systems_library_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package comes with the others, PortAudio does not on Linux, and the package does not load without it."""

    class NoPortAudio:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [NoPortAudio(), *sys.meta_path])
    with pytest.raises(CallFailed, match="PortAudio library not found.*apt-get install libportaudio2, or use --wav"):
        await anext(microphone(PCM))


async def test_without_a_device_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever error the sound system has for that."""

    def no_device(**_: object) -> None:
        raise RuntimeError("Error querying device -1")

    device = types.SimpleNamespace(RawInputStream=no_device, RawOutputStream=no_device)
    monkeypatch.setitem(sys.modules, "sounddevice", device)
    with pytest.raises(CallFailed, match="no microphone here: Error querying device -1"):
        await anext(microphone(PCM))
    with pytest.raises(CallFailed, match="no loudspeaker here: Error querying device -1"):
        Loudspeaker()
