"""Python's collector of garbage looks at young objects seven hundred at a time: here at more, and less often.

It is for cycles; nearly all that a call leaves behind is freed without it. But what a call consists of is a thousand
objects, so that the collector looks at those of a call that is taken up several times over while others wait, a sixth
of what a resume costs.
"""

from __future__ import annotations

import gc

THRESHOLDS = (5_000, 10, 5)
"""So many more objects than were freed until the young are looked at; so many times until the older are as well, and
the oldest (`gc.set_threshold`). That is after a quarter of a million: what is in cycles waits for no more than some
hundred calls."""


def settle() -> None:
    """To be called once a process has what it keeps for good: that is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
