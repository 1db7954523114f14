"""Which client events took effect, by the ids that the client gave them.

A client that resumes may send again what it does not know to have arrived: what took effect must not do so twice. The
newest `REMEMBERED_CLIENT_EVENTS` ids are kept, each in a field of the record.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field

REMEMBERED_CLIENT_EVENTS = 256
_PACKED = re.compile(rb"([0-9]{1,18})(?::([0-9]{1,18}))? (.*)", re.DOTALL)


def pack_seen(event_id: str, number: int, heard_to: int) -> bytes:
    """As a field of the record: the number, for an append the input position that it reaches, and the id."""
    if heard_to:
        return b"%d:%d %s" % (number, heard_to, event_id.encode())
    return b"%d %s" % (number, event_id.encode())


@dataclass(slots=True)
class ClientEvents:
    """Ids of client events that took effect, and how far those go that come again."""

    made: int = 0
    """Number of the newest."""
    resent_to: int | None = None
    """Number of the last that was known when it came again on this connection; None: none is taken for one that comes
    again any more. Never stored, for it is the connection's."""
    counts_bytes: bool = False
    """The client is told where in its audio an append was refused. Never stored, for it is the connection's."""
    last_id: str | None = None
    unsaved: list[tuple[str, int, int]] = field(default_factory=list)
    """Id, number, and the input position from which on it may be made durable."""
    _seen: OrderedDict[str, tuple[int, int]] = field(default_factory=OrderedDict)
    _packed: list[re.Match[bytes]] = field(default_factory=list)
    """What `_seen` is to be made of: a take-over does not wait for hundreds of them."""

    @classmethod
    def restored(cls, packed: Collection[bytes]) -> ClientEvents:
        """Those of a record, as `pack_seen` made them. Raises `ValueError` for what is none."""
        found = [match for value in packed if (match := _PACKED.fullmatch(value)) is not None]
        b"".join(packed).decode()  # No id will be found to be none when somebody asks for it.
        if len(found) < len(packed):
            raise ValueError("no client event")
        if not found:
            return cls()
        newest = max(found, key=_number)
        return cls(made=_number(newest), last_id=newest[3].decode(), _packed=found)

    @property
    def seen(self) -> OrderedDict[str, tuple[int, int]]:
        """Oldest first, each with its number and the input position that its audio reaches (0: it has none)."""
        if self._packed:
            found, self._packed = self._packed, []
            for match in sorted(found, key=_number):
                event_id = match[3].decode()
                self._seen[event_id] = (_number(match), int(match[2] or 0))
                self._seen.move_to_end(event_id)  # A client may have used it twice.
        return self._seen

    @property
    def saved_id(self) -> str | None:
        """Id of the last one that has been handed to a write; None if there is none."""
        if not self.unsaved:
            return self.last_id
        waiting = {event_id for event_id, _, _ in self.unsaved}
        return next((event_id for event_id in reversed(self.seen) if event_id not in waiting), None)

    def recognises(self, event_id: str) -> bool:
        """Whether a client event comes again that has taken effect before.

        That is only so on a connection resumed with `last_event_id`, and until the first that is not known or
        does not come in the order in which it came first: ids are the client's own affair, and may be few.
        """
        is_resent = self.is_resent(event_id)
        self.resent_to = self.seen[event_id][0] if is_resent else None
        return is_resent

    def is_resent(self, event_id: str) -> bool:
        """What `recognises` would say; nothing changes."""
        number = self.seen[event_id][0] if event_id in self.seen else 0
        return self.resent_to is not None and number > self.resent_to

    def remember(self, event_id: str, *, heard_to: int) -> None:
        """Note that a client event took effect.

        `heard_to` is the input position its audio reaches, 0 if it has none: the id becomes durable no
        sooner than that audio, else a re-sent append would be ignored after its audio was lost.
        """
        self.made += 1
        self.seen[event_id] = (self.made, heard_to)
        self.seen.move_to_end(event_id)
        self.last_id = event_id
        if len(self.seen) > REMEMBERED_CLIENT_EVENTS:
            self.seen.popitem(last=False)
        self.unsaved.append((event_id, self.made, heard_to))
        del self.unsaved[: -2 * REMEMBERED_CLIENT_EVENTS]

    def forget_beyond(self, heard_to: int) -> None:
        """Appends beyond an input position did not take effect after all: they may be sent again."""
        undone = [event_id for event_id, _, at in self.unsaved if at > heard_to]
        self.unsaved = [seen for seen in self.unsaved if seen[2] <= heard_to]
        for event_id in undone:
            self.seen.pop(event_id, None)
        if undone:
            self.last_id = next(reversed(self.seen), None)

    def restart_positions(self) -> None:
        """Positions begin at 0 again: whatever was heard so far lies before them."""
        self.seen.update({event_id: (number, 0) for event_id, (number, _) in self.seen.items()})
        self.unsaved = [(event_id, number, 0) for event_id, (number, _) in self.seen.items()]


def _number(packed: re.Match[bytes]) -> int:
    return int(packed[1])
