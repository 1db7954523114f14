"""What a caller heard of a reply, word by word, and for how long it heard nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pybase64

from tests.doubles.counting import Count, count
from tests.doubles.tones import words_in
from tests.e2e.listener import Listener
from voice_agent.call.audio import PCM


@dataclass
class HeardReply:
    """One response, as it came."""

    response_id: str
    asked_at: float
    """When its caller asked, as `time.monotonic` has it; as have `arrivals`."""
    text: str = ""
    audio: bytearray = field(default_factory=bytearray)
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    """When each piece of audio came, and its bytes."""
    status: str = ""
    usage: dict[str, Any] | None = None

    @property
    def words(self) -> list[str]:
        """As they sound."""
        return words_in(self.audio)

    def count(self, due: Iterable[int]) -> Count:
        """The words that were heard against those that were due."""
        return count(self.words, due)

    @property
    def silences_s(self) -> list[float]:
        """How long nothing was there to be played: until it began, and each time when what had come was over."""
        return silences_s(self.asked_at, self.arrivals)

    @property
    def longest_silence_s(self) -> float:
        """The longest one."""
        return max(self.silences_s, default=float("inf"))


def silences_s(asked_at: float, arrivals: Sequence[tuple[float, int]]) -> list[float]:
    """Of audio in PCM16 at 24 kHz that is played as it comes; the first is the wait for its beginning."""
    found: list[float] = []
    played_to = asked_at
    for came_at, size in arrivals:
        if came_at > played_to or not found:
            found.append(max(0.0, came_at - played_to))
        played_to = max(played_to, came_at) + PCM.ms(size) / 1000
    return found


def replies(caller: Listener) -> list[HeardReply]:
    """Those of a caller, in the order in which they began."""
    found: dict[str, HeardReply] = {}
    for came_at, event in zip(caller.times, caller.events, strict=False):
        match event["type"]:
            case "response.created":
                asked_at = max((asked for asked in caller.asked_at if asked <= came_at), default=came_at)
                found[event["response"]["id"]] = HeardReply(event["response"]["id"], asked_at)
            case "response.output_audio_transcript.delta" | "response.output_text.delta":
                found[event["response_id"]].text += event["delta"]
            case "response.output_audio.delta":
                reply = found[event["response_id"]]
                audio = pybase64.b64decode(event["delta"])
                reply.audio += audio
                reply.arrivals.append((came_at, len(audio)))
            case "response.done":
                reply = found[event["response"]["id"]]
                reply.status, reply.usage = event["response"]["status"], event["response"]["usage"]
    return list(found.values())


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of them that so many per cent do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]
