"""A caller who knows what it should hear: says its lines, resumes as often as needed, and checks everything it gets.

What it sends, what it gets and how it comes back go through the real client's `CallPosition`. The rest is its own and
not `rehearse.caller`'s: its connections are the simulator's, it races against itself, and it forgives what a store has
forgotten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

import orjson
import pybase64

from tests.simulation.agent import KEY_TOLD, piece_audio, piece_text, pieces_in, runs
from tests.simulation.network import Connection
from tests.simulation.witness import Witness
from voice_agent.call.audio import PCM
from voice_agent.call.closing import MAY_RESUME, CloseCode
from voice_agent.client.position import CallPosition

HANDSHAKE_S = 5.0
LOSER_S = 30.0
"""Its pod may have been stopped, or cut off from the store, and has to find out."""
FRAME_MS = 100
MORE_REPLIES = frozenset({"call", "remind", "twice"})
"""What has two."""
ENDINGS = frozenset({"bye", "transfer"})
"""With what the agent ends the call."""
PRESSED_WITHIN_S = 1.5
"""Keys of a line are pressed while it is said and answered."""
SPOKEN = frozenset({"speak", "talk", "ulaw", "refused", "clear", "cut"})
"""What is said in audio; for those that only a plain caller says see `plain_caller`."""


class Refusal(Exception):
    """An HTTP status instead of an upgrade."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Phone(Protocol):
    """How a caller reaches the pods."""

    def pick(self) -> str:
        """A pod, as a load balancer would choose it."""

    async def connect(self, pod: str, query: dict[str, Any], *, is_chosen: bool) -> Connection:
        """Raises `Refusal`, or `ConnectionError` if nobody is there."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One thing to say.

    ``say``, ``effect`` or ``call`` with a number of pieces; ``speak`` with so many frames that the caller commits
    itself; ``talk`` with so many frames that voice activity detection has to find. ``remind``: another reply comes by
    itself later. ``aside``: out of band. ``twice``: so, while the first is being made. ``stop``: the reply is cancelled
    in the middle. ``two``: the reply is two speeches. ``bye``, ``transfer``: the agent ends the call.
    """

    command: str
    number: int
    barge: int = 0
    """So many frames are said into the reply, which voice activity detection has to find."""
    keys: str = ""
    """Keys of the telephone that are pressed meanwhile."""

    def __str__(self) -> str:
        barge = f" barged into by {self.barge} frames" if self.barge else ""
        return f"{self.command} {self.number}{barge}{f' and keys {self.keys}' if self.keys else ''}"


@dataclass(slots=True)
class Response:
    """A response as it arrives."""

    text: str = ""
    audio: bytearray = field(default_factory=bytearray)
    functions: list[dict[str, Any]] = field(default_factory=list)
    status: str = ""
    item_id: str = ""
    """Of the item that is spoken."""


