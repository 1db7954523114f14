"""What one call may keep, in bytes, and the errors that name these bounds.

The client's audio is counted once however many fields refer to it: the buffer, audio of an item to come, the turn that
is answered, the latest turn, and turns that are not transcribed yet. Items are counted by `conversation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from voice_agent.call.conversation import MAX_BYTES, MAX_ITEMS
from voice_agent.call.record import CallRecord
from voice_agent.errors import ProtocolError

KIB = 1024
MIB = 1024 * KIB
MAX_AUDIO_BYTES = 16 * MIB
"""Of the caller's audio, uncommitted and committed together: stops a call that has turn after turn of minutes kept,
because none of them is answered or understood yet."""
MAX_RETRIEVED_BYTES = MIB
"""Audio shown by one `conversation.item.retrieve`, 21 s of PCM: stops a message of 60 bytes that is answered with 20
MB, again and again."""
MAX_PACKED_ITEM_BYTES = 768 * KIB
"""Of an item as JSON, in which some characters take six bytes each: stops one write, and the events that show the
item, from growing to megabytes."""
MAX_SESSION_BYTES = 512 * KIB
"""Of all settings together: stops a call whose every `session.update` is answered, and stored, with megabytes."""
MAX_RESPONSE_BYTES = 512 * KIB
"""Of one `response.create`: it is kept with the response, and written again while that goes on."""
MAX_UNTRANSCRIBED = 32
"""Spoken items whose words are looked for: stops a burst of commits from filling the recognisers' queue, and memory
with tasks. What is said beyond it is kept as not understood."""


def kept_audio_bytes(call: CallRecord, *, without_latest: bool = False) -> int:
    """Bytes of the caller's audio that the call holds; `without_latest`: once another turn has replaced the latest."""
    clips = {id(clip): len(clip.audio) for clip in call.clips.untranscribed.values()}
    for clip in (call.clips.answered, None if without_latest else call.clips.latest):
        if clip is not None:
            clips[id(clip)] = len(clip.audio)
    return len(call.input_audio.audio) + call.clips.pending_bytes + sum(clips.values())


def audio_full(call: CallRecord, more_bytes: int, param: str) -> ProtocolError:
    """There is no room for so much more audio."""
    return ProtocolError(
        f"The call holds {kept_audio_bytes(call)} bytes of audio, with {more_bytes} more it would exceed "
        f"{MAX_AUDIO_BYTES}. Commit or clear the buffer, and let earlier turns be answered.",
        code="audio_full",
        param=param,
        limit="call_audio_bytes",
    )


def conversation_full(call: CallRecord, param: str | None) -> ProtocolError:
    """There is no room for another item."""
    held = call.conversation
    return ProtocolError(
        f"The conversation is full: it holds {len(held)} of at most {MAX_ITEMS} items and {held.packed_bytes} of at "
        f"most {MAX_BYTES} bytes. Delete items before adding more.",
        code="conversation_full",
        param=param,
        limit="conversation",
    )


def check_size(settings: Mapping[str, Any], path: str, max_bytes: int, *, limit: str) -> None:
    """Raise `ProtocolError`, naming the largest field, if the settings take more than `max_bytes` as JSON."""
    size = len(orjson.dumps(settings))
    if size > max_bytes:
        largest = max(settings, key=lambda name: len(orjson.dumps(settings[name])))
        raise ProtocolError(
            f"'{path}.{largest}' is too large: with it the {path} takes {size} bytes as JSON; "
            f"at most {max_bytes} are allowed.",
            code=f"{path}_too_large",
            param=f"{path}.{largest}",
            limit=limit,
        )
