"""What a model's stream of chunks says (`chat.completion.chunk` of the OpenAI API), put together.

Servers differ: calls of tools come without an index or an id, with arguments as an object, whole or letter by letter;
an answer that was to be streamed comes whole, as ``message``; an error comes in the middle. All of it is bounded, for
what a model writes may have no end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

MAX_TEXT_BYTES = 20 * 1024
"""Of one answer: twenty minutes of speech. What is longer ends there, as if a limit had been set."""
MAX_CALLS = 16
"""Of tools, in one answer; those beyond are left out."""
MAX_CALLS_BYTES = 10 * 1024
"""Of names and arguments of an answer's calls together: with its text they are kept as one act in a call's record, of
64 KiB at most, where each quotation mark takes two bytes."""
MAX_NAME_CHARS = 64
MAX_ID_CHARS = 64
MAX_REASON_CHARS = 64
DONE = "[DONE]"
LENGTH = "length"
STOP = "stop"

_CONTROLS = {code: None for code in range(32) if chr(code) not in "\t\n\r"} | {127: None}


class WrongChunk(Exception):
    """A chunk that makes no sense."""


class StreamError(Exception):
    """The server tells of an error in the middle of its answer."""


@dataclass(frozen=True, slots=True)
class ChatBegan:
    """The model has begun to answer; what, is not known yet."""


@dataclass(frozen=True, slots=True)
class ChatText:
    """More text."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model wants called."""

    id: str
    """As the model gave it; "" if it gave none."""
    name: str
    arguments: str
    """JSON, or what the model took for it."""


@dataclass(frozen=True, slots=True)
class ChatUsage:
    """What the request has used, in tokens; None: the provider does not say."""

    input: int | None
    output: int | None
    cached_input: int | None = None
    input_audio: int | None = None
    output_audio: int | None = None


@dataclass(frozen=True, slots=True)
class ChatDone:
    """The answer is whole."""

    finish_reason: str
    """``stop``, ``length``, ``tool_calls``, ``content_filter``; another of the server's own."""
    tool_calls: tuple[ToolCall, ...] = ()
    is_refusal: bool = False
    """The text is a refusal."""


ChatDelta = ChatBegan | ChatText | ChatUsage | ChatDone


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: str = ""


