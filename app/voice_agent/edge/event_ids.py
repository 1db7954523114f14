"""The ids that the edge gives to client events, so that each is one event however the client numbers its own.

``edge_<tag>_<number>`` with ``_<the client's id>`` behind it if there is one: what comes back from a pod, over this
edge or another one, tells by itself which event of the client is meant. `tag` is the connection's.
"""

from __future__ import annotations

import re

MAX_ID_CHARS = 512
"""As the server takes; a client's id that leaves no room for ours stays as it is."""
_OURS = re.compile(r"edge_([0-9a-f]{8})_([0-9]{1,15})(?:_(.*))?", re.DOTALL)


class EventIds:
    """One caller's connection's."""

    def __init__(self, tag: str) -> None:
        """`tag`: 8 hexadecimal digits, of no other connection of the call."""
        self._tag = tag
        self._newest = 0

    def next(self, client_id: str | None) -> tuple[int, str]:
        """The next number, and the id that stands for the client's. Numbers begin with 1."""
        self._newest += 1
        own = f"edge_{self._tag}_{self._newest}"
        if client_id is None:
            return self._newest, own
        named = f"{own}_{client_id}"
        return self._newest, named if len(named) <= MAX_ID_CHARS else client_id

    def number(self, event_id: str | None) -> int:
        """Of an id that this connection gave; 0 for any other."""
        found = _OURS.fullmatch(event_id) if event_id else None
        return int(found[2]) if found is not None and found[1] == self._tag else 0


def client_id(event_id: str | None) -> str | None:
    """The client's own id in one that some edge gave it; one that no edge gave is the client's."""
    found = _OURS.fullmatch(event_id) if event_id else None
    return event_id if found is None else found[3]
