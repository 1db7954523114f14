"""Events of stock clients that together have every field which is taken here, and those whose fields are refused."""

from __future__ import annotations

from typing import Any

TOOL = {
    "type": "function",
    "name": "book",
    "description": "Books a table.",
    "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
}
SHARED: dict[str, Any] = {
    "output_modalities": ["audio"],
    "instructions": "Be brief.",
    "tools": [TOOL],
    "tool_choice": {"type": "function", "name": "book"},
    "parallel_tool_calls": False,
    "max_output_tokens": 100,
    "reasoning": {"effort": "low"},
    "prompt": {"id": "pmpt_1", "version": "2", "variables": {"city": "Bonn"}},
}
SERVER_VAD = {
    "type": "server_vad",
    "threshold": 0.7,
    "prefix_padding_ms": 200,
    "silence_duration_ms": 600,
    "create_response": False,
    "interrupt_response": False,
    "idle_timeout_ms": 6000,
}
SESSION: dict[str, Any] = {
    **SHARED,
    "type": "realtime",
    "model": "gpt-realtime",
    "tracing": {"workflow_name": "w", "group_id": "g", "metadata": {"a": "b"}},
    "truncation": {"type": "retention_ratio", "retention_ratio": 0.8, "token_limits": {"post_instructions": 5000}},
    "include": ["item.input_audio_transcription.logprobs"],
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "transcription": {
                "model": "whisper-1",
                "language": "en",
                "prompt": "names",
                "delay": "low",
                "keywords": ["Bonn"],
                "languages": ["en"],
            },
            "noise_reduction": {"type": "near_field", "strength": 0.5},
            "turn_detection": SERVER_VAD,
        },
        "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": {"id": "voice_1"}, "speed": 1.1},
    },
}
SEMANTIC_VAD = {"type": "semantic_vad", "eagerness": "low", "create_response": False, "interrupt_response": False}
COMMON = {"id": "mine_1", "object": "realtime.item", "status": "completed"}


def _message(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {**COMMON, "type": "message", "role": role, "content": list(parts)}


ITEMS: list[dict[str, Any]] = [
    _message("system", {"type": "input_text", "text": "Speak slowly."}),
    _message(
        "user",
        {"type": "input_text", "text": "Hello."},
        {"type": "input_audio", "audio": "AAAAAAAA", "transcript": "Hello."},
    ),
    _message("assistant", {"type": "output_text", "text": "Hi."}),
    _message("assistant", {"type": "output_audio", "transcript": "Hi."}),
    {**COMMON, "type": "function_call", "name": "book", "call_id": "fc_1", "arguments": "{}"},
    {**COMMON, "type": "function_call_output", "call_id": "fc_1", "output": "done"},
]
RESPONSE: dict[str, Any] = {
    **SHARED,
    "metadata": {"topic": "booking"},
    "conversation": "none",
    "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello."}]}],
    "audio": {"output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": {"id": "voice_1"}}},
}


def _event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "event_id": "event_1", **fields}


TAKEN: list[dict[str, Any]] = [
    _event("session.update", session=SESSION),
    _event("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": SEMANTIC_VAD}}}),
    _event("input_audio_buffer.append", audio="AAAAAAAA"),
    _event("input_audio_buffer.commit"),
    _event("input_audio_buffer.clear"),
    *(_event("conversation.item.create", item=item, previous_item_id="root") for item in ITEMS),
    _event("conversation.item.retrieve", item_id="spoken"),
    _event("conversation.item.truncate", item_id="spoken", content_index=0, audio_end_ms=0),
    _event("conversation.item.delete", item_id="spoken"),
    _event("response.create", response=RESPONSE),
    _event("response.cancel", response_id="resp_1"),
]

_MCP_TOOL = {"type": "mcp", "server_label": "shop", "server_url": "https://example.com/mcp"}
_IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"}
REFUSED: list[dict[str, Any]] = [
    _event("session.update", session={"type": "realtime", "tools": [_MCP_TOOL]}),
    _event("session.update", session={"type": "realtime", "tool_choice": {"type": "mcp", "server_label": "shop"}}),
    _event("output_audio_buffer.clear"),
    _event("conversation.item.create", item=_message("user", _IMAGE)),
    *(
        _event("conversation.item.create", item={**COMMON, "type": kind})
        for kind in ("mcp_approval_request", "mcp_approval_response", "mcp_call", "mcp_list_tools")
    ),
    _event("response.create", response={"tools": [_MCP_TOOL]}),
    _event("response.create", response={"tool_choice": {"type": "mcp", "server_label": "shop"}}),
]
"""Each of the SDK's fields that is refused stands in one of these."""
