"""24 kHz to 8 kHz for the voice detector: every three samples become their mean."""

from __future__ import annotations

import audioop
from array import array

_THIRD = 1 / 3
MOST_QUIET = 126
"""The loudest sample whose thirds, three of them added up, fit one byte."""
_QUIET_THIRDS = bytes(((byte ^ 128) - 128) // 3 & 255 for byte in range(256))
"""The third of a number of one byte."""
_QUIET_SIGNS = bytes(128) + b"\xff" * 128
"""The other byte of it, as a number of two."""


def narrow(window: bytes) -> bytes:
    """PCM16 at 24 kHz, length divisible by 6 bytes, as PCM16 at 8 kHz; thirds are rounded down before they add up."""
    samples = array("h", window)
    first = audioop.mul(samples[::3], 2, _THIRD)
    second = audioop.mul(samples[1::3], 2, _THIRD)
    last = audioop.mul(samples[2::3], 2, _THIRD)
    return audioop.add(audioop.add(first, second, 2), last, 2)


def narrow_quiet(windows: bytes) -> bytes:
    """The same as `narrow`, in half the time where no sample is over `MOST_QUIET`: the lower bytes say all."""
    if audioop.max(windows, 2) > MOST_QUIET:
        return narrow(windows)
    thirds = windows[::2].translate(_QUIET_THIRDS)
    low = audioop.add(audioop.add(thirds[::3], thirds[1::3], 1), thirds[2::3], 1)
    narrowed = bytearray(2 * len(low))
    narrowed[::2] = low
    narrowed[1::2] = low.translate(_QUIET_SIGNS)
    return bytes(narrowed)
