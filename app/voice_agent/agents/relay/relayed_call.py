"""One call, relayed to upstreams."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from voice_agent.agents.pipeline.last_resort import LastResort
from voice_agent.agents.relay.caller_audio import CallerAudio
from voice_agent.agents.relay.conversation import CallerTurn, bring
from voice_agent.agents.relay.dialing import NoUpstream, UpstreamDialer
from voice_agent.agents.relay.pieces import Given, PieceQueue
from voice_agent.agents.relay.relay_settings import RelaySettings
from voice_agent.agents.relay.relay_tools import RelayTools
from voice_agent.agents.relay.reply_source import Cut, ReplyEnd, ReplySource
from voice_agent.agents.relay.requests import ResponseWanted, UpstreamSettings, said_item
from voice_agent.agents.relay.session import UpstreamSession
from voice_agent.agents.relay.sessions import UpstreamSessions
from voice_agent.agents.relay.upstream_reply import UpstreamLost
from voice_agent.kit.call import Call, IncompleteReason, Item
from voice_agent.kit.events import Asked, Dtmf, Event, Heard, Interrupted, Started
from voice_agent.kit.speech import Speech
from voice_agent.kit.tools import Tool

GREETING = "Greet the caller. Say exactly this, and nothing else: "
MAX_ROUNDS = 8
"""So often a model may have tools run before it answers: stops one that never does."""
MAX_TRANSCRIPT_CHARS = 16 * 1024
"""Of one turn of the caller's: more than anybody says in it. An upstream that tells more is cut short."""