class Caller:
    """`run` is the whole call."""

    def __init__(
        self,
        name: str,
        model: str,
        lines: tuple[Utterance, ...],
        phone: Phone,
        random: Random,
        witness: Witness,
        *,
        by_key: bool = False,
    ) -> None:
        self.name = name
        self.model = model
        self.outcome = ""
        """How it ended: ``done``, or ``forgotten`` by a store that lost what nobody else had."""
        self.connection: Connection | None = None
        self.waits_for = ""
        """What must come by itself."""
        self.was_ended = False
        """The agent has ended the call, as it was asked to."""
        self.said: list[str] = []
        """Ids and texts of its own items, in order."""
        self._lines = lines
        self._phone = phone
        self._random = random
        self._witness = witness
        self._position = CallPosition(PCM, name=f"{name}_")
        self.tally = self._position.tally
        self._acknowledges = Random(f"{name} acknowledges {lines}")
        """Apart from the rest of its chances, so that what it says and when does not hang on it."""
        self._by_key = by_key
        """It comes back with the secret it chose at first instead of the token it was given."""
        self._epoch = 0
        self._may_be_outdone = False
        self._losers: list[asyncio.Future[None]] = []
        self._replies: dict[str, Response] = {}
        self._items: list[str] = []
        self._committed = 0
        self._due = 0
        """So many replies it should have got."""
        self._appended = bytearray()
        self._utterances: list[list[int]] = []
        """Where the server heard speech begin and end, in ms of all that was appended."""
        self._changed: asyncio.Event = asyncio.Event()

    # --- the call -------------------------------------------------------------

    async def run(self) -> None:
        """Say every line, hear every answer, hang up."""
        await self._connect_first()
        reading = asyncio.get_running_loop().create_task(self._read())
        if not self._listened_to:
            self._send({"type": "session.update", "session": {"type": "realtime", "audio": _MANUAL}})
        for number, line in enumerate(self._lines, 1):
            await asyncio.sleep(self._random.uniform(0.0, 0.6))
            await self._say(line, number)
        self.waits_for = "a key of the telephone"
        await self._until(lambda: not self._witness.waits_for_key(self.call_id))
        self.waits_for = ""
        if not self._forgotten:
            self._check_items()
        self.outcome = "forgotten" if self._forgotten else "done"
        # It listens on: the connection that it took for the better one may be the one that is closed.
        await asyncio.gather(*self._losers)
        reading.cancel()
        self._leave()

    def _leave(self) -> None:
        if self.connection is not None:
            self.connection.leave(1000)

    @property
    def call_id(self) -> str:
        """Empty until it is known."""
        return self._position.call_id or ""

    @property
    def _listened_to(self) -> bool:
        return any(line.command == "talk" or line.barge for line in self._lines)

    @property
    def _forgotten(self) -> bool:
        return self._witness.known(self.call_id).forgotten

    async def _say(self, line: Utterance, number: int) -> None:
        asked = len(self._replies)
        for digit in line.keys:
            within_s = self._random.uniform(0.0, PRESSED_WITHIN_S)
            asyncio.get_running_loop().call_later(within_s, self._press, digit)
        speech = _speech(self.name, number, line.number)
        await self._ask(line, number, speech)
        if line.command == "stop":
            await self._stop(asked)
        if line.barge:
            await self._barge_in(line, number, asked)
            return
        self._due += 1 + (line.command in MORE_REPLIES)
        reply = await self._reply(asked)
        if reply is None:
            return
        if line.command == "talk":
            start_ms, end_ms = self._utterances[-1]
            speech = bytes(self._appended[PCM.size(start_ms) : PCM.size(end_ms)])
            if end_ms - start_ms < FRAME_MS * line.number:
                self._witness.broken(f"the caller's words: {end_ms - start_ms} ms were heard of {line}")
        self._check(line, reply, speech)
        await self._after(line, reply)
        if line.command not in MORE_REPLIES:
            return
        if line.command == "call":
            if len(reply.functions) != 1:
                self._witness.broken(f"tools run once: {self.name} was asked to run {len(reply.functions)} functions")
            output = {"type": "function_call_output", "call_id": reply.functions[0]["call_id"], "output": "found"}
            self._send({"type": "conversation.item.create", "item": output})
            self._send({"type": "response.create"})
        self.waits_for = {"remind": "a timer", "twice": "a response that waits"}.get(line.command, "")
        second = await self._reply(asked + 1)
        self.waits_for = ""
        if second is not None:
            self._check(Utterance("say", 1), second, b"")

    async def _ask(self, line: Utterance, number: int, speech: bytes) -> None:
        """Say a line, and ask for its reply."""
        if line.command == "speak":
            await self._append(speech)
            self._send({"type": "input_audio_buffer.commit"})
            self._send({"type": "response.create"})
        elif line.command == "talk":
            await self._append(bytes(PCM.size(400)) + speech + bytes(PCM.size(900)))
        elif line.command == "aside":
            self._ask_aside(line.number)
        else:
            content = [{"type": "input_text", "text": f"{line.command} {line.number}"}]
            item = {"type": "message", "role": "user", "id": f"said_{number}", "content": content}
            self._send({"type": "conversation.item.create", "item": item})
            self._send({"type": "response.create"})
            if line.command == "twice":
                self._ask_aside(1)

    def _ask_aside(self, pieces: int) -> None:
        content = [{"type": "input_text", "text": f"say {pieces}"}]
        question = {"type": "message", "role": "user", "content": content}
        self._send({"type": "response.create", "response": {"conversation": "none", "input": [question]}})

    async def _after(self, line: Utterance, reply: Response) -> None:
        """A line was answered, as it should be."""

    async def _append(self, audio: bytes) -> None:
        size = PCM.size(FRAME_MS)
        for at in range(0, len(audio), size):
            await asyncio.sleep(FRAME_MS / 1000)
            self._appended += audio[at : at + size]
            self._position.append_audio(audio[at : at + size])
            self._flush()

    async def _reply(self, number: int) -> Response | None:
        """The n-th response once it is done; None if the call was forgotten meanwhile."""
        await self._until(lambda: any(r.status for r in list(self._replies.values())[number : number + 1]))
        return None if self._forgotten or self.was_ended else list(self._replies.values())[number]

    async def _stop(self, number: int) -> None:
        """Cancel the n-th response once something of it was heard."""
        await self._until(lambda: any(r.audio or r.status for r in list(self._replies.values())[number : number + 1]))
        if not self._forgotten:
            self._send({"type": "response.cancel"})

    async def _barge_in(self, line: Utterance, number: int, asked: int) -> None:
        """Speak into a reply once something of it was heard: it is cut short, unless it was over; and be answered."""
        await self._until(lambda: any(r.audio or r.status for r in list(self._replies.values())[asked : asked + 1]))
        if self._forgotten or self.was_ended:
            return
        speech = _speech(f"{self.name} barges in", number, line.barge)
        await self._append(bytes(PCM.size(100)) + speech + bytes(PCM.size(900)))
        self.waits_for = "an answer to what was said into a reply"
        await self._until(lambda: self._is_answered(line, asked))
        self.waits_for = ""
        if self._is_answered(line, asked) and not self._forgotten:
            first, *others = list(self._replies.values())[asked:]
            self._due += 1 + len(others)
            self._check(Utterance("stop", _whole(line)), first, b"")
            for reply in others:
                self._check_said(line, reply)

    def _is_answered(self, line: Utterance, asked: int) -> bool:
        """Whether the reply to a line is over, and what was said into it is answered; and what comes by itself came.

        That may be said in the reply to the former, or have been cut short in the place of the reply to the line.
        """
        replies = list(self._replies.values())[asked:]
        if len(replies) < 2 or not all(reply.status for reply in replies):
            return False
        completed = [reply for reply in replies[1:] if reply.status == "completed"]
        whole = [said for reply in completed for said in runs(pieces_in(reply.text))]
        comes = [1] if line.command == "remind" and len(completed) == len(replies) - 1 else []
        return sorted(map(len, whole)) == sorted([line.barge, *comes])

    def _check_said(self, line: Utterance, reply: Response) -> None:
        """What is heard of a reply is what is said in it."""
        said = pieces_in(reply.text)
        audio = b"".join(piece_audio(*piece) for piece in said)
        if reply.status != "completed":
            audio = audio[: len(reply.audio)]
        if reply.text != "".join(piece_text(*piece) for piece in said) or bytes(reply.audio) != audio:
            self._witness.broken(
                f"a reply goes on: {self.name} heard {len(reply.audio)} bytes of {reply.text!r} amid {line}"
            )

    def _press(self, digit: str) -> None:
        if self.connection is not None:
            self.connection.press(digit)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition() and not self._forgotten and not self.was_ended:
            self._changed.clear()
            await self._changed.wait()

    # --- what it should hear ---------------------------------------------------

    def _check(self, line: Utterance, reply: Response, speech: bytes) -> None:
        if reply.status != "completed" and (line.command, reply.status) != ("stop", "cancelled"):
            self._witness.broken(f"{self.name}: {line} got a reply that is {reply.status}")
        if self.model == "echo":
            is_spoken = line.command in SPOKEN
            text, audio = ("", speech) if is_spoken else (f"{line.command} {line.number}", b"")
        else:
            # A word that is another one from some piece on is what `varies` was asked again for.
            said = pieces_in(reply.text)
            words = [word for word, _ in said] if self.model == "varies" else [word for word, _ in said[:1]] * len(said)
            pieces = list(enumerate(words[: _whole(line)]))
            text = "".join(piece_text(word, piece) for piece, word in pieces)
            audio = b"".join(piece_audio(word, piece) for piece, word in pieces)
            if line.command == "stop" and reply.status == "cancelled":
                audio = audio[: len(reply.audio)]
            elif len(pieces) != _whole(line):
                self._witness.broken(f"a reply goes on: {self.name} heard {reply.text!r} for {line}")
        if reply.text != text:
            self._witness.broken(f"a reply goes on: {self.name} heard {reply.text!r} for {text!r} ({line})")
        if bytes(reply.audio) != audio:
            self._witness.broken(
                f"a reply goes on: {self.name} heard {len(reply.audio)} bytes for {len(audio)}, "
                f"other from byte {_differ(bytes(reply.audio), audio)} ({line})"
            )

    def _check_items(self) -> None:
        if self.was_ended:
            return  # Its last events may have been on the way to a connection that was gone.
        unseen = SPOKEN | {"aside"}
        expected = [f"said_{number}" for number, line in enumerate(self._lines, 1) if line.command not in unseen]
        got = [item for item in self._items if item.startswith("said_")]
        if got != expected:
            self._witness.broken(f"what the caller sent: the conversation has {got} instead of {expected}")
        spoken = sum((line.command in SPOKEN) + bool(line.barge) for line in self._lines)
        if self._committed != spoken:
            self._witness.broken(f"what the caller sent: {self._committed} spoken turns instead of {spoken}")
        if self.tally.gaps or self.tally.repeats or self.tally.forgotten:
            self._witness.broken(f"exactly once: {self.name} got {self.tally}")
        if len(self._replies) != self._due:
            self._witness.broken(f"what the caller sent: {len(self._replies)} replies to {self._due} questions")

    # --- sending ------------------------------------------------------------------

    def _send(self, event: dict[str, Any]) -> None:
        self._position.add(event)
        self._flush()

    def _flush(self) -> None:
        if self.connection is None:
            return
        while (text := self._position.next_message()) is not None:
            self.connection.tell(text)

    # --- connections ----------------------------------------------------------------

    async def _connect_first(self) -> None:
        while True:
            try:
                first: dict[str, Any] = {"model": self.model, "received": True}
                self.connection, _ = await self._connect(first | {"key": self.name} if self._by_key else first)
                self._position.go_on()
                return
            except (Refusal, ConnectionError, TimeoutError):
                await asyncio.sleep(self._random.uniform(0.05, 0.5))

    async def _connect(self, query: dict[str, Any], *, is_chosen: bool = True) -> tuple[Connection, dict[str, Any]]:
        pod = self._phone.pick()
        connection: Connection | None = None
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                connection = await self._phone.connect(pod, query, is_chosen=is_chosen)
                first = await connection.down.get()
                if isinstance(first, int):
                    raise ConnectionError(f"closed with {first} before the greeting")
        except BaseException:
            if connection is not None:
                connection.leave(1006)
            raise
        return connection, self._greeted(orjson.loads(first), connection)

    def _greeted(self, greeting: dict[str, Any], connection: Connection) -> dict[str, Any]:
        info: dict[str, Any] = greeting["session"]["call"]
        if self.call_id and info["id"] != self.call_id:
            if self._may_be_ended:
                self._end()  # Its key is free again.
                raise ConnectionError("it has ended")
            self._witness.taken_from_store(self.call_id)
            if not self._forgotten:
                self._witness.broken(f"a call outlives its pod: {self.name} came back to another call")
            raise ConnectionError("another call")
        self._position.greeted(greeting)
        connection.call_id = self.call_id
        if self._by_key:
            self._witness.keys[self.name] = self.call_id
        self._witness.note(
            f"{self.name}: {self.call_id[5:9]} on {connection.pod}, epoch {info['epoch']}, "
            f"from {greeting['event_id']}, gap {info['gap']}, "
            f"audio {info['input_audio_ms']} ms, last {info['last_client_event_id']}"
        )
        self._epoch = max(self._epoch, info["epoch"])
        self._witness.greeted(self.call_id, info["input_audio_ms"])
        if self.tally.forgotten and not self._forgotten:
            self._witness.broken(f"exactly once: {self.name} is told of the gap {info['gap']} though nothing was lost")
        return info

    async def _read(self) -> None:
        while True:
            assert self.connection is not None
            message = await self.connection.down.get()
            if not isinstance(message, int):
                self._hear(orjson.loads(message))
            elif self._may_be_ended and message == CloseCode.NORMAL_CLOSURE:
                self._end()
                return
            elif not (self._forgotten or message in MAY_RESUME - {1011} or (message == 4409 and self._may_be_outdone)):
                self._witness.broken(f"a call outlives its pod: {self.name} was closed with {message}")
            else:
                self.connection = None
                await self._come_back()

    async def _come_back(self) -> None:
        while self.connection is None and not self._forgotten and not self.was_ended:
            await asyncio.sleep(self._random.choice((0.0, 0.01, 0.1, 0.5)) * self._random.random())
            query: dict[str, Any] = {"last_event": self._position.last_event_id, "received": True}
            if self._by_key:
                query |= {"model": self.model, "key": self.name}
            else:
                query |= {"call_id": self.call_id, "token": self._position.info["resume_token"]}
            try:
                connection, info = await (self._race(query) if self._random.random() < 0.1 else self._connect(query))
            except Refusal as refusal:
                if self._may_be_ended and refusal.status == 410:
                    self._end()
                    return
                if refusal.status == 404:
                    self._witness.not_found(self.call_id)
                if refusal.status != 503 and not self._forgotten:
                    self._witness.broken(f"a call outlives its pod: {self.name} was refused with {refusal.status}")
            except (ConnectionError, TimeoutError):
                continue
            else:
                self._witness.counts["resumes"] += 1
                self._position.info = info  # Of two greetings the one that counts.
                self._position.go_on()
                self.connection = connection
                self._flush()
        self._changed.set()

    @property
    def _may_be_ended(self) -> bool:
        return self._lines[-1].command in ENDINGS

    def _end(self) -> None:
        self.was_ended = True
        self._changed.set()

    async def _race(self, query: dict[str, Any]) -> tuple[Connection, dict[str, Any]]:
        """Come back twice at once: one connection goes on, the other is closed."""
        owned_under = self._epoch
        tries = [asyncio.ensure_future(self._connect(query, is_chosen=False)) for _ in range(2)]
        await asyncio.wait(tries)
        got = [one.result() for one in tries if one.exception() is None]
        # A try without an answer may yet take the call from the other; so may the claim of a pod that had none from the
        # store and went on from memory, which shows in an epoch that is none of a claim.
        self._may_be_outdone = len(got) < len(tries) or any(info["epoch"] <= owned_under for _, info in got)
        if not got:
            raise tries[0].exception() or ConnectionError("neither got through")
        got.sort(key=lambda one: one[1]["epoch"])
        if len({info["epoch"] for _, info in got}) < len(got):
            self._may_be_outdone = True  # Both from the memory of one pod: which was later, only that pod knows.
        for loser, _ in got[:-1]:
            self._losers.append(asyncio.ensure_future(self._closed_elsewhere(loser, may_stay=self._may_be_outdone)))
        got[-1][0].is_chosen = True
        return got[-1]

    async def _closed_elsewhere(self, loser: Connection, *, may_stay: bool) -> None:
        """A connection that lost a race is closed, unless the store forgot who won and the winner died.

        `may_stay`: of the two it may be the one that has the call; then the other is closed.
        """
        loser.caller_left = True
        try:
            async with asyncio.timeout(LOSER_S):
                while not isinstance(message := await loser.down.get(), int):
                    pass
        except TimeoutError:
            loser.broke()
            if not (may_stay or self._witness.known(self.call_id).was_lost):
                self._witness.broken("one owner: the connection that lost a race stays open")
            return
        if message not in (4409, 1006, 1012):
            self._witness.broken(f"one owner: the connection that lost a race was closed with {message}")

    def cut(self, after_s: float) -> None:
        """The connection breaks."""
        if self.connection is not None:
            self.connection.broke(after_s)

    def move(self) -> None:
        """Take up the call on a new connection while the old one still stands, as a phone changing networks does."""
        if self.connection is not None and self.call_id:
            self.connection.caller_left = True
            self.connection.down.put(1006)  # It stops listening there, and the pod does not know.

    def _hear(self, event: dict[str, Any]) -> None:
        if not self._position.is_new(event):
            if event["type"] == "call.received":
                return
            self._witness.broken(f"exactly once: {self.name} got {event['event_id']} again")
        self._note_heard(int(event["event_id"].removeprefix("evt_")))
        if self.tally.gaps and not self._forgotten:
            self._witness.broken(f"exactly once: {self.name} missed events before {event['event_id']}")
        if self.connection is not None:
            if self._acknowledges.random() < 0.5:
                self._position.acknowledge()
            self._flush()
        match event["type"]:
            case kind if kind == KEY_TOLD:
                self._witness.key_heard(self.call_id, event["number"], event["at_ms"])
            case "error":
                self._refused(event)
            case "conversation.item.added":
                self._items.append(event["item"]["id"])
            case "input_audio_buffer.speech_started":
                self._utterances.append([event["audio_start_ms"], 0])
            case "input_audio_buffer.speech_stopped":
                self._utterances[-1][1] = event["audio_end_ms"]
            case "input_audio_buffer.committed":
                self._committed += 1
            case "response.created":
                self._replies[event["response"]["id"]] = Response()
            case "response.output_audio.delta":
                self._replies[event["response_id"]].item_id = event["item_id"]
                self._replies[event["response_id"]].audio += pybase64.b64decode(event["delta"])
            case "response.output_audio_transcript.delta" | "response.output_text.delta":
                self._replies[event["response_id"]].text += event["delta"]
            case "response.function_call_arguments.done":
                self._replies[event["response_id"]].functions.append(event)
            case "response.done":
                self._replies[event["response"]["id"]].status = event["response"]["status"]
        self._changed.set()

    def _note_heard(self, number: int) -> None:
        self._witness.heard(self.call_id, number)

    def _refused(self, event: dict[str, Any]) -> None:
        stops = any(line.command == "stop" for line in self._lines)
        if stops and event["error"]["code"] == "response_cancel_not_active":
            return  # It was over when that arrived.
        if not self._forgotten:
            self._witness.broken(f"{self.name} got {event['error']}")


_MANUAL = {"input": {"turn_detection": None}}


def _speech(name: str, number: int, frames: int) -> bytes:
    """What a caller says in a line: no two are alike, nor any two frames of one."""
    return b"".join(piece_audio(f"{name}/{number}", frame) for frame in range(frames))


def _whole(line: Utterance) -> int:
    """Of how many pieces the reply is."""
    return line.number + (line.command == "two")


def _differ(a: bytes, b: bytes) -> int:
    return next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
