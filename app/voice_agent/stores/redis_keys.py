"""What is kept under which key (design, section 4.7).

Everything but calls begins with ``voice:``, so that another program's ``pods`` is not read here; a prefix of
the installation's own stands before all keys, so that two can share a server.
"""

from __future__ import annotations

import re


class Keys:
    """The keys of one installation; `prefix` has no braces, for those say which slot a key is in."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self.pods = f"{prefix}voice:pods"
        """Sorted set of pod names by the time of their last heartbeat, so that listing them needs no scan."""

        self.routing = f"{prefix}voice:routing"
        """What the router is set to."""

        self.records = re.sub(r"([*?\[\]\\])", r"\\\1", prefix) + "call:{*}"
        """A pattern, as SCAN takes it, of the records of all calls."""

    def of_call(self, call_id: str) -> list[str]:
        """The four keys of a call, all in one hash slot: record, items, outbox, speech."""
        slot = f"{self._prefix}call:{{{call_id}}}"
        return [slot, f"{slot}:items", f"{slot}:out", f"{slot}:in"]

    def call_key(self, key_hash: str) -> str:
        """Which call a call key stands for."""
        return f"{self._prefix}voice:callkey:{key_hash}"

    def pod(self, name: str) -> str:
        """A pod's heartbeat."""
        return f"{self._prefix}voice:pod:{name}"

    def color(self, name: str) -> str:
        """What an operator wants of a color."""
        return f"{self._prefix}voice:color:{name}"

    def agreed(self, name: str) -> str:
        """What all pods agreed on."""
        return f"{self._prefix}voice:agreed:{name}"

    def value(self, name: str) -> str:
        """A value that an operator's tool keeps."""
        return f"{self._prefix}voice:value:{name}"
