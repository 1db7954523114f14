"""One event in an agent's hands: what it has done so far under which keys."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import orjson

from voice_agent.call.agent_ledger import ActKind, ActStatus, AgentAct, AgentEvent, AgentLedger
from voice_agent.kit.call import KeyReused
from voice_agent.kit.speech import SpeechInterrupted
from voice_agent.runtime.engine.agent_state import AgentState
from voice_agent.runtime.engine.prepared_speech import PreparedSpeech

MAX_KEY_CHARS = 256
"""Of a key: stops one that is made of what a caller said from filling the record."""


class ActRefused(Exception):
    """The call could not do what its agent asked for."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return f"{self.key!r} was refused: the conversation or the event is full, or a response outside it is open."


class Handling:
    """From the moment in which the agent is given the event until it asks for the next."""

    def __init__(self, ledger: AgentLedger, stored: AgentEvent, state: dict[str, object]) -> None:
        self.stored = stored
        self.state = AgentState(orjson.loads(orjson.dumps(state)))
        self.speech: object | None = None
        """What is being said."""
        self.prepared: PreparedSpeech | None = None
        """What is to be said next in `speech`, as far as the agent has told."""
        self.incomplete_reason = ""
        """Why the event's response ends incomplete; "": it does not."""
        self._rest: asyncio.Task[None] | None = None
        """Says what was left of a sentence when the pod before was gone."""
        self._ledger = ledger
        self._packed = self.state.packed()
        self._known = frozenset(ledger.acts)
        """Keys of what another pod has begun."""
        self._asked: set[str] = set()
        self._own_keys: Counter[str] = Counter()
        self._interruption_is_due = stored.is_interrupted and all(
            act.status is not ActStatus.INTERRUPTED for act in ledger.acts.values()
        )
        """Its handler was interrupted on another pod while nothing was being said: the record cannot say where."""
        self._other_kinds = 0
        """Keys under which another pod has begun another kind of act."""

    @property
    def number(self) -> int:
        """The event's."""
        return self.stored.number

    def say_rest(self, saying: Coroutine[Any, Any, None]) -> None:
        """Have the rest of a sentence said meanwhile."""
        self._rest = asyncio.create_task(saying)

    async def rest_is_said(self) -> None:
        """Wait until it is. Raises what kept it from that; cancelled, it is dropped."""
        if self._rest is not None:
            rest, self._rest = self._rest, None
            await rest

    def drop_prepared(self) -> None:
        """What was prepared is not said."""
        if self.prepared is not None:
            self.prepared.drop()
            self.prepared = None

    def drop_unsaid(self) -> None:
        """Nothing that waits to be said is wanted any more."""
        self.drop_prepared()
        if self._rest is not None:
            self._rest.cancel()
            self._rest.add_done_callback(_without_error)
            self._rest = None

    def begin(self, key: str, kind: ActKind) -> tuple[str, AgentAct | None]:
        """An act under this key begins: the key that it is kept under, and what is durable of it, or None if it is new.

        What other code has begun under the same key, as an act of another kind, is another act.
        Raises `KeyReused`, `ActRefused` if it was refused before, and as `checked_text`; and `SpeechInterrupted`, once,
        with the first act that the pod before had not begun when its handler was interrupted.
        """
        checked_text(key, "A key", MAX_KEY_CHARS)
        if key in self._asked:
            raise KeyReused(key)
        act = self._ledger.acts.get(key)
        if act is None and self._interruption_is_due:
            self._interruption_is_due = False
            raise SpeechInterrupted
        self._asked.add(key)
        if act is not None and act.kind is not kind:
            self._other_kinds += 1
            key = f":{kind}:{key}"
            act = self._ledger.acts.get(key)
            self._asked.add(key)
        if act is not None and act.status is ActStatus.REFUSED:
            raise ActRefused(key)
        return key, act

    def act(self, key: str) -> AgentAct:
        """What became of an act. Raises `ActRefused`; `CancelledError` where the event is no longer handled here."""
        first, act = self._ledger.first, self._ledger.acts.get(key)
        if first is None or first.number != self.number:
            raise asyncio.CancelledError
        if act is None or act.status is ActStatus.REFUSED:
            raise ActRefused(key)
        return act

    def own_key(self, kind: str) -> str:
        """A key for an act that the author gives none: by its kind, and how many of that came before it."""
        self._own_keys[kind] += 1
        return f":{kind}:{self._own_keys[kind]}"

    def changed_state(self) -> dict[str, object] | None:
        """The state, if it is another than at the beginning. Raises as `AgentState.packed`."""
        packed = self.state.packed()
        if packed == self._packed:
            return None
        changed: dict[str, object] = orjson.loads(packed)
        if changed != self.state:
            raise TypeError("state does not survive JSON: something in it would come back as something else")
        return changed

    def diverged(self) -> int:
        """How many acts another pod has begun that were not asked for again, and how many are new beside them."""
        forgotten = self._known - self._asked
        return self._other_kinds + (len(forgotten) + len(self._asked - self._known) if forgotten else 0)


def checked_text(text: object, what: str, max_chars: int) -> str:
    """`text`, which goes into the record as it is. Raises `TypeError` for no text, `ValueError` for too long a one.

    Also for one that is no Unicode.
    """
    if not isinstance(text, str):
        raise TypeError(f"{what} is text, not {type(text).__name__}")
    if len(text) > max_chars:
        raise ValueError(f"{what} has at most {max_chars} characters, not {len(text)}")
    text.encode()
    return text


def _without_error(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()  # Nobody waits for it: what was wrong is of no consequence.
