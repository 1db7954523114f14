"""The response under way: what was asked, what has been said, and the item that is open.

`responses` opens and closes it, `response_output` and `response_items` fill it, `response_chunks` stores what grows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from voice_agent.call.alignment import Alignment, Piece
from voice_agent.call.usage import ResponseUsage


@dataclass(slots=True)
class ResponseRequest:
    """What a response answers, known when it was opened."""

    params: dict[str, Any]
    """What `response.create` asked for; {} for a turn of its own."""
    started_at_ms: int
    clip_id: str = ""
    """The spoken item that is answered; its audio is `KeptClips.answered`."""
    clip_first_n: int = 0
    """Number of that audio's first speech entry."""
    heard_ms: int = 0
    """How long that audio is."""
    up_to: str = ""
    """The newest item when it was asked for; "" for none."""
    items_up_to: str = ""
    """That item's rank: what the agent is told of the conversation ends there, on every pod."""
    cut: bool = False
    """The caller was still speaking when the turn that is answered was ended, for it had grown too long."""


@dataclass(slots=True)
class ResponseContent:
    """What the agent has said, in all items of the response together."""

    text: str = ""
    alignment: Alignment = field(default_factory=list)
    """Of the open item, without its last piece."""
    piece: Piece = field(default_factory=Piece)
    """The last piece of the open item."""
    audio_bytes: int = 0
    checksum: int = 0
    """CRC-32 of the last piece's audio. Both are kept in a record field of their own: they change with every chunk."""
    pieces: list[list[Any]] = field(default_factory=list)
    """Where each piece begins, in characters of the text and bytes of the audio, and whether the call's voice makes its
    audio; all of the response."""


@dataclass(slots=True)
class OpenItem:
    """The message item that is being said; where it begins stays known after it is closed."""

    item_id: str | None = None
    """None: no item is open."""
    text_from: int = 0
    audio_from: int = 0
    """Where it begins in all that the reply has said."""
    delta_head: tuple[str, bytes] = field(default=("", b""), compare=False)
    """The packed body of an audio event and the item it is for: all of an item's are the same. Not stored."""


@dataclass(slots=True)
class Stored:
    """How much of something that grows the record has; see `response_chunks`."""

    length: int = 0
    """So many characters or entries have been handed to a write, and are what they were then."""
    chunks: int = 0
    """So many record fields hold something."""


@dataclass(slots=True)
class Response:
    """The response under way."""

    response_id: str
    asked: ResponseRequest
    said: ResponseContent = field(default_factory=ResponseContent)
    open_item: OpenItem = field(default_factory=OpenItem)
    event_number: int = 0
    """The `AgentEvent` with which it closes; 0: the agent has not been asked yet, or the call is mirrored."""
    replay_from: tuple[int, int] = (0, 0)
    """Where what that event has said of it begins, in characters and bytes: an earlier event may have spoken, too."""
    output_ids: list[str] = field(default_factory=list)
    out_of_band: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Items of a reply outside the conversation (``conversation: "none"``)."""
    usage: ResponseUsage | None = None
    """None: no request made for it is over that used tokens, or may have."""
    stored: dict[str, Stored] = field(default_factory=dict)
    """What of all that grows the record has."""
    extras: dict[str, Any] = field(default_factory=dict)
    """Fields of a newer version; kept as they are."""

    @property
    def item_audio_bytes(self) -> int:
        """Audio of the open item so far."""
        return self.said.audio_bytes - self.open_item.audio_from
