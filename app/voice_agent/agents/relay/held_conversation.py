"""The conversation of an upstream, as far as it is known from here: what was sent, and what the upstream has said."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import orjson

from voice_agent.agents.relay.content import CALL, INAUDIBLE, MESSAGE, Content
from voice_agent.agents.relay.sync import HeldItem, SyncPlan, WantedItem, plan
from voice_agent.agents.relay.upstream_events import (
    AudioDelta,
    FunctionCalled,
    InvalidMessage,
    ItemBegun,
    TextDelta,
    UpstreamEvent,
)

MAX_REPLY_ITEMS = 128
"""Of one response: stops an upstream that begins items without end."""
MAX_REPLY_CHARS = 64 * 1024
"""Of one response: more than an hour of speech. Stops an upstream that sends text without end, and no audio."""
MAX_CALLED_BYTES = 48 * 1024
"""Of the functions that one response calls, as JSON: they are kept in the record, which takes 64 KiB of them."""
CALL_BYTES = 64
"""Of each of them, beside what the upstream says."""
MAX_ID_CHARS = 32
"""Of the ids that OpenAI takes."""


@dataclass(slots=True, eq=False)
class PendingCommit:
    """Audio that becomes an item."""

    event_id: str
    item: HeldItem
    is_known: asyncio.Event = field(default_factory=asyncio.Event)
    """Which item it is, or that there is none."""


class HeldConversation:
    """One session's."""

    def __init__(self) -> None:
        self.items: list[HeldItem] = []
        self.first_id = ""
        """Our id of the first item that the session was given."""
        self.commits: deque[PendingCommit] = deque()
        self._begun = self._chars = self._called_bytes = 0
        """Items of the response under way, characters in them, and bytes of functions called."""
        self._used_ids: set[str] = set()
        self._numbers = itertools.count(1)

    def has_audio(self, our_id: str) -> bool:
        """Whether it holds the audio of what the caller said in this item of ours."""
        return bool(our_id) and any(one.content.audio_of == our_id for one in self.items)

    def plan(self, wanted: Sequence[WantedItem]) -> SyncPlan:
        """How it is made to say what `wanted` says; `follow` it."""
        return plan(self.items, wanted, self._new_id)

    def follow(self, made: SyncPlan) -> None:
        """All of a plan was sent."""
        self.items = list(made.held)

    # --- what the caller said ---------------------------------------------------

    def commit(self, our_id: str, event_id: str) -> None:
        """The audio that was appended becomes an item, which is what the caller said in this one of ours."""
        content = Content(MESSAGE, INAUDIBLE, "user", audio_of=our_id)
        self.commits.append(PendingCommit(event_id, HeldItem("", content)))
        self.items.append(self.commits[-1].item)

    def committed(self, upstream_id: str) -> None:
        """The upstream says which item the oldest audio became."""
        if self.commits:
            commit = self.commits.popleft()
            commit.item.upstream_id = upstream_id
            commit.is_known.set()

    def refused(self, event_id: str) -> None:
        """Nothing became of audio that was committed with this event."""
        for commit in [one for one in self.commits if one.event_id == event_id]:
            self.commits.remove(commit)
            self.items.remove(commit.item)
            commit.is_known.set()

    def lose(self) -> None:
        """Nothing more comes: whoever waits need not."""
        for commit in self.commits:
            commit.is_known.set()

    def transcribed(self, upstream_id: str) -> str:
        """The upstream says what the caller said in an item, the first time: our id of it; ""."""
        item = self._newest(upstream_id)
        if item is None or item.is_transcribed:
            return ""
        item.is_transcribed = True
        return item.content.audio_of

    # --- what the upstream says -------------------------------------------------

    def begin_response(self) -> None:
        """What comes belongs to another response."""
        self._begun = self._chars = self._called_bytes = 0

    def take(self, event: UpstreamEvent, bytes_per_ms: int, *, is_kept: bool = True) -> None:
        """What it says in the conversation. Raises `InvalidMessage` for items, or text, without end.

        `is_kept` False: the response is outside of the conversation.
        """
        match event:
            case ItemBegun(item_id=item_id, kind=kind):
                self._begun += 1
                if self._begun > MAX_REPLY_ITEMS:
                    raise InvalidMessage(f"more than {MAX_REPLY_ITEMS} items of one response")
                if is_kept:
                    self.items.append(HeldItem(item_id, Content(kind, "", "assistant" if kind == MESSAGE else "")))
            case TextDelta(item_id=item_id, text=text):
                self._chars += len(text)
                if self._chars > MAX_REPLY_CHARS:
                    raise InvalidMessage(f"more than {MAX_REPLY_CHARS} characters of one response")
                with self._item(item_id) as item:
                    item.content = replace(item.content, text=item.content.text + text)
            case AudioDelta(item_id=item_id, audio=audio):
                with self._item(item_id) as item:
                    item.audio_ms += len(audio) // bytes_per_ms
            case FunctionCalled(item_id=item_id, call_id=call_id, name=name, arguments=arguments):
                self._called_bytes += CALL_BYTES + len(orjson.dumps((call_id, name, arguments)))
                if self._called_bytes > MAX_CALLED_BYTES:
                    raise InvalidMessage(f"calls of functions of more than {MAX_CALLED_BYTES} bytes")
                with self._item(item_id) as item:
                    item.content, item.call_id = Content(CALL, arguments, name=name), call_id
            case _:
                pass

    def said_last(self, text: str) -> HeldItem | None:
        """What it has said last as audio, if that begins with `text`."""
        said = next((one for one in reversed(self.items) if one.content.role == "assistant"), None)
        if said is None or not said.audio_ms or not said.content.text.strip().startswith(text.strip()):
            return None
        return said

    @contextmanager
    def _item(self, upstream_id: str) -> Iterator[HeldItem]:
        """The item of an id; of one that is not known, one that nobody sees."""
        yield self._newest(upstream_id) or HeldItem(upstream_id, Content(MESSAGE, ""))

    def _newest(self, upstream_id: str) -> HeldItem | None:
        return next((one for one in reversed(self.items) if one.upstream_id == upstream_id), None)

    def _new_id(self, our_id: str) -> str:
        """Ours, or one of an allowed length made of it; none that was used before."""
        found = our_id
        while not found or found in self._used_ids or len(found) > MAX_ID_CHARS:
            digest = blake2b(f"{our_id}\0{next(self._numbers)}".encode(), digest_size=12)
            found = f"item_{digest.hexdigest()}"
        self._used_ids.add(found)
        return found
