"""Conversation items as a client may create them.

The shapes are those of ``ConversationItem`` in the official SDK. Unknown fields and kinds are invalid, ``status`` is
ours to say. Audio is never kept inside an item: it is taken out, and an item says of it only that it is there
(``{"type": "input_audio", "transcript": …}``).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple, Required

from pydantic import AfterValidator, BeforeValidator, Discriminator, FailFast
from typing_extensions import TypedDict

from voice_agent.protocol.json_types import KIB, Fields, entries, refusal, shown, text, too_large
from voice_agent.protocol.taken import NO_EFFECT, WORKS, Taken

MAX_TEXT_BYTES = 256 * KIB
"""One text part, one function's arguments or output."""
MAX_PARTS = 64
MAX_AUDIO_CHARS = 20 * 1024 * KIB
"""Base64 of 15 MiB of audio."""
MAX_ITEM_BYTES = 512 * KIB
"""All texts of an item together."""

ItemId = Annotated[
    str, text(64, min_bytes=1, pattern=r"[!-~]+", means="printable ASCII characters without blanks")
]  # Frameworks put dots, colons and slashes of their own into it.
ItemText = Annotated[str, text(MAX_TEXT_BYTES)]


class CheckedItem(NamedTuple):
    """An item fit to be stored, and the base64 texts of its audio parts, each with its path below the item."""

    item: dict[str, Any]
    """Without ``id`` if the client gave none."""
    audio_base64: list[tuple[str, str]]


def _is_served(value: Any) -> Any:
    """Refuses the kinds of items, and of their parts, that people are likely to try."""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "input_image":
        raise refusal("is 'input_image'; this server does not take images", below="type")
    if isinstance(kind, str) and kind.startswith("mcp_"):
        raise refusal(f"is {shown(kind)}; this server does not take MCP items", below="type")
    return value


SERVED = BeforeValidator(_is_served)

# --- parts of a message ------------------------------------------------------


class _TextPart(TypedDict, total=False):
    text: Annotated[Required[ItemText], WORKS]


class _InputText(_TextPart, total=False):
    type: Annotated[Required[Literal["input_text"]], Taken("works", "no `input_image`")]


class _OutputText(_TextPart, total=False):
    type: Annotated[Required[Literal["output_text"]], WORKS]


class _AudioPart(TypedDict, total=False):
    audio: Annotated[
        str, text(MAX_AUDIO_CHARS), Taken("works", "the caller's; what the assistant said has only a transcript")
    ]
    transcript: Annotated[ItemText, WORKS]


class _InputAudio(_AudioPart, total=False):
    type: Annotated[Required[Literal["input_audio"]], WORKS]


class _OutputAudio(_AudioPart, total=False):
    type: Annotated[Required[Literal["output_audio"]], WORKS]


def _heard(part: dict[str, Any]) -> dict[str, Any]:
    if not part.get("audio") and "transcript" not in part:
        raise refusal("is required", "missing_required_parameter", below="audio")
    return part


def _said(part: dict[str, Any]) -> dict[str, Any]:
    if part.get("audio"):
        raise refusal("cannot be set: only this server speaks as the assistant; give the transcript", below="audio")
    if "transcript" not in part:
        raise refusal("is required", "missing_required_parameter", below="transcript")
    return part


_BETA_TYPES = {"text": "output_text", "audio": "output_audio"}
"""What the assistant's parts were called before the GA protocol."""


def _renamed(part: Any) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    return {**part, "type": _BETA_TYPES[kind]} if isinstance(kind, str) and kind in _BETA_TYPES else part


def _is_text(part: Any) -> Any:
    """There is one kind, so pydantic has none to choose: the wrong kind is told before what it lacks of the right."""
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(kind, str) and kind != "input_text":
        raise refusal(f"must be 'input_text', but it is {shown(kind)}", below="type")
    return part