class ChatChunks:
    """One answer's."""

    def __init__(self) -> None:
        self.is_over = False
        """``[DONE]`` has come, or a bound was reached: no more is to be read."""
        self.is_done = False
        """The answer is whole; its usage may still come."""
        self._has_begun = False
        self._text_bytes = 0
        self._calls_bytes = 0
        self._calls: list[_Call] = []
        self._places: dict[int, _Call] = {}
        """By the index that the server gave."""
        self._is_refusal = False

    def feed(self, data: str) -> Iterator[ChatDelta]:
        """What one event of the stream says. Raises `WrongChunk` and `StreamError`."""
        if not self._has_begun:
            self._has_begun = True
            yield ChatBegan()
        if data.strip() == DONE:
            self.is_over = True
            if not self.is_done:
                yield self._done(STOP)
            return
        chunk = _mapping(_parsed(data), "chunk")
        if error := chunk.get("error"):
            raise StreamError(str(error.get("message", error) if isinstance(error, Mapping) else error))
        choices = chunk.get("choices") or ()
        if not isinstance(choices, list | tuple):
            raise WrongChunk("its choices are no list")
        for choice in choices[:1]:
            yield from self._choice(_mapping(choice, "choice"))
        if isinstance(usage := chunk.get("usage"), Mapping):
            yield _usage(usage)

    def _choice(self, choice: Mapping[str, Any]) -> Iterator[ChatDelta]:
        delta = choice.get("delta") or choice.get("message") or {}
        delta = _mapping(delta, "delta")
        for name in ("content", "refusal"):
            if text := self._text(delta.get(name)):
                self._is_refusal = self._is_refusal or name == "refusal"
                yield ChatText(text)
        for call in _calls(delta):
            self._call(call)
        reason = choice.get("finish_reason")
        if not self.is_done and (reason or self.is_over):
            yield self._done(LENGTH if self.is_over else str(reason)[:MAX_REASON_CHARS])

    def _text(self, given: Any) -> str:
        """Of one delta, as much as there is room for, without what no voice says."""
        if isinstance(given, list):  # Parts, as of a message.
            given = "".join(str(part.get("text") or "") for part in given if isinstance(part, Mapping))
        if not isinstance(given, str) or not given or self.is_done:
            return ""
        text = given.translate(_CONTROLS)
        packed = text.encode()
        room = MAX_TEXT_BYTES - self._text_bytes
        if len(packed) > room:
            self.is_over = True
            text = packed[:room].decode(errors="ignore")
        self._text_bytes += len(packed)
        return text

    def _call(self, given: Mapping[str, Any]) -> None:
        function = _mapping(given.get("function") or {}, "function")
        call = self._place(given, function)
        if call is None:
            return
        arguments = function.get("arguments") or ""
        if not isinstance(arguments, str):
            arguments = _packed(arguments)
        # Of control characters each would be six bytes where the answer is kept; JSON has them as blanks only.
        arguments = arguments.translate(_CONTROLS)
        name = str(function.get("name") or "").translate(_CONTROLS)
        self._calls_bytes += len(arguments.encode()) + len(name.encode())
        if self._calls_bytes > MAX_CALLS_BYTES:
            self.is_over = True
            self._calls.clear()  # What is not whole must not be run.
            return
        call.arguments += arguments
        call.name = call.name if call.name == name else (call.name + name)[:MAX_NAME_CHARS]

    def _place(self, given: Mapping[str, Any], function: Mapping[str, Any]) -> _Call | None:
        """The call that a delta belongs to; None: there are too many."""
        index, call_id = given.get("index"), str(given.get("id") or "")[:MAX_ID_CHARS]
        known = self._places.get(index) if isinstance(index, int) else (self._calls[-1] if self._calls else None)
        if known is not None and (not call_id or not known.id or known.id == call_id):
            is_another = not isinstance(index, int) and not call_id and function.get("name") and known.name
            if not is_another:
                known.id = known.id or call_id
                return known
        if len(self._calls) >= MAX_CALLS:
            return None
        call = _Call(call_id)
        self._calls.append(call)
        if isinstance(index, int):
            self._places[index] = call
        return call

    def _done(self, reason: str) -> ChatDone:
        self.is_done = True
        calls = tuple(ToolCall(call.id, call.name, call.arguments or "{}") for call in self._calls if call.name)
        return ChatDone(reason, calls, self._is_refusal)


def _calls(delta: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    calls = delta.get("tool_calls") or ()
    if not isinstance(calls, list | tuple):
        raise WrongChunk("its tool calls are no list")
    for call in calls:
        yield _mapping(call, "tool call")
    if isinstance(function := delta.get("function_call"), Mapping):  # What it was called in 2023.
        yield {"index": 0, "function": function}


def _usage(given: Mapping[str, Any]) -> ChatUsage:
    prompt, completion = (given.get(f"{kind}_tokens_details") for kind in ("prompt", "completion"))
    return ChatUsage(
        _count(given, "prompt_tokens"),
        _count(given, "completion_tokens"),
        _count(prompt, "cached_tokens"),
        _count(prompt, "audio_tokens"),
        _count(completion, "audio_tokens"),
    )


def _count(given: Any, name: str) -> int | None:
    found = given.get(name) if isinstance(given, Mapping) else None
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None


def _parsed(data: str) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise WrongChunk(f"it is no JSON: {error}") from None


def _packed(arguments: Any) -> str:
    try:
        return orjson.dumps(arguments).decode()
    except TypeError as error:  # Nested deeper than what can be read can be.
        raise WrongChunk(f"arguments of a tool make no sense: {error}") from None


def _mapping(given: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise WrongChunk(f"its {what} is no object")
    return given
