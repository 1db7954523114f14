"""What became of a simulated call, and how two runs of one script compare."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import zip_longest
from typing import Any

from voice_agent.call.audio import PCM
from voice_agent.testing.agent_probe import AgentConduct
from voice_agent.testing.caller_hearing import HeardReply

WIDTH = 60
"""Of a column, where two are shown side by side."""


@dataclass(frozen=True, slots=True)
class SpokenReply:
    """A response, as far as the caller has heard it."""

    text: str
    """As the conversation has it: of one that was cut short, what was heard."""
    audio: bytes
    """PCM16 little-endian mono, 24 000 Hz, up to where the caller stopped listening."""
    status: str
    """As in ``response.done``; "" of one that was under way when the caller hung up."""
    in_conversation: bool
    functions: tuple[tuple[str, str], ...]
    """Names and arguments of the client's functions that it asked for."""

    @property
    def digest(self) -> str:
        """The audio's, short."""
        return blake2b(self.audio, digest_size=6).hexdigest() if self.audio else "no audio"

    def __str__(self) -> str:
        where = "" if self.in_conversation else " (out of band)"
        functions = "".join(f" {name}({arguments})" for name, arguments in self.functions)
        audio = f"{PCM.ms(len(self.audio))} ms {self.digest}" if self.audio else "no audio"
        if not self.status:  # How much of it came by then is no matter of the agent's.
            return f"reply{where} left [{audio}]"
        return f"reply{where} {self.status}: {self.text!r}{functions} [{audio}]"


@dataclass(slots=True, kw_only=True)
class CallTranscript:
    """Of one run."""

    replies: list[SpokenReply] = field(default_factory=list)
    """In the order in which they began."""
    items: list[str] = field(default_factory=list)
    """The conversation at its end, ``user: …``, ``assistant: …``, ``call: …``, ``result: …``."""
    event_types: list[str] = field(default_factory=list)
    """Of all events, in order; of neighbours that are alike one."""
    agent_events: list[dict[str, Any]] = field(default_factory=list)
    """Those that the agent sent, and ``call.transfer``; without their ids."""
    timers: list[str] = field(default_factory=list)
    """Names of those that came."""
    usage: dict[str, dict[str, int | None]] = field(default_factory=dict)
    """What was counted with `metered`, by ``provider/model``: ``requests``, how many of these are ``unknown``, and
    each unit, None where it is not known. No part of `lines`: after a crash a model is asked for what is missing."""
    side_effects: dict[str, int] = field(default_factory=dict)
    """By event and key, under how many idempotency keys it was done: more than one is twice."""
    ended: str = ""
    """``hangup``, ``agent``, ``transferred``, …; ``stuck`` if it went no further."""
    errors: list[str] = field(default_factory=list)
    """What the agent raised, each once."""
    faults: Counter[str] = field(default_factory=Counter)
    """Of what kinds pods counted faults of the agent; see `runtime.ports.Observer.agent_fault`."""
    conduct: AgentConduct = field(default_factory=AgentConduct)
    """How the agent behaved; of no two runs the same."""
    awaits: int = 0
    """At how many moments the pod could have died: see `simulate`."""

    @property
    def text(self) -> str:
        """All that was said to the caller."""
        return "".join(reply.text for reply in self.replies)

    @property
    def audio(self) -> bytes:
        """All that was heard."""
        return b"".join(reply.audio for reply in self.replies)

    def lines(self, *, with_audio: bool = True) -> list[str]:
        """What must be the same, whatever happens to pods, in words.

        Not the awaits, nor in what order events of different kinds came; nor, without `with_audio`, what a voice that
        is not deterministic made of the words.
        """
        replies = [str(reply) if with_audio else str(reply).rpartition(" [")[0] for reply in self.replies]
        effects = [f"side effect {name}, {keys} times" for name, keys in sorted(self.side_effects.items())]
        return [
            *replies,
            *(f"item {item}" for item in self.items),
            *(f"agent event {event}" for event in self.agent_events),
            *(f"timer {name}" for name in self.timers),
            *effects,
            *(f"error {error}" for error in self.errors),
            f"ended: {self.ended}",
        ]

    def __str__(self) -> str:
        return "\n".join(self.lines())


class Mismatch(AssertionError):
    """A run differs from the one in which nothing went wrong."""

    def __init__(self, what: str, expected: CallTranscript, got: CallTranscript, *, with_audio: bool = True) -> None:
        """`what`: what was done to the pod."""
        super().__init__(what, expected, got)
        self.what = what
        self.expected = expected
        self.got = got
        self._with_audio = with_audio

    def __str__(self) -> str:
        left, right = (one.lines(with_audio=self._with_audio) for one in (self.expected, self.got))
        rows = [("as it should be", self.what), ("-" * WIDTH, "-" * WIDTH)]
        rows += list(zip_longest(left, right, fillvalue=""))
        shown = [line for a, b in rows for line in _side_by_side(a, b)]
        return "\n".join([f"The call is another one, {self.what}:", *shown])


def _side_by_side(left: str, right: str) -> list[str]:
    mark = " " if left == right or left.startswith(("-", "as it")) else "!"
    columns = [[text[at : at + WIDTH] for at in range(0, max(1, len(text)), WIDTH)] for text in (left, right)]
    return [f"{mark} {a:<{WIDTH}} | {b}".rstrip() for a, b in zip_longest(*columns, fillvalue="")]


def replies_of(heard: list[HeardReply], texts: dict[str, str]) -> list[SpokenReply]:
    """What a caller heard; `texts`: of items, as the conversation has them at the end."""
    found = []
    for reply in heard:
        is_cut = reply.heard_ms is not None
        audio = bytes(reply.audio[: PCM.size(reply.heard_ms)] if reply.heard_ms is not None else reply.audio)
        text = texts.get(reply.item_id, reply.text) if is_cut else reply.text
        functions = tuple((call["name"], call["arguments"]) for call in reply.functions)
        found.append(SpokenReply(text, audio, reply.status, reply.in_conversation, functions))
    return found


def line_of(item: dict[str, Any]) -> str:
    """An item of the conversation in words."""
    if item["type"] == "function_call":
        return f"call: {item['name']}({item['arguments']})"
    if item["type"] == "function_call_output":
        return f"result: {item['output']}"
    said = " ".join(str(part.get("transcript") or part.get("text") or "") for part in item["content"])
    return f"{item['role']}: {said}"
