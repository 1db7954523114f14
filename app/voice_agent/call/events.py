"""The server's events as the caller sees them, without ``event_id``.

One small function per event of the OpenAI Realtime (GA) protocol; the shapes are those
of the official SDK's ``RealtimeServerEvent``. Audio is never in a body: the bytes of a
``response.output_audio.delta`` are kept beside it and joined on the way out by `protocol.realtime`.

The order in which they come, for a spoken turn with turn detection on::

    input_audio_buffer.speech_started
    input_audio_buffer.speech_stopped
    input_audio_buffer.committed
    conversation.item.added                  the user's item
    conversation.item.done
    conversation.item.input_audio_transcription.delta | .completed | .failed
                                             at any time from here on
    response.created
      response.output_item.added             per output item
      conversation.item.added
        response.content_part.added
          response.output_audio_transcript.delta  \\ interleaved;
          response.output_audio.delta             / for text: response.output_text.delta
        response.output_audio.done                  for text: response.output_text.done
        response.output_audio_transcript.done
        response.content_part.done
      conversation.item.done
      response.output_item.done
    response.done

A tool call has ``response.function_call_arguments.delta`` and ``.done`` in place of the
content part. A response with ``conversation: "none"`` has no ``conversation.item.*``.
A message of a response has one content part, so ``content_index`` is 0 throughout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from voice_agent.call.session_config import ResponseSettings
from voice_agent.call.usage import (
    CACHED_INPUT_TOKENS,
    INPUT_AUDIO_TOKENS,
    INPUT_TOKENS,
    OUTPUT_AUDIO_TOKENS,
    OUTPUT_TOKENS,
    ResponseUsage,
)
from voice_agent.errors import ProtocolError

Body = dict[str, Any]

HEARD_TOKEN_MS = 100
SPOKEN_TOKEN_MS = 50
"""How much audio OpenAI counts as one token."""


def pack(body: Mapping[str, Any]) -> bytes:
    """A body as JSON, which is how the outbox and the store keep it; `protocol.realtime.frame` puts the id in front.

    A copy of its own size: what orjson returns was cut from a kilobyte, and what was cut off stays a hole between
    long-lived neighbours that no frame fits into. A full outbox took five times its limit.
    """
    return bytes(memoryview(orjson.dumps(body)))


# --- the session -----------------------------------------------------------


def session_updated(session: Mapping[str, Any]) -> Body:
    """A `session.update` took effect: the whole session as it is now."""
    return {"type": "session.updated", "session": session}


def going_away(time_left_ms: int, reason: str) -> Body:
    """An extension, only for callers that asked: this connection will be closed, come back then."""
    return {"type": "call.going_away", "time_left_ms": time_left_ms, "reason": reason}


def transfer(target: str) -> Body:
    """An extension: the agent hands the caller over, and the call ends; the client is to call `target`."""
    return {"type": "call.transfer", "target": target}


def error(error: ProtocolError, event_id: str | None = None, *, at_bytes: int | None = None) -> Body:
    """An event of the client was invalid; `event_id` is the caller's own id of the event that was wrong.

    `at_bytes`: for an append without an id, where in the caller's audio it would have begun.
    """
    where = {} if at_bytes is None else {"input_audio_bytes": at_bytes}
    return {
        "type": "error",
        "error": {
            "type": "invalid_request_error",
            "code": error.code,
            "message": error.message,
            "param": error.param,
            "event_id": event_id,
            **where,
        },
    }


# --- the caller's audio ----------------------------------------------------


def speech_started(audio_start_ms: int, item_id: str) -> Body:
    """Speech was heard; milliseconds count all input audio of the call, and the padding is included."""
    return {"type": "input_audio_buffer.speech_started", "audio_start_ms": audio_start_ms, "item_id": item_id}


def speech_stopped(audio_end_ms: int, item_id: str) -> Body:
    """Silence ended the speech; milliseconds as in `speech_started`, the silence is included."""
    return {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": audio_end_ms, "item_id": item_id}


def input_audio_committed(previous_item_id: str | None, item_id: str) -> Body:
    """The buffered audio becomes the item `item_id`."""
    return {"type": "input_audio_buffer.committed", "previous_item_id": previous_item_id, "item_id": item_id}


def input_audio_cleared() -> Body:
    """The buffered audio was thrown away on request."""
    return {"type": "input_audio_buffer.cleared"}


def timeout_triggered(audio_start_ms: int, audio_end_ms: int, item_id: str) -> Body:
    """The caller was silent for `idle_timeout_ms`; that silence becomes the item `item_id`."""
    return {
        "type": "input_audio_buffer.timeout_triggered",
        "audio_start_ms": audio_start_ms,
        "audio_end_ms": audio_end_ms,
        "item_id": item_id,
    }


# --- the conversation ------------------------------------------------------


def item_added(previous_item_id: str | None, item: Mapping[str, Any]) -> Body:
    """An item joined the conversation; the content of one being spoken is still to come."""
    return {"type": "conversation.item.added", "previous_item_id": previous_item_id, "item": item}


def item_done(previous_item_id: str | None, item: Mapping[str, Any]) -> Body:
    """An item is final, with all its content except audio."""
    return {"type": "conversation.item.done", "previous_item_id": previous_item_id, "item": item}


def item_retrieved(item: Mapping[str, Any], *, with_audio: bool) -> Body:
    """The item that was asked for.

    With audio its first spoken part gets an empty ``audio``: the bytes go beside this
    body, and `protocol.realtime` puts them there.
    """
    if with_audio:
        parts = [dict(part) for part in item["content"]]
        next(part for part in parts if part["type"] in ("input_audio", "output_audio"))["audio"] = ""
        item = {**item, "content": parts}
    return {"type": "conversation.item.retrieved", "item": item}


def item_truncated(item_id: str, content_index: int, audio_end_ms: int) -> Body:
    """What was not heard of a spoken item is forgotten."""
    return {
        "type": "conversation.item.truncated",
        "item_id": item_id,
        "content_index": content_index,
        "audio_end_ms": audio_end_ms,
    }


def item_deleted(item_id: str) -> Body:
    """An item left the conversation."""
    return {"type": "conversation.item.deleted", "item_id": item_id}


def transcription_delta(item_id: str, content_index: int, delta: str) -> Body:
    """More of what the caller said in an item."""
    return {
        "type": "conversation.item.input_audio_transcription.delta",
        "item_id": item_id,
        "content_index": content_index,
        "delta": delta,
    }


def transcription_completed(item_id: str, content_index: int, transcript: str, audio_s: float) -> Body:
    """All the caller said in an item; `audio_s` is how long that audio lasts."""
    return {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": item_id,
        "content_index": content_index,
        "transcript": transcript,
        "usage": {"type": "duration", "seconds": audio_s},
    }


def transcription_failed(
    item_id: str,
    content_index: int,
    code: str = "audio_unintelligible",
    message: str = "What was said could not be understood.",
) -> Body:
    """What the caller said in an item stays unknown."""
    return {
        "type": "conversation.item.input_audio_transcription.failed",
        "item_id": item_id,
        "content_index": content_index,
        "error": {"type": "transcription_error", "code": code, "message": message},
    }


# --- a response as a whole -------------------------------------------------


def cancelled(reason: str) -> Body:
    """`status_details` of a cancelled response: ``turn_detected`` or ``client_cancelled``."""
    return {"type": "cancelled", "reason": reason}


def incomplete(reason: str) -> Body:
    """`status_details` of a response that stopped early: ``max_output_tokens``, ``content_filter``."""
    return {"type": "incomplete", "reason": reason}


def failed(code: str, message: str) -> Body:
    """`status_details` of a response that broke; `message` is fit for the caller."""
    return {"type": "failed", "error": {"type": "server_error", "code": code, "message": message}}


def usage(heard_ms: int, spoken_ms: int) -> Body | None:
    """The `usage` of a response that was given so much of the caller's audio and spoke so long; None for neither.

    Audio is counted at OpenAI's rates. Tokens of text are their provider's to count: what was not counted is left
    out, and so are the sums, for a zero would be believed, and a null breaks clients that take absent numbers.
    """
    if not heard_ms and not spoken_ms:
        return None
    return {
        "input_token_details": {"audio_tokens": -(-heard_ms // HEARD_TOKEN_MS)},
        "output_token_details": {"audio_tokens": -(-spoken_ms // SPOKEN_TOKEN_MS)},
    }


def metered_usage(used: ResponseUsage) -> Body:
    """The `usage` of a response whose agent counts what its models use; what is not known is left out, as above."""
    heard, said = used.known(INPUT_TOKENS), used.known(OUTPUT_TOKENS)
    heard_audio, said_audio = used.known(INPUT_AUDIO_TOKENS), used.known(OUTPUT_AUDIO_TOKENS)
    return _known(
        total_tokens=None if heard is None or said is None else heard + said,
        input_tokens=heard,
        output_tokens=said,
        input_token_details=_known(
            cached_tokens=used.known(CACHED_INPUT_TOKENS),
            text_tokens=_rest(heard, heard_audio),
            audio_tokens=heard_audio,
        ),
        output_token_details=_known(text_tokens=_rest(said, said_audio), audio_tokens=said_audio),
    )


def _known(**figures: Any) -> Body:
    return {name: figure for name, figure in figures.items() if figure is not None}


def _rest(tokens: int | None, audio_tokens: int | None) -> int | None:
    """Those that are not audio; None: not known."""
    return None if tokens is None or audio_tokens is None else max(0, tokens - audio_tokens)


def response(
    response_id: str,
    status: str,
    status_details: Mapping[str, Any] | None,
    output: Sequence[Mapping[str, Any]],
    settings: ResponseSettings,
    *,
    conversation_id: str | None = None,
    used: Body | None = None,
) -> Body:
    """The ``response`` resource; `used` is its `usage`, once it is over.

    `status`: in_progress, completed, cancelled, failed, incomplete. `conversation_id`
    None is for a response outside the conversation.
    """
    return {
        "object": "realtime.response",
        "id": response_id,
        "status": status,
        "status_details": status_details,
        "output": output,
        "conversation_id": conversation_id,
        "output_modalities": settings.output_modalities,
        "max_output_tokens": settings.max_output_tokens,
        "audio": {"output": {"format": settings.output_format.as_json(), "voice": settings.voice}},
        "usage": used,
        "metadata": settings.metadata,
    }


def response_created(resource: Mapping[str, Any]) -> Body:
    """A response began; `resource` is a `response` in progress."""
    return {"type": "response.created", "response": resource}


def response_done(resource: Mapping[str, Any]) -> Body:
    """A response ended, however it ended; `resource` is the final `response` with all its items."""
    return {"type": "response.done", "response": resource}


# --- the parts of a response -----------------------------------------------


def output_item_added(response_id: str, output_index: int, item: Mapping[str, Any]) -> Body:
    """An item of a response began."""
    return {
        "type": "response.output_item.added",
        "response_id": response_id,
        "output_index": output_index,
        "item": item,
    }


def output_item_done(response_id: str, output_index: int, item: Mapping[str, Any]) -> Body:
    """An item of a response is final."""
    return {
        "type": "response.output_item.done",
        "response_id": response_id,
        "output_index": output_index,
        "item": item,
    }


def content_part_added(response_id: str, item_id: str, output_index: int, spoken: bool) -> Body:
    """The content part of a message began, empty."""
    body = _of_part("response.content_part.added", response_id, item_id, output_index)
    body["part"] = _part(spoken, "")
    return body


def content_part_done(response_id: str, item_id: str, output_index: int, spoken: bool, text: str) -> Body:
    """The content part of a message is final; `text` is its text or its transcript."""
    body = _of_part("response.content_part.done", response_id, item_id, output_index)
    body["part"] = _part(spoken, text)
    return body


def output_text_delta(response_id: str, item_id: str, output_index: int, delta: str) -> Body:
    """More text of a written reply."""
    body = _of_part("response.output_text.delta", response_id, item_id, output_index)
    body["delta"] = delta
    return body


def output_text_done(response_id: str, item_id: str, output_index: int, text: str) -> Body:
    """The whole text of a written reply."""
    body = _of_part("response.output_text.done", response_id, item_id, output_index)
    body["text"] = text
    return body


def output_audio_transcript_delta(response_id: str, item_id: str, output_index: int, delta: str) -> Body:
    """More of what a spoken reply says."""
    body = _of_part("response.output_audio_transcript.delta", response_id, item_id, output_index)
    body["delta"] = delta
    return body


def output_audio_transcript_done(response_id: str, item_id: str, output_index: int, transcript: str) -> Body:
    """All that a spoken reply says."""
    body = _of_part("response.output_audio_transcript.done", response_id, item_id, output_index)
    body["transcript"] = transcript
    return body


def output_audio_delta(response_id: str, item_id: str, output_index: int) -> Body:
    """More speech. Its ``delta`` is not here: the bytes go beside this body."""
    return _of_part("response.output_audio.delta", response_id, item_id, output_index)


def output_audio_done(response_id: str, item_id: str, output_index: int) -> Body:
    """No more speech in this part."""
    return _of_part("response.output_audio.done", response_id, item_id, output_index)


def function_call_arguments_delta(response_id: str, item_id: str, output_index: int, call_id: str, delta: str) -> Body:
    """More of a tool call's arguments; `call_id` is the tool call's, not the phone call's."""
    return {
        "type": "response.function_call_arguments.delta",
        "response_id": response_id,
        "item_id": item_id,
        "output_index": output_index,
        "call_id": call_id,
        "delta": delta,
    }


def function_call_arguments_done(
    response_id: str, item_id: str, output_index: int, call_id: str, name: str, arguments: str
) -> Body:
    """A tool call is complete: the client runs `name` with `arguments` (JSON text)."""
    return {
        "type": "response.function_call_arguments.done",
        "response_id": response_id,
        "item_id": item_id,
        "output_index": output_index,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
    }


def _of_part(kind: str, response_id: str, item_id: str, output_index: int) -> Body:
    return {
        "type": kind,
        "response_id": response_id,
        "item_id": item_id,
        "output_index": output_index,
        "content_index": 0,
    }


def _part(spoken: bool, text: str) -> Body:
    return {"type": "audio", "transcript": text} if spoken else {"type": "text", "text": text}
