"""Where the dialogue stands: whose turn it is, and what the caller has probably heard."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from voice_agent.call.audio import PCM


@dataclass(slots=True)
class Playback:
    """What the caller is probably hearing: an assistant item whose audio began at a wall-clock time."""

    item_id: str
    started_at_ms: int
    """Moved on by every time in which there was nothing to hear."""
    audio_bytes: int = 0
    bytes_per_ms: int = PCM.bytes_per_ms
    """Of the audio's format."""
    is_interruptible: bool = True
    """Whether the caller's speaking into it cuts it."""
    extras: dict[str, Any] = field(default_factory=dict)
    """Fields of a newer version; kept as they are."""

    @property
    def sent_ms(self) -> int:
        """How long what was sent of it lasts."""
        return self.audio_bytes // self.bytes_per_ms


@dataclass(slots=True)
class Dialogue:
    """What outlasts a response, and decides how the next turn is taken."""

    turns: int = 0
    """Of the caller, spoken or typed."""
    playback: Playback | None = None
    idle_from_ms: int | None = None
    """Input position at which the caller had heard the last reply out, and from which silence is counted;
    None while it is not the caller's turn."""
    cut_off: str = ""
    """The response that the client stopped by truncating or deleting what it said, until the next one: it may be
    cancelled, too. Not stored: after a resume that is an error like any other."""
    failed_up_to: str = ""
    """The newest item that a reply was asked for which then failed: what was said until then is not asked again."""
    agent_state: dict[str, Any] = field(default_factory=dict)
    """What the agent keeps between its turns."""

    @property
    def playing_until_ms(self) -> int:
        """When the caller has probably heard all that was sent; 0 if that is nothing."""
        return 0 if self.playback is None else self.playback.started_at_ms + self.playback.sent_ms
