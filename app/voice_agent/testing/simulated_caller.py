"""The caller of a simulation: follows a script, comes back when its pod is gone, and keeps what it hears.

What it sends, what it gets and how it comes back go through the client's own `CallPosition`. It plays replies at the
pace of speech, so that "when 700 ms of the reply have been heard" is the same place in it whatever happens to pods.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Protocol, assert_never

import orjson

from voice_agent.call.audio import PCM
from voice_agent.call.closing import CloseCode
from voice_agent.client.position import CallPosition
from voice_agent.testing.caller_hearing import CallerHearing, HeardReply
from voice_agent.testing.script import (
    BargeIn,
    Cancel,
    GiveResult,
    HandOffNow,
    HangUpNow,
    Press,
    Say,
    ScriptStep,
    SendEvent,
    SpeakOver,
    Truncate,
    Type,
    UntilSilent,
    Wait,
)
from voice_agent.testing.simulated_line import SimulatedLine
from voice_agent.testing.spoken_words import speech_of

SILENCE_S = 1.0
"""With nothing said for so long, and nothing to come, it is the caller's turn."""
BACK_S = 0.2
"""How long a caller takes to come back."""
NOTHING_S = 1e-6
"""A shorter time is lost in the rounding of the clock."""
FRAME_MS = 100
BEFORE_MS, BEHIND_MS = 400, 900
"""Of silence, for voice activity detection to learn what it is, and to find the end of a turn."""


class PodAccess(Protocol):
    """How a caller reaches pods, and what only the machinery around it can do."""

    async def connect(self, query: dict[str, Any]) -> SimulatedLine:
        """A line to a pod that serves. Raises `ConnectionError` if it is gone before the call is attached."""

    async def press(self, digit: str) -> None:
        """A telephone's key was pressed. Returns once the call has it for good."""

    async def hand_off(self) -> None:
        """Have the pod that has the call leave."""


