"""A call, as an agent sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self

from voice_agent.call.audio import AudioFormat
from voice_agent.kit.clip import Clip
from voice_agent.kit.events import Event
from voice_agent.kit.hearing import Hearing
from voice_agent.kit.speech import Speech

Item = Mapping[str, Any]
"""An item of the conversation, as the protocol has it; of a spoken turn with its ``transcript``."""


class IdempotencyKey(str):
    """Under which something is done in the world: the same whenever it is done again, on whichever pod."""

    __slots__ = ("is_repeat",)

    is_repeat: bool
    """Another pod has begun it: it may have been done."""

    def __new__(cls, key: str, *, is_repeat: bool = False) -> Self:
        """`key` as it is."""
        made = super().__new__(cls, key)
        made.is_repeat = is_repeat
        return made


SideEffect = Callable[[IdempotencyKey], Awaitable[Any]]
"""Something done in the world under an idempotency key; gives what survives JSON."""

IncompleteReason = Literal["max_output_tokens", "content_filter"]
"""Why a model did not say all that it had to say."""


class KeyReused(Exception):
    """An agent used a key twice in one event."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return f"The key {self.key!r} was used twice in one event; each act of an event needs a key of its own."


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: as the first connection of the call said, and the same on every pod."""

    id: str
    """The call's id."""
    model: str
    number: str = ""
    """The telephone number, where there is one."""
    query: Mapping[str, str] = field(default_factory=dict)
    """Parameters of the URL, without keys and tokens."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case; without those that may hold secrets."""


@dataclass(frozen=True, slots=True)
class Session:
    """The settings of the session in force."""

    instructions: str
    tools: Sequence[Mapping[str, Any]]
    tool_choice: str | Mapping[str, Any]
    max_output_tokens: int | None
    """None for as long as the agent likes."""
    voice: str
    speed: float
    language: str
    """Of the caller, as ISO 639-1, where the client said it; else ""."""
    wants_audio: bool
    input_format: AudioFormat
    """Of the caller's audio."""
    output_format: AudioFormat
    """In which the caller is sent what is said."""


class Call(Protocol):
    """One call. Everything that an agent does here it does under a key: see `docs/agents.md`."""

    @property
    def caller(self) -> Caller:
        """Who calls."""

    @property
    def session(self) -> Session:
        """The settings in force now."""

    @property
    def items(self) -> Sequence[Item]:
        """The conversation up to the event that is being handled, oldest first; a snapshot."""

    @property
    def state(self) -> dict[str, Any]:
        """What the agent remembers of the call: kept with the acknowledgement of the event.

        What does not survive JSON is refused at once with `TypeError`, more than 64 KiB with `ValueError`.
        """

    def events(self) -> AsyncIterator[Event]:
        """What happens to the call, one at a time. Asking for the next acknowledges the one before it.

        Acknowledgement, `state` and the end of the event's acts are one write. Ends with the call.
        """

    def frames(self) -> AsyncIterator[Clip]:
        """The caller's audio as it comes, from now on, and never again; what is not read in time is dropped."""

    def hearing(self) -> AsyncIterator[Hearing]:
        """What is being heard while the caller speaks, from now on, and never again; nothing of it is durable.

        In the middle of an utterance it begins with that. What is not read in time is dropped, the oldest first. Ends
        with the run.
        """

    async def transcribed(self, item_id: str, text: str | None, *, certain: bool = True) -> None:
        """Say what the caller said in a spoken item, for an agent that understands its callers itself (`AgentEar`).

        The client is told as of an ear; None: it cannot be understood. `certain` False: it may be something else, and
        `Asked.uncertain` says so. The first one who understood an item stands, be
        it an ear. Needs no event, and returns once it is durable; of an item that is gone nothing is kept. Raises
        `ValueError` for an item that is no audio of the caller's, for text that is no Unicode, and for more than
        16 384 characters of it.
        """

    def speak(self, key: str = "reply", *, interruptible: bool = True) -> AbstractAsyncContextManager[Speech]:
        """Say something. Left without an error, all of it is durable, and its item complete.

        In an event for which no response is open one is opened, and is closed with the event.
        """

    def end_incomplete(self, reason: IncompleteReason) -> None:
        """Have the response of the event in hand, once it is acknowledged, end as ``incomplete`` for this reason.

        Durable with the acknowledgement; a handler that is begun again on another pod says it again. Of an event that
        has no response of its own it means nothing.
        """

    async def once(self, key: str, run: SideEffect) -> Any:
        """What `run` gives, which is asked at most once for each key whose result is known.

        The key is durable before `run` is called, its result before this returns. A pod that dies in between leaves
        the outcome unknown: the next one calls it again with the same idempotency key.
        """

    async def call_tool(self, key: str, name: str, arguments: str | Mapping[str, Any]) -> None:
        """Ask the client to run one of its functions; `ToolResult` tells what it gave."""

    async def at(self, name: str, when_ms: int) -> None:
        """Have `Timer(name)` come at a time: wall clock, milliseconds since 1970 UTC. The same name replaces it."""

    async def send(self, event: Mapping[str, Any]) -> None:
        """Send the client an event of the agent's own, numbered and replayed as any; its ``type`` is ``agent.…``.

        Or ``rate_limits.updated``, with ``rate_limits`` as the protocol has them.
        """

    async def transfer(self, target: str) -> None:
        """Once all that was said has been heard: tell the client to call `target`, and end the call."""

    async def hang_up(self, reason: str = "") -> None:
        """Once all that was said has been heard: end the call."""