class RelayedCall:
    """One run's. `close` is to be called at its end."""

    def __init__(
        self,
        call: Call,
        dialer: UpstreamDialer,
        settings: RelaySettings,
        tools: Mapping[str, Tool],
        last_resort: LastResort,
        *,
        transcribes: bool,
        speaks: bool,
    ) -> None:
        """`tools`: the server's own. `transcribes`: what the caller said is what the upstream understands.

        `speaks`: there is a voice that says what tools say while they run.
        """
        self._call = call
        self._tools = RelayTools(call, tools, speaks=speaks)
        self._last_resort = last_resort
        self._dialer = dialer
        self._settings = settings
        self._transcribes = transcribes
        self._tasks: set[asyncio.Task[None]] = set()
        self._rate_limits: list[dict[str, Any]] | None = None
        self._is_replying = False
        self.sessions = UpstreamSessions(dialer, self._session_settings, self._prepare)
        self.sessions.start()
        self._audio = CallerAudio(call, lambda: self.sessions.using, self._tell_busy)

    def close(self) -> None:
        """Leave the upstreams."""
        self._audio.stop()
        for task in self._tasks:
            task.cancel()
        self.sessions.close()

    async def handle(self, event: Event) -> None:
        """An event of the call. Raises `SpeechInterrupted`, and what keeps a reply from being made."""
        self._tools.recall()
        match event:
            case Asked():
                await self._answer(event)
            case Heard():
                await self._take_turn(event)
            case Interrupted():
                await self._truncate(event)
            case Dtmf(digit=digit):
                await self._last_resort.taken_by_key(self._call, digit)
            case Started(resumed=False) if self._settings.greeting:
                await self._greet()
            case _:
                pass

    # --- events -----------------------------------------------------------------

    async def _answer(self, asked: Asked) -> None:
        is_given = asked.out_of_band or not _is_conversation(asked.items, self._call.items)
        wanted = ResponseWanted.of(asked, self._instructions(asked.instructions), in_place=is_given)
        turn = None
        if asked.clip is not None and asked.items:
            turn = CallerTurn(str(asked.items[-1].get("id") or ""), asked.clip.audio)
        try:
            await self._reply(wanted, asked.items if not is_given else self._call.items, turn)
        except (UpstreamLost, NoUpstream) as error:
            if asked.out_of_band:
                raise
            cannot_say = error if asked.wants_audio and not self._tools.speaks else None
            await self._last_resort.apologise(self._call, wants_audio=asked.wants_audio, voice_failed=cannot_say)

    async def _greet(self) -> None:
        said = self._instructions(self._call.session.instructions), GREETING + self._settings.greeting
        await self._reply(
            ResponseWanted("\n\n".join(filter(None, said)), self._call.session.wants_audio), self._call.items, None
        )

    async def _take_turn(self, heard: Heard) -> None:
        """What the upstream was sent of what the caller said is an item, also where nobody answers it now."""
        session = self.sessions.using
        if session is not None and session.appended.item_id == heard.item_id:
            with suppress(UpstreamLost):  # The next one gets it whole.
                await bring(session, self._tools.beside(self._call.items), CallerTurn(heard.item_id, b""))

    async def _truncate(self, interrupted: Interrupted) -> None:
        session = self.sessions.using
        if session is not None:
            with suppress(UpstreamLost):  # The next one is told only what was heard.
                await session.truncate(interrupted.text, interrupted.heard_ms)

    # --- replies ----------------------------------------------------------------

    async def _reply(self, wanted: ResponseWanted, items: Sequence[Item], turn: CallerTurn | None) -> None:
        """Have the upstream say something, and run the functions that it wants to be run."""
        self._is_replying = True
        self._tell_busy()
        wanted = replace(wanted, tools=self._tools.offered(wanted.tools))
        try:
            behind = str(items[-1].get("id") or "") if items else ""
            before, done = self._tools.beside(items), list[Item]()
            for number in range(1, MAX_ROUNDS + 1):
                said, calls = await self._round(number, wanted, [*before, *done], turn)
                mine = [one for one in calls if one["name"] in self._tools.by_name]
                for at, one in enumerate(calls):
                    if one not in mine:
                        await self._call.call_tool(f"call {number}.{at}", one["name"], one["arguments"])
                if not mine:
                    break
                done += [*([said_item(said)] if said.strip() else []), *await self._tools.run(number, mine, behind)]
                if len(mine) < len(calls):
                    break  # The client asks for the rest, once it has run its own.
                wanted = replace(wanted, tool_choice="auto")
            await self._tell_rate_limits()
        finally:
            self._is_replying = False
            self._tell_busy()

    async def _round(
        self, number: int, wanted: ResponseWanted, items: Sequence[Item], turn: CallerTurn | None
    ) -> tuple[str, list[dict[str, str]]]:
        """What the upstream says, and the functions that it wants to be run: which another pod does not ask again."""
        spoken_here: ReplyEnd | None = None
        async with self._call.speak("reply" if number == 1 else f"reply {number}") as speech:

            async def speak(key: str) -> list[dict[str, str]]:
                nonlocal spoken_here
                spoken_here = end = await self._speak(speech, wanted, items, turn)
                if end.incomplete is not None:
                    await note_incomplete(self._call, number, end.incomplete)
                return [{"id": one.call_id, "name": one.name, "arguments": one.arguments} for one in end.calls]

            calls: list[dict[str, str]] = await self._call.once(f"calls {number}", speak)
            if spoken_here is None:
                await note_incomplete(self._call, number, None)
            return "".join(piece.text for piece in speech.said), calls

    async def _speak(
        self, speech: Speech, wanted: ResponseWanted, items: Sequence[Item], turn: CallerTurn | None
    ) -> ReplyEnd:
        """Say what upstreams make of it. Raises what the last of them was lost with."""
        session, is_given = self._call.session, wanted.items is not None

        async def begin(said: str) -> UpstreamSession:
            upstream = await self.sessions.get()
            await upstream.use(self._session_settings())
            await bring(upstream, items if is_given or not said.strip() else [*items, said_item(said)], turn)
            return upstream

        said = await speech.forget_unsaid() if speech.said else ""
        queue = PieceQueue(session.output_format, is_written=not wanted.wants_audio)
        source = ReplySource(queue, wanted, said, begin, self.sessions.is_ending, self._dialer.failed)
        try:
            while True:
                match await source.next():
                    case Given(text, audio, is_partial):
                        await speech.audio(audio, session.output_format, text=text, is_partial=is_partial)
                    case Cut():
                        source.cut(await speech.forget_unsaid())
                    case ReplyEnd() as end:
                        if end.error is not None:
                            raise end.error
                        return end
        finally:
            source.stop()

    async def _tell_rate_limits(self) -> None:
        session = self.sessions.using
        if session is not None and session.rate_limits is not None and session.rate_limits != self._rate_limits:
            self._rate_limits = session.rate_limits
            await self._call.send({"type": "rate_limits.updated", "rate_limits": session.rate_limits})

    # --- sessions ---------------------------------------------------------------

    def _session_settings(self) -> UpstreamSettings:
        session, transcription = self._call.session, None
        if self._transcribes and self._settings.transcription:
            transcription = {"model": self._settings.transcription}
            if session.language:
                transcription["language"] = session.language
        voice = self._settings.upstream_voice or session.voice
        return UpstreamSettings(session.input_format, session.output_format, voice, session.speed, transcription)

    async def _prepare(self, session: UpstreamSession) -> None:
        session.on_transcribed = self._transcribed
        await bring(session, self._tools.beside(self._call.items))

    def _transcribed(self, item_id: str, text: str | None) -> None:
        if self._transcribes:
            text = text[:MAX_TRANSCRIPT_CHARS] if text is not None else None
            task = asyncio.create_task(self._call.transcribed(item_id, text))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _instructions(self, asked: str) -> str:
        return "\n\n".join(filter(None, (self._settings.instructions, asked)))

    def _tell_busy(self) -> None:
        if self._is_replying or self._audio.is_speaking:
            self.sessions.is_busy = True
        else:
            self.sessions.pause()


def _is_conversation(items: Sequence[Item], conversation: Sequence[Item]) -> bool:
    """Whether `items` are the conversation up to somewhere."""
    if not items:
        return True
    last = items[-1].get("id")
    return bool(last) and any(item.get("id") == last for item in reversed(conversation))


async def note_incomplete(call: Call, number: int, reason: IncompleteReason | None) -> None:
    """Have the response end as the upstream's did, in this round; None: if another pod that heard it has kept that."""

    async def keep(key: str) -> IncompleteReason | None:
        return reason

    kept = await call.once(f"incomplete {number}", keep)
    if kept is not None:
        call.end_incomplete(kept)
