"""Reading one answer of a model, whatever becomes of the provider that gives it.

::

    provider A   We are open from nine. Come by, or ca|  cut, or silent while the caller waits
    sentences    |We are open from nine. |Come by, |
    provider B   asked to go on behind "We are open from nine. Come by, or"
                 ─────────────────────────────────────  or call us.
    sentences    |We are open from nine. |Come by, |or call us.|

The last word that came may be half of one, so the next provider is asked for it again. What of its answer repeats what
was said is passed over (`continuation`). The answer is read in a task of its own: it is whole long before it is said.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import structlog

from voice_agent.agents.pipeline.answer import FAILED, ModelAnswer, Sentences
from voice_agent.agents.pipeline.continuation import NewPart
from voice_agent.agents.pipeline.patience import OutOfPatience, Patience
from voice_agent.agents.pipeline.sentences import SentenceCutter
from voice_agent.kit.usage import MeteredRequest
from voice_agent.providers.chat import ChatRequest, stream_chat
from voice_agent.providers.chat_chunks import LENGTH, MAX_TEXT_BYTES, ChatDelta, ChatDone, ChatText
from voice_agent.providers.endpoint import Endpoint
from voice_agent.providers.errors import FailureKind, ProviderFailed
from voice_agent.providers.failover import EndpointAnswer, Failover

MAX_ATTEMPTS = 6
"""Of one answer: stops providers that all break off from being asked for ever."""
MAX_OVERTAKEN = 2
"""So often an answer that comes slowly is gone on with elsewhere: all of them may be slow."""
USAGE_S = 1.0
"""So long what the request has used is waited for behind its answer."""

log = structlog.get_logger(__name__)

RequestFor = Callable[[Endpoint, str], ChatRequest]
"""What an endpoint is asked, where so much of the answer has been said already."""


class AnswerReader:
    """Of one answer. `close` it in any case."""

    def __init__(self, failover: Failover, request_for: RequestFor, said: str = "") -> None:
        """`said`: so much of it another pod has said. Begins at once."""
        self._failover = failover
        self._request_for = request_for
        self._said = said
        """All that was said or put as a piece."""
        self._sentences = Sentences()
        self._cutter = SentenceCutter(is_first=not said)
        self._room_bytes = MAX_TEXT_BYTES - len(said.encode())
        """For more text, however many providers it comes from."""
        self._requests: list[MeteredRequest] = []
        self._response_id: str | None = None
        self._loop = asyncio.get_running_loop()
        self._patience = Patience(self._loop)
        self._answer: asyncio.Future[ModelAnswer] = self._loop.create_future()
        self._task = asyncio.create_task(self._read(), name="read a model's answer")

    def give_to(self, sentences: Sentences, response_id: str) -> None:
        """Put pieces there from now on, those included that are whole already; requests are made for this response."""
        sentences.put(*self._sentences.waiting)
        sentences.starved = self._patience.starved
        self._sentences = sentences
        self._response_id = response_id
        for request in self._requests:
            request.for_response(response_id)

    async def answer(self) -> ModelAnswer:
        """All of it. What of its text is no whole piece was not put."""
        return await asyncio.shield(self._answer)

    def cancel(self) -> asyncio.Task[None]:
        """Let go of the provider, whatever it still has to say; that is done when the task is."""
        self._task.cancel()
        return self._task

    async def close(self) -> None:
        """`cancel`, and wait. Cancelled, or interrupted, it is done all the same."""
        await asyncio.wait((self.cancel(),))

    # --- the task ---------------------------------------------------------------

    async def _read(self) -> None:
        try:
            await self._attempts()
            self._end(FAILED)
        except Exception as error:
            if self._answer.done():
                log.exception("reading a model's answer failed behind its end")
            else:
                self._answer.set_exception(error)
        finally:
            self._answer.cancel()

    async def _attempts(self) -> None:
        """Until the answer is whole, or no provider goes on with it."""
        last: Endpoint | None = None
        overtaken = 0
        for _ in range(MAX_ATTEMPTS):
            before, last = last, None
            self._cutter.drop_part_of_word()
            try:
                async with (
                    self._patience.within(),
                    self._failover.ask(self._asked, besides=() if before is None else (before,)) as found,
                ):
                    last = found.endpoint
                    if overtaken < MAX_OVERTAKEN and len(self._failover.endpoints) > 1:
                        self._patience.shorten(self._failover.pauses(last).limit_s())
                    await self._take(found)
                    return
            except ProviderFailed as error:
                log.warning("a model broke its answer off", provider=error.provider, kind=error.kind)
            except OutOfPatience:
                if self._answer.done():
                    return  # Of its usage nothing is known.
                if last is not None:
                    overtaken += 1
                    self._overtaken(last)
            if last is None or self._patience.is_over:
                return

    def _overtaken(self, slow: Endpoint) -> None:
        """It gave nothing while the caller waited."""
        pauses = self._failover.pauses(slow)
        pauses.overtaken(pauses.limit_s())
        failed = ProviderFailed(slow.name, FailureKind.TIMEOUT, "gave nothing while the caller waited")
        self._failover.client.health(slow).failed(failed)
        log.warning("a model's answer comes too slowly", provider=slow.name)

    def _asked(self, endpoint: Endpoint) -> AsyncGenerator[ChatDelta, None]:
        request = self._request_for(endpoint, self._text)
        return stream_chat(self._failover.client, endpoint, request, self._begun)

    def _begun(self, request: MeteredRequest) -> None:
        self._requests.append(request)
        if self._response_id is not None:
            request.for_response(self._response_id)

    async def _take(self, found: EndpointAnswer[ChatDelta]) -> None:
        """Take its answer. Raises `ProviderFailed` if it ends before that."""
        new = NewPart(self._text)
        came_at_s, longest_s = self._loop.time(), 0.0
        async for delta in found.items:
            longest_s, came_at_s = max(longest_s, self._loop.time() - came_at_s), self._loop.time()
            if isinstance(delta, ChatText):
                self._add(new.feed(delta.text))
                if self._room_bytes <= 0:
                    self._end(ChatDone(LENGTH))
            elif isinstance(delta, ChatDone):
                self._add(new.end())
                self._end(delta)
                self._failover.pauses(found.endpoint).add(longest_s)
            self._patience.came()

    # --- text -------------------------------------------------------------------

    @property
    def _text(self) -> str:
        """All of the answer by now."""
        return self._said + self._cutter.rest

    def _add(self, text: str) -> None:
        if self._answer.done():
            return
        fitting = text.encode()[: max(0, self._room_bytes)]
        self._room_bytes -= len(text.encode())
        text = fitting.decode(errors="ignore")
        for piece in self._cutter.feed(text):
            self._said += piece
            self._sentences.put(piece)
            self._patience.fed()

    def _end(self, done: ChatDone | str) -> None:
        if self._answer.done():
            return
        if isinstance(done, str):
            self._cutter.drop_part_of_word()
            self._answer.set_result(ModelAnswer(self._text, (), done))
        else:
            self._answer.set_result(ModelAnswer(self._text, done.tool_calls, done.finish_reason))
        self._patience.end_within(USAGE_S)
