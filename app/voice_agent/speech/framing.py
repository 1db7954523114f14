"""How jobs and answers go between a server and its speech workers, apart from either's imports."""

from __future__ import annotations

import struct

HEADER = struct.Struct(">II")
"""In front of each message: bytes of its JSON head, bytes of its payload."""