class SimulatedCaller:
    """`run` is the whole call."""

    def __init__(self, model: str, steps: list[ScriptStep], pods: PodAccess, session: dict[str, Any]) -> None:
        """`session`: what the first ``session.update`` says; empty for none."""
        self.hearing = CallerHearing(lambda: self._now_s)
        self.close_code: int | None = None
        """Set once the server has ended the call."""
        self.hung_up = False
        self._model = model
        self._steps = steps
        self._pods = pods
        self._session = session
        self._position = CallPosition(PCM, name="said_")
        self._line: SimulatedLine | None = None
        self._changed = asyncio.Event()
        self._last_event_s = 0.0
        self._is_speaking = False

    async def run(self) -> None:
        """Follow the script, hear everything out, hang up."""
        await self._connect({"model": self._model, "received": True})
        reading = asyncio.get_running_loop().create_task(self._read())
        if self._session:
            self._send({"type": "session.update", "session": {"type": "realtime", **self._session}})
        await self._append(bytes(PCM.size(BEFORE_MS)))
        for step in self._steps:
            if self.is_over:
                break
            await self._take(step)
        if not self.is_over:
            await self._until_silent()
            self._hang_up()
        reading.cancel()

    @property
    def is_over(self) -> bool:
        """Whether the call has ended."""
        return self.hung_up or self.close_code is not None

    @property
    def call_id(self) -> str:
        """The call's id."""
        return self._position.call_id or ""

    # --- steps --------------------------------------------------------------------

    async def _take(self, step: ScriptStep) -> None:
        match step:
            case Say(text):
                await self._until_silent()
                await self._speak(text)
            case Type(text):
                await self._until_silent()
                self._send(_item({"type": "message", "role": "user", "content": _written(text)}))
                self._send({"type": "response.create"})
            case BargeIn(text, after_ms):
                if (reply := await self._heard(after_ms)) is not None:
                    self._truncate(reply, after_ms)
                    await self._speak(text)
            case SpeakOver(text, after_ms):
                if await self._heard(after_ms) is not None:
                    await self._speak(text)
            case Cancel(after_ms):
                if (reply := await self._heard(after_ms)) is not None:
                    self._send({"type": "response.cancel"})
                    self._truncate(reply, after_ms)
            case Truncate(after_ms):
                if (reply := await self._heard(after_ms)) is not None:
                    self._truncate(reply, after_ms)
            case GiveResult(output):
                await self._until_silent()
                while not self.hearing.unanswered and not self.is_over:
                    await self._until_changed()
                tool_call_id = self.hearing.unanswered.pop(0)["call_id"] if self.hearing.unanswered else ""
                self._send(_item({"type": "function_call_output", "call_id": tool_call_id, "output": output}))
                self._send({"type": "response.create"})
            case Press(digit):
                await self._pods.press(digit)
            case SendEvent(event):
                self._send(dict(event))
            case Wait(ms):
                await self._pause(ms / 1000)
            case UntilSilent():
                await self._until_silent()
            case HandOffNow():
                await self._pods.hand_off()
            case HangUpNow(after_ms):
                if after_ms and (reply := await self._heard(after_ms)) is not None:
                    self.hearing.stop(reply, after_ms)
                self._hang_up()
            case _:
                assert_never(step)

    async def _speak(self, text: str) -> None:
        self._is_speaking = True
        await self._append(speech_of(text) + bytes(PCM.size(BEHIND_MS)))
        self._is_speaking = False
        self._last_event_s = self._now_s

    async def _append(self, audio: bytes) -> None:
        size = PCM.size(FRAME_MS)
        for at in range(0, len(audio), size):
            await asyncio.sleep(FRAME_MS / 1000)
            self._position.append_audio(audio[at : at + size])
            self._flush()

    def _truncate(self, reply: HeardReply, heard_ms: int) -> None:
        self.hearing.stop(reply, heard_ms)
        place = {"item_id": reply.item_id, "content_index": 0, "audio_end_ms": heard_ms}
        self._send({"type": "conversation.item.truncate", **place})

    async def _heard(self, after_ms: int) -> HeardReply | None:
        """Wait until the caller has heard so much of the reply under way; None if there never is so much."""
        while not self.is_over:
            reply = self.hearing.spoken_now
            missing_ms = after_ms if reply is None else after_ms - PCM.ms(len(reply.audio))
            if reply is None or missing_ms > 0 or self._line is None:
                if reply is not None and reply.status and missing_ms > 0:
                    return None
                await self._until_changed()
            elif (wait_s := self.hearing.to_play_s + missing_ms / 1000) > NOTHING_S:
                await self._until_changed(within_s=wait_s)
            else:
                return reply
        return None

    def _hang_up(self) -> None:
        self.hung_up = True
        if self._line is not None:
            self._line.leave(CloseCode.NORMAL_CLOSURE)
        self._changed.set()

    # --- waiting --------------------------------------------------------------------

    @property
    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def _until_changed(self, *, within_s: float | None = None) -> None:
        """Wait until something comes, or the time is over."""
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._changed.wait()

    async def _pause(self, seconds: float) -> None:
        """Wait for so long, but not longer than the call."""
        until_s = self._now_s + seconds
        while not self.is_over and (left_s := until_s - self._now_s) > NOTHING_S:
            await self._until_changed(within_s=left_s)

    async def _until_silent(self) -> None:
        while not self.is_over and (left_s := self._silent_in_s()) > NOTHING_S:
            await self._until_changed(within_s=left_s)

    def _silent_in_s(self) -> float:
        """How long it is until the caller's turn, unless something comes; 0: it is now."""
        if self.hearing.is_replied_to or self._line is None or self._is_speaking or self._position.has_unsent:
            return SILENCE_S
        return max(self.hearing.silent_since_s, self._last_event_s) + SILENCE_S - self._now_s

    # --- the line -------------------------------------------------------------------

    def _send(self, event: dict[str, Any]) -> None:
        self._position.add(event)
        self._flush()

    def _flush(self) -> None:
        while self._line is not None and (text := self._position.next_message()) is not None:
            self._line.tell(text)
        self._last_event_s = self._now_s

    async def _connect(self, query: dict[str, Any]) -> None:
        while True:
            try:
                line = await self._pods.connect(query)
                greeting = await line.next()
            except ConnectionError:
                await asyncio.sleep(BACK_S)
                continue
            if isinstance(greeting, int):
                if greeting == CloseCode.CALL_ENDED:
                    self.close_code = greeting
                    return
                await asyncio.sleep(BACK_S)
                continue
            self._position.greeted(orjson.loads(greeting))
            self._position.go_on()
            self._line = line
            self.hearing.go_on()
            self._flush()
            return

    async def _read(self) -> None:
        while self._line is not None:
            message = await self._line.next()
            if not isinstance(message, int):
                event = orjson.loads(message)
                if self._position.is_new(event):
                    self.hearing.hear(event)
                    self._flush()
                    self._changed.set()
                continue
            self._line = None
            self.hearing.pause()
            self._changed.set()
            if message in (CloseCode.ABNORMAL_CLOSURE, CloseCode.SERVICE_RESTART) and not self.hung_up:
                await asyncio.sleep(BACK_S)
                await self._connect({"received": True, **self._position.resume_query})
                self._last_event_s = self._now_s
            else:
                self.close_code = message
            self._changed.set()


def _written(text: str) -> list[dict[str, Any]]:
    return [{"type": "input_text", "text": text}]


def _item(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "conversation.item.create", "item": item}
