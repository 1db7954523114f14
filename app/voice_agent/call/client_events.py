"""Which client events took effect, by the ids that the client gave them.

A client that resumes may send again what it does not know to have arrived: what took effect must not do so twice. The
newest `REMEMBERED_CLIENT_EVENTS` ids are kept, each in a field of the record.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

REMEMBERED_CLIENT_EVENTS = 256


@dataclass(slots=True)
class ClientEvents:
    """Ids of client events that took effect, and how far those go that come again."""

    seen: OrderedDict[str, tuple[int, int]] = field(default_factory=OrderedDict)
    """Oldest first, each with its number and the input position that its audio reaches (0: it has none)."""
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

    @property
    def saved_id(self) -> str | None:
        """Id of the last one that has been handed to a write; None if there is none."""
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
