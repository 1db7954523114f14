"""A provider with OpenAI's API, as an ASGI application: language model, ear and voice.

It is strict where OpenAI's is: what it does not know it refuses. What it was asked is in `log`, what goes wrong
in `faults`. Below ``/control`` both are had from another process::

    POST   /control/faults    {"task": "chat", "faults": [{"kind": "cut", "after_bytes": 700}, null]}
    GET    /control/requests
    DELETE /control           no more faults, no requests
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from tests.doubles.answers import Body, chat, speech, transcription
from tests.doubles.faults import Fault, FaultPlan, Task
from tests.doubles.forms import InvalidUpload, read_form, read_wav
from tests.doubles.model import Answer, GoingOn, answer
from tests.doubles.request_log import Request, RequestLog
from tests.doubles.sending import Sender, disconnected
from tests.doubles.tones import words_in
from voice_agent.testing.spoken_words import words_in as carried_words

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

TASKS: dict[str, Task] = {
    "/chat/completions": "chat",
    "/audio/transcriptions": "hear",
    "/audio/speech": "speak",
}
KNOWN: dict[Task, frozenset[str]] = {
    "chat": frozenset(
        "messages model stream stream_options tools tool_choice parallel_tool_calls temperature top_p max_tokens "
        "max_completion_tokens stop seed user n presence_penalty frequency_penalty response_format reasoning_effort "
        "service_tier metadata store verbosity safety_identifier prompt_cache_key logprobs".split()
    ),
    "hear": frozenset(
        "file model language prompt response_format temperature timestamp_granularities[] include[] stream "
        "chunking_strategy".split()
    ),
    "speak": frozenset("model input voice instructions response_format speed stream_format".split()),
}
PREFIX = {"add_generation_prompt", "continue_final_message"}
"""With which vLLM goes on with the last message."""
MESSAGE = frozenset({"role", "content", "name", "refusal", "tool_calls", "tool_call_id"})
MESSAGE_PREFIX = "prefix"
"""With which Mistral's and DeepSeek's models do."""
MAX_INPUT_CHARS = 4096
RESPONSE_FORMATS = ("pcm", "wav")


@dataclass
class Refusal(Exception):
    """A request that is answered with an error."""

    status: int
    message: str
    param: str | None = None


class Provider:
    """One provider. Attributes may be changed while it runs."""

    def __init__(
        self,
        *,
        key: str | None = None,
        takes_prefix: bool = False,
        going_on: GoingOn = GoingOn.EXACT,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`takes_prefix`: it knows the parameters with which others than OpenAI's models go on with a last message.

        `now_s`: the clock of its log; all processes of a machine share the usual one.
        """
        self.key = key
        self.takes_prefix = takes_prefix
        self.going_on = going_on
        self.faults = FaultPlan()
        self.now_s = now_s
        self.log = RequestLog(now_s)
        self.first_s: dict[Task, float] = {}
        """Before the first piece of an answer, by task."""
        self.token_s = 0.0
        """Before each token."""
        self.voice_pace = 0.0
        """How much faster than real time it speaks; 0: as fast as it can."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        path = str(scope["path"])
        task = next((found for end, found in TASKS.items() if path.endswith(end)), None)
        if path.startswith("/control"):
            await self._control(scope, receive, Sender(send))
        elif task is None or scope["method"] != "POST":
            await Sender(send).error(404, f"Invalid URL ({scope['method']} {path})")
        else:
            await self._answer(task, scope, receive, send)

    async def _answer(self, task: Task, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        request = self.log.begin(task, headers.get("x-client-request-id", ""), {}, scope.get("client"))
        request.fault = self.faults.next(task)
        sender = Sender(send, request, self)
        try:
            body = await read_body(receive)
            request.asked_at = self.now_s()
            reply = self._reply(request, headers, body)
        except Refusal as refusal:
            await sender.error(refusal.status, refusal.message, refusal.param)
            sender.end()
            return
        gone = asyncio.create_task(disconnected(receive))
        sending = asyncio.create_task(sender.reply(reply))
        try:
            await asyncio.wait((gone, sending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            gone.cancel()
            sender.end()
        if sending.done() and not sending.cancelled():
            sending.result()

    def pause_before(self, is_first: bool, request: Request, lasts_s: float) -> float:
        """How long it takes to make a piece of an answer."""
        slow_s = request.fault.seconds if request.fault is not None and request.fault.kind == "slow" else 0.0
        spoken_s = lasts_s / self.voice_pace if self.voice_pace else 0.0
        made_s = spoken_s if request.task == "speak" else self.token_s
        return slow_s + made_s + (self.first_s.get(request.task, 0.0) if is_first else 0.0)

    def _reply(self, request: Request, headers: dict[str, str], body: bytes) -> Body:
        """What is to be sent. Raises `Refusal`."""
        given = headers.get("authorization", "").removeprefix("Bearer ") or headers.get("api-key", "")
        if self.key is not None and given != self.key:
            raise Refusal(401, "Incorrect API key provided.")
        if request.task == "hear":
            reply = self._hear(request, headers, body)
        else:
            request.asked = _object(body)
            self._check(request)
            reply = self._think(request) if request.task == "chat" else self._speak(request)
        request.usage = reply.usage
        return reply

    def _check(self, request: Request) -> None:
        known = KNOWN[request.task] | (PREFIX if self.takes_prefix and request.task == "chat" else set())
        if unknown := sorted(request.asked.keys() - known):
            raise Refusal(400, f"Unrecognized request argument supplied: {unknown[0]}", unknown[0])
        request.model = str(request.asked.get("model") or "")
        if not request.model:
            raise Refusal(400, "you must provide a model parameter", "model")

    def _think(self, request: Request) -> Body:
        asked = request.asked
        _check_messages(asked.get("messages"), MESSAGE | ({MESSAGE_PREFIX} if self.takes_prefix else set()))
        if "stream_options" in asked and not asked.get("stream"):
            raise Refusal(400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
        found = self.think(asked)
        request.answer, request.tool_calls = found.text, [call.name for call in found.tool_calls]
        return chat(asked, found, request.number)

    def think(self, asked: dict[str, Any]) -> Answer:
        """What the model answers to the body of a request."""
        return answer(asked, self.going_on)

    def _speak(self, request: Request) -> Body:
        said = request.asked.get("input")
        if not isinstance(said, str) or not 0 < len(said) <= MAX_INPUT_CHARS:
            raise Refusal(400, "Invalid 'input': a string of 1 to 4096 characters.", "input")
        if not request.asked.get("voice"):
            raise Refusal(400, "Missing required parameter: 'voice'.", "voice")
        if request.asked.get("response_format", "mp3") not in RESPONSE_FORMATS:
            raise Refusal(400, f"Only {RESPONSE_FORMATS} are spoken here.", "response_format")
        return speech(request.asked)

    def _hear(self, request: Request, headers: dict[str, str], body: bytes) -> Body:
        try:
            form = read_form(headers.get("content-type", ""), body)
            request.asked = dict(form.fields)
            self._check(request)
            if form.file is None:
                raise Refusal(400, "Missing required parameter: 'file'.", "file")
            audio, rate_hz = read_wav(form.file)
        except InvalidUpload as error:
            raise Refusal(400, str(error), "file") from error
        request.heard = " ".join(words_in(audio, rate_hz)) or carried_words(audio)
        return transcription(request.asked, request.heard, len(audio) * 500 // rate_hz)

    async def _control(self, scope: Scope, receive: Receive, sender: Sender) -> None:
        body = await read_body(receive)
        match scope["method"], scope["path"], parse_qs(scope["query_string"].decode()):
            case "POST", "/control/faults", _:
                given = _object(body)
                self.faults.add(given["task"], *(each and Fault(**each) for each in given["faults"]))
                await sender.json({})
            case "GET", "/control/requests", _:
                await sender.json(self.log.as_json())
            case "DELETE", "/control", _:
                self.faults.clear()
                self.log.clear()
                await sender.json({})
            case _:
                await sender.error(404, "There is no such control.")


async def read_body(receive: Receive) -> bytes:
    """All of a request's body; what came of it if its client has gone."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return body
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Refusal(400, "We could not parse the JSON body of your request.")
    return found


