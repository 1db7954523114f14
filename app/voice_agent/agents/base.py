"""What an agent is: it hears a turn and streams a reply.

An agent holds no call state of its own. What it must remember from turn to turn
it gives back as `Plan.state`; that is stored with the call and comes with the next
`Turn`, on whichever pod answers it. So any agent can be resumed.

A reply that was cut off by a crash is asked for again with `Turn.progress` saying
what is durable of it. An agent whose `replays` is True yields the same parts again
from the start (its decision comes back as `progress.plan`), and the runtime drops
what the caller already has. An agent whose `replays` is False goes on after
`progress.text` itself.

What an agent does in the world, such as booking a table, it does through `Turn.once`:
its result is stored with the call, and a reply that goes on elsewhere gets the stored
result instead of a second table.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any, Protocol, runtime_checkable

from voice_agent.call.audio import AudioFormat
from voice_agent.kit.clip import Clip
from voice_agent.kit.ear import Ear


@dataclass(frozen=True, slots=True)
class Progress:
    """What of a reply is durable already: its plan, its text, and its audio in bytes of the output format."""

    plan: Mapping[str, Any] | None = None
    text: str = ""
    audio_bytes: int = 0
    functions_called: int = 0


SideEffect = Callable[[str], Awaitable[Any]]
"""Something done in the world under an idempotency key; gives what survives JSON."""


class RunOnce(Protocol):
    """Has a side effect at most once per reply, whatever dies meanwhile.

    The key is durable before `run` is called, its result before anything said after it
    is heard. A reply asked for again gets the results in the order in which they were
    begun. A pod that dies in the middle of one leaves its outcome unknown: the next owner
    calls it again with the same key, by which the other side must tell that it knows it.
    """

    async def __call__(self, name: str, run: SideEffect) -> Any:
        """The side effect's result; `name` is what it is called in the record."""


async def _unrecorded(name: str, run: SideEffect) -> Any:
    """For an agent that is asked outside a call."""
    return await run(token_hex(16))


@dataclass(frozen=True, slots=True)
class Turn:
    """All an agent may know when it replies."""

    call_id: str
    response_id: str
    instructions: str
    voice: str
    speed: float
    """How fast to speak: 1.0 is normal, 0.25 to 1.5."""
    wants_audio: bool
    """True: the reply is spoken, each sentence's `Text` right before its `Audio`. False: only `Text`."""
    tools: Sequence[Mapping[str, Any]]
    items: Sequence[Mapping[str, Any]]
    """The conversation so far, oldest first, as protocol items; spoken turns carry their ``transcript``
    (None when it was not understood)."""
    clip: Clip | None
    """What the caller said last, if it was spoken."""
    now_ms: int
    """Wall clock, milliseconds since 1970 UTC, at the start of the response; the same on a resume."""
    state: Mapping[str, Any]
    """The agent's own durable state, as its last `Plan` left it; empty at first."""
    tool_choice: str | Mapping[str, Any] = "auto"
    """``auto``, ``none``, ``required``, or ``{"type": "function", "name": …}``: the tool that must be called."""
    parallel_tool_calls: bool = True
    """Whether several tools may be called in one reply."""
    max_output_tokens: int | None = None
    """How long the reply may be, in the tokens of whatever model makes it; None for as long as it likes."""
    truncation: str | Mapping[str, Any] = "auto"
    """What to do with a conversation too long for the model: as `session.truncation` of the protocol."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the client noted on this response; at most 16 pairs."""
    failed_to: str = ""
    """The newest item that this agent was asked about and failed; what was said until then is not to be answered."""
    was_cut: bool = False
    """The caller was still speaking when the turn was ended, for it had grown too long: music on hold, a television."""
    progress: Progress = field(default_factory=Progress)
    once: RunOnce = _unrecorded


@dataclass(frozen=True, slots=True)
class Plan:
    """The agent's decision. Durable before anything of the reply is heard.

    Yield at most one, first. `plan` is handed back in `Turn.progress` after a crash;
    `state` replaces the agent's state. Both must survive JSON. An agent asked again
    with a plan must follow it and must not decide a second time.
    """

    plan: Mapping[str, Any]
    state: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Text:
    """The next piece of text, or of the transcript of what is spoken."""

    delta: str


@dataclass(frozen=True, slots=True)
class Audio:
    """The next piece of speech, of any length; the runtime cuts, converts and paces it.

    It says the `Text` that came since other audio. `words` tells where that text's words begin in it, as
    [milliseconds of this audio, characters of that text], both ascending: by that the server knows to the word what a
    caller heard of a reply that was cut short. Without it, letters are taken to pass at an even pace.
    """

    audio: bytes
    format: AudioFormat
    words: Sequence[Sequence[int]] = ()


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """Ask the client to run one of its tools; the reply ends here. `arguments` is JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the call once what was said so far has been heard."""


ResponsePart = Plan | Text | Audio | FunctionCall | HangUp


class TurnAgent(Protocol):
    """Something that answers calls; one instance serves all calls of a pod."""

    name: str
    lead_ms: int
    """How far ahead of real time its audio may be sent, in milliseconds."""
    replays: bool
    """Whether a reply asked for again yields the same parts from the start."""
    mirrors: bool
    """True only for `loopback`: appended frames come straight back and `reply` is never called."""

    async def open(self) -> None:
        """Load models, start workers. Called once before the first call.

        The server takes no calls before this returns. An agent that would keep it waiting
        begins here, lets its calls wait, and tells how it went in `GetsReady.ready`.
        """

    async def close(self) -> None:
        """Release what `open` acquired."""

    async def transcribe(self, clip: Clip) -> str | None:
        """What was said; None when the agent does not know, "" when there was no speech in it."""

    def reply(self, turn: Turn) -> AsyncIterator[ResponsePart]:
        """Stream a reply. Cancelled (closed) when the caller barges in."""


@runtime_checkable
class GetsReady(Protocol):
    """An agent that goes on with its preparations after `open`."""

    async def ready(self) -> None:
        """Wait until its calls need not wait any more. Raises what keeps it from that: the server then leaves."""


class TurnAgentEar(Ear):
    """What hears for an agent of turns: the agent itself."""

    def __init__(self, agent: TurnAgent) -> None:
        self.name = agent.name
        self._agent = agent

    async def transcribe(self, clip: Clip) -> str | None:
        """See `TurnAgent.transcribe`."""
        return await self._agent.transcribe(clip)
