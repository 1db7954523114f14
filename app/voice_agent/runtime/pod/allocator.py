"""Memory that is free goes back to the operating system.

glibc maps a large block by itself and unmaps it when it is freed. But with each that is freed it takes more for small,
up to 32 MiB, and those come from a heap that shrinks only at its end: a pod that a few callers sent messages of 20 MB
would keep several times what it holds, for ever. Setting the bound ends that; other C libraries have no such rule.
"""

from __future__ import annotations

import ctypes

LARGE_BLOCK_BYTES = 256 * 1024
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def give_back_large_blocks() -> bool:
    """Have blocks of `LARGE_BLOCK_BYTES` and more unmapped when freed; False: this C library cannot be told."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    told = [mallopt(option, LARGE_BLOCK_BYTES) for option in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD)]
    return told == [1, 1]
