"""What a relay asks of an upstream, as events of the protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pybase64

from voice_agent.call.audio import AudioFormat
from voice_agent.kit.call import Item
from voice_agent.kit.events import Asked

GO_ON = (
    "You were cut off in the middle of your last message. Go on with it directly behind its last word, in the same "
    "sentence, and repeat nothing of it. If nothing is missing, say nothing."
)
"""What an upstream is told that is to go on with a reply which another one has begun."""


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """What holds for every response of a session."""

    input_format: AudioFormat
    output_format: AudioFormat
    voice: str
    speed: float
    transcription: Mapping[str, Any] | None
    """How the caller is to be transcribed; None: not at all."""

    def update(self) -> dict[str, Any]:
        """The event that makes them hold. Turns are ours to find."""
        heard = {
            "format": self.input_format.as_json(),
            "transcription": self.transcription,
            "turn_detection": None,
        }
        spoken: dict[str, Any] = {"format": self.output_format.as_json(), "speed": self.speed}
        if self.voice:
            spoken["voice"] = self.voice
        return {"type": "session.update", "session": {"type": "realtime", "audio": {"input": heard, "output": spoken}}}


@dataclass(frozen=True, slots=True)
class ResponseWanted:
    """A reply to be made."""

    instructions: str = ""
    wants_audio: bool = True
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: str | Mapping[str, Any] = "auto"
    max_output_tokens: int | None = None
    items: Sequence[Item] | None = None
    """Outside of the conversation, or in place of it: what is to be answered."""
    out_of_band: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, asked: Asked, instructions: str, *, in_place: bool) -> ResponseWanted:
        """What a client or a turn asks for; `in_place`: of items that are not the conversation."""
        return cls(
            instructions,
            asked.wants_audio,
            asked.tools,
            asked.tool_choice,
            asked.max_output_tokens,
            asked.items if in_place or asked.out_of_band else None,
            asked.out_of_band,
        )

    def create(self, event_id: str, said: str) -> dict[str, Any]:
        """The event that asks for it; `said`: what has been said of it, which stands last in the conversation."""
        goes_on = bool(said.strip())
        instructions = "\n\n".join(filter(None, (self.instructions, GO_ON if goes_on else "")))
        response: dict[str, Any] = {"output_modalities": ["audio" if self.wants_audio else "text"]}
        if instructions:
            response["instructions"] = instructions
        if self.tools:
            response["tools"] = list(self.tools)
            response["tool_choice"] = self.tool_choice
        if self.max_output_tokens is not None:
            response["max_output_tokens"] = self.max_output_tokens
        if self.items is not None:
            response["input"] = [*self.items, *([said_item(said)] if goes_on else [])]
        if self.out_of_band:
            response["conversation"] = "none"
        return {"type": "response.create", "event_id": event_id, "response": response}


def said_item(said: str) -> Item:
    """What has been said of a reply, as an item."""
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": said}]}


def append(audio: bytes) -> str:
    """The event that sends the caller's audio, as text: it is sent for every frame."""
    return f'{{"type":"input_audio_buffer.append","audio":"{pybase64.b64encode_as_string(audio)}"}}'


def create_item(item: Mapping[str, Any], behind: str) -> dict[str, Any]:
    """The event that creates an item behind another; "": in front of all."""
    return {"type": "conversation.item.create", "previous_item_id": behind or "root", "item": item}


def delete_item(item_id: str) -> dict[str, Any]:
    """The event that deletes an item."""
    return {"type": "conversation.item.delete", "item_id": item_id}


def truncate_item(item_id: str, heard_ms: int) -> dict[str, Any]:
    """The event that cuts what was not heard off an item."""
    return {
        "type": "conversation.item.truncate",
        "item_id": item_id,
        "content_index": 0,
        "audio_end_ms": heard_ms,
    }
