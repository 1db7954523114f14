"""How jobs and answers go between a server and its speech workers, apart from either's imports."""

from __future__ import annotations

import struct

HEADER = struct.Struct(">II")
"""In front of each message: bytes of its JSON head, bytes of its payload."""
DROP = "drop"
"""What is to be done with the job before: its answer is not wanted. Not answered itself."""
