"""Every event a client may send, and the fields it may have: what `realtime.parse` takes, but for appended audio."""

from __future__ import annotations

from typing import Annotated, Any, Required

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, with_config
from typing_extensions import TypedDict

from voice_agent.call.event_ids import PREFIX, event_number
from voice_agent.protocol.item_fields import Item, ItemId
from voice_agent.protocol.json_types import Fields, refusal, text, whole
from voice_agent.protocol.session_fields import Response, Session
from voice_agent.protocol.taken import WORKS, Taken
from voice_agent.protocol.validation import validated

STRICT = ConfigDict(strict=True, extra="forbid")
"""Nothing is converted: ``"1"`` is no number, and ``true`` is none either."""


def _number(given: Any) -> int:
    if not isinstance(given, str) or (number := event_number(given)) is None:
        raise refusal(f"must be the id of an event of this server, which is '{PREFIX}' and a number")
    return number


AnId = Annotated[str, text(256, min_bytes=1)]


class _Event(TypedDict, total=False):
    type: Any
    event_id: Any


@with_config(STRICT)
class _Update(_Event, total=False):
    session: Annotated[Required[Session], Taken("works", "what is not given stays as it is")]


@with_config(STRICT)
class _Append(_Event, total=False):
    """Only for the documents: appended audio comes in every frame, and is read by hand."""

    audio: Annotated[Required[str], Taken("works", "at most 15 MiB in one event")]


@with_config(STRICT)
class _CreateItem(_Event, total=False):
    item: Annotated[
        Required[Item],
        Taken(
            "works",
            refused=(" (mcp_approval_request)", " (mcp_approval_response)", " (mcp_call)", " (mcp_list_tools)"),
        ),
    ]
    previous_item_id: Annotated[ItemId, Taken("works", "`root`: in front of all")]


@with_config(STRICT)
class _Retrieve(_Event, total=False):
    item_id: Annotated[Required[AnId], Taken("works", "with audio only of the caller's latest turn")]


@with_config(STRICT)
class _Truncate(_Event, total=False):
    item_id: Annotated[
        Required[AnId], Taken("works", "one that is being spoken stops there; `response.cancel` may follow")
    ]
    content_index: Annotated[Required[int], whole(0, 2**31), WORKS]
    audio_end_ms: Annotated[
        Required[int],
        whole(0, 2**31),
        Taken("works", "beyond the end an error, unless the item is being spoken"),
    ]


@with_config(STRICT)
class _Delete(_Event, total=False):
    item_id: Annotated[
        Required[AnId],
        Taken("works", "one that is being made stops, as by truncation; what was said in it is not answered any more"),
    ]


@with_config(STRICT)
class _CreateResponse(_Event, total=False):
    response: Annotated[Response, Taken("works", "what is not given is as in the session")]


@with_config(STRICT)
class _Cancel(_Event, total=False):
    response_id: Annotated[AnId, WORKS]


@with_config(STRICT)
class _Acknowledge(TypedDict, total=False):
    type: Any
    event_id: Annotated[
        Required[Annotated[int, BeforeValidator(_number)]],
        Taken("works", "an event of the server: it and all before it are not replayed any more"),
    ]


@with_config(STRICT)
class _Bare(_Event, total=False):
    """No fields of its own."""


EVENTS: dict[str, Any] = {
    "session.update": Annotated[_Update, Fields()],
    "input_audio_buffer.append": Annotated[_Append, Fields()],
    "input_audio_buffer.commit": Annotated[_Bare, Fields()],
    "input_audio_buffer.clear": Annotated[_Bare, Fields()],
    "conversation.item.create": Annotated[_CreateItem, Fields()],
    "conversation.item.retrieve": Annotated[_Retrieve, Fields()],
    "conversation.item.truncate": Annotated[_Truncate, Fields()],
    "conversation.item.delete": Annotated[_Delete, Fields()],
    "response.create": Annotated[_CreateResponse, Fields()],
    "response.cancel": Annotated[_Cancel, Fields()],
    "call.acknowledge": Annotated[_Acknowledge, Fields()],
}
"""By the event's ``type``."""
NOT_SERVED = {
    "output_audio_buffer.clear": "it is for WebRTC, where the server plays the audio. "
    "Over a WebSocket stop your own playback and send 'response.cancel'.",
    "transcription_session.update": "this server takes only sessions of type 'realtime'; use 'session.update'.",
}
_ADAPTERS: dict[str, TypeAdapter[Any]] = {kind: TypeAdapter(event) for kind, event in EVENTS.items()}


def read(kind: str, event: dict[str, Any]) -> dict[str, Any]:
    """The fields of an event, as the call takes them. Raises `ProtocolError`."""
    given: dict[str, Any] = validated(_ADAPTERS[kind], event)
    return given
