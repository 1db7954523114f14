"""What an OpenAI-compatible provider sends: bodies as the API documents them, in pieces."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.doubles.model import Answer, prompt_tokens, tokens_in
from tests.doubles.tones import RATE_HZ, sound_of

PIECE_MS = 100
"""Of speech."""
FRAMES_MS = 20


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a body."""

    body: bytes
    text: str = ""
    """What of a model's answer it carries."""
    lasts_s: float = 0.0
    """How long what it carries takes to be said."""


@dataclass(slots=True)
class Body:
    """What is sent, and what it counts as."""

    content_type: str
    pieces: list[Piece]
    usage: dict[str, int] = field(default_factory=dict)


def chat(asked: Mapping[str, Any], answer: Answer, number: int) -> Body:
    """What a model answers, streamed or whole."""
    finish = "tool_calls" if answer.tool_calls else answer.finish
    tokens = answer.tokens
    most = asked.get("max_completion_tokens") or asked.get("max_tokens")
    if most and len(tokens) > most:
        tokens, finish = tokens[:most], "length"
    given = prompt_tokens(asked["messages"], asked.get("tools") or ())
    made = len(tokens) + sum(2 + tokens_in(call.arguments) for call in answer.tool_calls)
    usage = {
        "prompt_tokens": given,
        "completion_tokens": made,
        "total_tokens": given + made,
        "prompt_tokens_details": {"cached_tokens": given // 2, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
    known = {"input_tokens": given, "output_tokens": made, "cached_input_tokens": given // 2}
    calls = [
        {"id": f"call_{number}_{at}", "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for at, call in enumerate(answer.tool_calls)
    ]
    head = {"id": f"chatcmpl-{number}", "created": int(time.time()), "model": asked["model"]}
    if not asked.get("stream"):
        message = {"role": "assistant", "content": "".join(tokens) or None, "refusal": None}
        if calls:
            message["tool_calls"] = calls  # type: ignore[assignment]  # a list
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        body = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
        return Body("application/json", [Piece(json.dumps(body).encode(), "".join(tokens))], known)
    head["object"] = "chat.completion.chunk"
    includes_usage = (asked.get("stream_options") or {}).get("include_usage", False)
    pieces = list(_streamed(head, tokens, calls, finish, usage if includes_usage else None))
    return Body("text/event-stream; charset=utf-8", pieces, known)


def _streamed(
    head: Mapping[str, Any], tokens: list[str], calls: list[dict[str, Any]], finish: str, usage: Any
) -> Iterator[Piece]:
    def chunk(delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _event({**head, "choices": [choice], **({"usage": None} if usage else {})})

    yield Piece(chunk({"role": "assistant", "content": None if calls else ""}))
    for token in tokens:
        yield Piece(chunk({"content": token}), token)
    for at, call in enumerate(calls):
        function = call["function"]
        yield Piece(chunk({"tool_calls": [{"index": at, **call, "function": {**function, "arguments": ""}}]}))
        middle = len(function["arguments"]) // 2
        for part in (function["arguments"][:middle], function["arguments"][middle:]):
            yield Piece(chunk({"tool_calls": [{"index": at, "function": {"arguments": part}}]}))
    yield Piece(chunk({}, finish))
    if usage:
        yield Piece(_event({**head, "choices": [], "usage": usage}))
    yield Piece(b"data: [DONE]\n\n")


def _event(data: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def speech(asked: Mapping[str, Any]) -> Body:
    """`input` said in tones: headless PCM16 at 24 kHz, or a WAV of unknown length."""
    audio = sound_of(asked["input"])
    size = RATE_HZ * PIECE_MS // 1000 * 2
    pieces = [Piece(audio[at : at + size], lasts_s=PIECE_MS / 1000) for at in range(0, len(audio), size)]
    is_wav = asked.get("response_format") == "wav"
    if is_wav:
        pieces.insert(0, Piece(wav_head()))
    return Body("audio/wav" if is_wav else "audio/pcm", pieces, {"characters": len(asked["input"])})


def wav_head(rate_hz: int = RATE_HZ, size_bytes: int = 0xFFFFFFFF) -> bytes:
    """What stands before PCM16 mono in a file; without a size, it is that of a stream."""
    riff = min(0xFFFFFFFF, size_bytes + 36)
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", riff, b"WAVE", b"fmt ", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    return head + struct.pack("<4sI", b"data", size_bytes)


def transcription(asked: Mapping[str, Any], text: str, audio_ms: int) -> Body:
    """The words that were heard, as ``json``, ``verbose_json`` or ``text``."""
    seconds = audio_ms / 1000
    known = {"audio_ms": audio_ms}
    if asked["model"].startswith("gpt-"):
        usage: dict[str, Any] = {
            "type": "tokens",
            "input_tokens": audio_ms // 100,
            "input_token_details": {"audio_tokens": audio_ms // 100, "text_tokens": 0},
            "output_tokens": tokens_in(text),
            "total_tokens": audio_ms // 100 + tokens_in(text),
        }
        known |= {"input_tokens": usage["input_tokens"], "output_tokens": usage["output_tokens"]}
    else:
        usage = {"type": "duration", "seconds": seconds}
    match asked.get("response_format", "json"):
        case "text":
            return Body("text/plain; charset=utf-8", [Piece(text.encode() + b"\n")], known)
        case "verbose_json":
            body = {"task": "transcribe", "language": "english", "duration": seconds, "text": text, "segments": []}
        case _:
            body = {"text": text}
    return Body("application/json", [Piece(json.dumps({**body, "usage": usage}).encode())], known)
