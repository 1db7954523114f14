"""The floor: takes bytes from a socket and writes as many back, on uvloop. No WebSocket, JSON or base64 is looked at.

It answers the upgrade blindly, and makes each message's bytes into what a generator takes for a delta by a plain
replacement in the unmasked bytes, so it only works with a client whose mask is zero.
Run: ``python raw_tcp.py PORT``.
"""

from __future__ import annotations
