"""The ids that the edge gives to client events, so that each is one event however the client numbers its own.

``edge_<tag>_<number>`` with ``_<the client's id>`` behind it: what comes back from a pod, over this edge or another,
tells by itself which event of the client is meant. Behind that of a message to which the client gave none stands
``-<the client's id>`` of the newest that had one: if it is the last that took effect, so did that. `tag` is the
connection's.
"""

from __future__ import annotations

import re

MAX_ID_CHARS = 512
"""As the server takes; a client's id that leaves no room for ours stays as it is."""
_OURS = re.compile(r"edge_([0-9a-f]{8})_([0-9]{1,15})(?:([_-])(.*))?", re.DOTALL)


class EventIds:
    """One caller's connection's."""

    def __init__(self, tag: str) -> None:
        """`tag`: 8 hexadecimal digits, of no other connection of the call."""
        self._tag = tag
        self._newest = 0
        self.newest_client_id: str | None = None
        """The newest id that the client gave."""

    def next(self, client_id: str | None) -> tuple[int, str]:
        """The next number, and the id that stands for the client's. Numbers begin with 1."""
        self._newest += 1
        own = f"edge_{self._tag}_{self._newest}"
        if client_id is not None:
            self.newest_client_id = client_id
            named = f"{own}_{client_id}"
            return self._newest, named if len(named) <= MAX_ID_CHARS else client_id
        behind = own if self.newest_client_id is None else f"{own}-{self.newest_client_id}"
        return self._newest, behind if len(behind) <= MAX_ID_CHARS else own

    def number(self, event_id: str | None) -> int:
        """Of an id that this connection gave; 0 for any other."""
        found = _OURS.fullmatch(event_id) if event_id else None
        return int(found[2]) if found is not None and found[1] == self._tag else 0


def client_id(event_id: str | None) -> str | None:
    """The client's own id in one that some edge gave it; one that no edge gave is the client's."""
    found = _OURS.fullmatch(event_id) if event_id else None
    if found is None:
        return event_id
    return found[4] if found[3] == "_" else None


def newest_client_id(event_id: str | None) -> str | None:
    """The newest id of the client's own that had been given once this event took effect."""
    found = _OURS.fullmatch(event_id) if event_id else None
    return event_id if found is None else found[4]