InputText = Annotated[_InputText, Fields()]
InputAudio = Annotated[_InputAudio, Fields(), AfterValidator(_heard)]
OutputText = Annotated[_OutputText, Fields()]
OutputAudio = Annotated[_OutputAudio, Fields(), AfterValidator(_said)]
SystemPart = Annotated[InputText, BeforeValidator(_is_text), SERVED]
UserPart = Annotated[InputText | InputAudio, Discriminator("type"), SERVED]
AssistantPart = Annotated[OutputText | OutputAudio, Discriminator("type"), SERVED, BeforeValidator(_renamed)]

# --- items -------------------------------------------------------------------

_CONTENT = Taken("works", refused=("[].image_url", "[].detail"))
_PARTS = entries(1, MAX_PARTS)


class _Item(TypedDict, total=False):
    id: Annotated[ItemId, Taken("works", "1 to 64 printable ASCII characters without blanks")]
    object: Annotated[Literal["realtime.item"], NO_EFFECT]
    status: Annotated[
        Literal["completed", "incomplete", "in_progress"], Taken("no effect", "what a client makes is `completed`")
    ]


class _Message(_Item, total=False):
    type: Annotated[Literal["message"], Taken("works", "`message`, `function_call`, `function_call_output`")]


class _SystemMessage(_Message, total=False):
    role: Annotated[Literal["system"], WORKS]
    content: Annotated[Required[list[SystemPart]], FailFast(), _PARTS, _CONTENT]


class _UserMessage(_Message, total=False):
    role: Annotated[Literal["user"], WORKS]
    content: Annotated[Required[list[UserPart]], FailFast(), _PARTS, _CONTENT]


class _AssistantMessage(_Message, total=False):
    role: Annotated[Literal["assistant"], WORKS]
    content: Annotated[Required[list[AssistantPart]], FailFast(), _PARTS, _CONTENT]


class _FunctionCall(_Item, total=False):
    type: Annotated[Literal["function_call"], WORKS]
    name: Annotated[Required[str], text(64, min_bytes=1), WORKS]
    call_id: Annotated[str, text(128, min_bytes=1), WORKS]
    arguments: Annotated[Required[ItemText], WORKS]


class _FunctionCallOutput(_Item, total=False):
    type: Annotated[Literal["function_call_output"], WORKS]
    call_id: Annotated[Required[str], text(128, min_bytes=1), WORKS]
    output: Annotated[Required[ItemText], WORKS]


class _Reference(TypedDict, total=False):
    type: Literal["item_reference"]
    id: Required[ItemId]


Message = Annotated[
    Annotated[_SystemMessage, Fields()] | Annotated[_UserMessage, Fields()] | Annotated[_AssistantMessage, Fields()],
    Discriminator("role"),
]
FunctionCall = Annotated[_FunctionCall, Fields()]
FunctionCallOutput = Annotated[_FunctionCallOutput, Fields()]
Reference = Annotated[_Reference, Fields()]


def _to_be_stored(given: dict[str, Any]) -> CheckedItem:
    item = {**given, "object": "realtime.item", "status": "completed"}
    audio: list[tuple[str, str]] = []
    if "content" in given:
        item["content"] = []
        for index, part in enumerate(given["content"]):
            if part.get("audio"):
                audio.append((f"content[{index}].audio", part["audio"]))
            item["content"].append(
                part if "text" in part else {"type": part["type"], "transcript": part.get("transcript")}
            )
    problem = too_large(item, MAX_ITEM_BYTES)
    if problem:
        raise refusal(problem)
    return CheckedItem(item, audio)


def _without_audio(given: dict[str, Any]) -> dict[str, Any]:
    if given["type"] == "item_reference":
        return given
    item, audio = _to_be_stored(given)
    if audio:
        raise refusal(
            "is not taken here; create the item first, then name it with {'type': 'item_reference'}", below=audio[0][0]
        )
    return item


_ConversationItem = Message | FunctionCall | FunctionCallOutput
Item = Annotated[_ConversationItem, Discriminator("type"), AfterValidator(_to_be_stored), SERVED]
"""An item of the conversation, which becomes a `CheckedItem`."""
InputItem = Annotated[_ConversationItem | Reference, Discriminator("type"), AfterValidator(_without_audio), SERVED]
"""An entry of a response's own ``input``: an item, or an ``item_reference`` to one of the conversation."""
