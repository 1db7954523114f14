"""What a simulated caller has heard: events and replies, played at the pace of speech."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pybase64

from voice_agent.call.audio import PCM

UNHEARD = frozenset({"session.created", "rate_limits.updated"})
"""Events that say nothing of the call; the first one comes once for each connection."""


@dataclass(slots=True)
class HeardReply:
    """A response as it came."""

    response_id: str
    text: str = ""
    """What is written, or says what is spoken; as it was sent, whether it was heard or not."""
    audio: bytearray = field(default_factory=bytearray)
    """PCM16 little-endian mono, 24 000 Hz."""
    status: str = ""
    """"" while it goes on; then as in ``response.done``."""
    item_id: str = ""
    """Of the item that is spoken."""
    heard_ms: int | None = None
    """Where the caller stopped listening; None: heard to its end."""
    functions: list[dict[str, Any]] = field(default_factory=list)
    in_conversation: bool = True


class CallerHearing:
    """One caller's. Nothing is played while there is no connection: so the server takes it, too."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self.replies: dict[str, HeardReply] = {}
        """By their ids, in the order in which they began."""
        self.events: list[dict[str, Any]] = []
        """All that have a number, in order, each once."""
        self.unanswered: list[dict[str, Any]] = []
        """Function calls without a result, oldest first."""
        self._now_s = now_s
        self._played_at_s = 0.0
        """When all that came will have been heard, or was."""
        self._paused_left_s: float | None = None
        """What waits to be heard while there is no connection."""

    def hear(self, event: dict[str, Any]) -> None:
        """An event came that had not come before."""
        if event["type"] not in UNHEARD:
            self.events.append(event)
        match event["type"]:
            case "response.created":
                response = event["response"]
                in_conversation = response.get("conversation_id") is not None
                self.replies[response["id"]] = HeardReply(response["id"], in_conversation=in_conversation)
            case "response.output_audio.delta":
                self._play(self.replies[event["response_id"]], event)
            case "response.output_audio_transcript.delta" | "response.output_text.delta":
                self.replies[event["response_id"]].text += event["delta"]
            case "response.function_call_arguments.done":
                self.replies[event["response_id"]].functions.append(event)
                self.unanswered.append(event)
            case "response.done":
                self.replies[event["response"]["id"]].status = event["response"]["status"]

    def _play(self, reply: HeardReply, event: dict[str, Any]) -> None:
        audio = pybase64.b64decode(event["delta"])
        reply.item_id = event["item_id"]
        reply.audio += audio
        if reply.heard_ms is None:
            self._played_at_s = max(self._played_at_s, self._now_s()) + PCM.ms(len(audio)) / 1000

    def pause(self) -> None:
        """The connection is gone."""
        self._paused_left_s = self.to_play_s

    def go_on(self) -> None:
        """There is another."""
        if self._paused_left_s is not None:
            self._played_at_s = self._now_s() + self._paused_left_s
            self._paused_left_s = None

    def stop(self, reply: HeardReply, heard_ms: int) -> None:
        """The caller listens to no more of it."""
        reply.heard_ms = heard_ms
        self._played_at_s = self._now_s()

    @property
    def to_play_s(self) -> float:
        """How much audio waits to be heard."""
        return max(0.0, self._played_at_s - self._now_s()) if self._paused_left_s is None else self._paused_left_s

    @property
    def silent_since_s(self) -> float:
        """When all was heard, or will be."""
        return self._played_at_s

    @property
    def is_replied_to(self) -> bool:
        """Whether a response is under way."""
        return any(not reply.status for reply in self.replies.values())

    @property
    def spoken_now(self) -> HeardReply | None:
        """The reply that is being made, or played."""
        for reply in reversed(self.replies.values()):
            if reply.heard_ms is None and (not reply.status or self.to_play_s > 0):
                return reply
        return None
