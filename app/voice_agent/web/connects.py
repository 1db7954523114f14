"""Requests for a WebSocket that are refused before they are parsed: overload, and storms of connects, must cost little.

What is refused here would be refused later, too, or is refused for nothing that a parser would find.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from voice_agent.web.addresses import Address, CallerAddresses, ConnectRate
from voice_agent.web.parameters import NEW_CALL_PATHS, is_resume
from voice_agent.web.request_reader import RequestRefused

if TYPE_CHECKING:
    from voice_agent.errors import ConnectionRefused
    from voice_agent.web.ports import LeavingPod

_URL = re.compile(rb"[A-Z]+ ([^ ?\r\n]*)\??([^ \r\n]*)")
_NEW_CALLS = frozenset(path.encode() for path in NEW_CALL_PATHS)
_NAMES_CALL = re.compile(rb"(?:^|&)call_(?:id|key)=")


class ConnectRules:
    """By the state of the pod, and by how often an address connects."""

    def __init__(self, pod: LeavingPod, addresses: CallerAddresses, rate: ConnectRate) -> None:
        self.addresses = addresses
        self.rate = rate
        self._pod = pod

    def refusal(self, head: bytes, address: Address | None) -> ConnectionRefused | None:
        """What a request for a WebSocket is refused with, or None; each is to be asked for once, as it is counted.

        503 is for new calls only. A request that names a call by its id never starts one, and is not counted.
        """
        asked = _URL.match(head)
        if asked is None:
            return None
        path, query = asked.groups()
        if path in _NEW_CALLS and (refusal := self._pod.refusal_of_new_calls()) is not None:
            # However the names are written: what may be a resume is let through.
            return None if _NAMES_CALL.search(unquote_to_bytes(query)) else refusal
        if is_resume(path, query) or (retry_after_s := self.rate.take(address)) is None:
            return None
        said = f"This address may connect {self.rate.per_minute} times a minute."
        return RequestRefused(429, "too_many_connects", said, limit="connects_per_minute", retry_after_s=retry_after_s)