def _check_messages(messages: Any, known: frozenset[str] | set[str]) -> None:
    """As OpenAI's: results of tools stand behind the calls that they are of, and every call has one."""
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, "Missing required parameter: 'messages'.", "messages")
    due: set[str] = set()
    for at, message in enumerate(messages):
        role = message.get("role")
        if unknown := sorted(message.keys() - known):
            raise Refusal(400, f"Unrecognized request argument supplied: {unknown[0]}", f"messages[{at}]")
        if role not in ("system", "developer", "user", "assistant", "tool"):
            raise Refusal(400, f"Invalid value: {role!r}.", f"messages[{at}].role")
        if role == "tool":
            if message.get("tool_call_id") not in due:
                raise Refusal(400, "messages with role 'tool' must be a response to a preceding message", "messages")
            due.discard(message["tool_call_id"])
            continue
        if due:
            raise Refusal(400, f"tool_call_ids did not have response messages: {', '.join(sorted(due))}", "messages")
        calls = message.get("tool_calls") or ()
        due = {call["id"] for call in calls}
        if message.get("content") is None and not calls:
            raise Refusal(400, "Invalid value for 'content': expected a string, got null.", f"messages[{at}].content")
    if due:
        raise Refusal(400, f"tool_call_ids did not have response messages: {', '.join(sorted(due))}", "messages")
