"""What may pass is tried again for a while, and whoever looks on is told once what is waited for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import repeat
from typing import TypeVar

from voice_agent.errors import StoreError, StoreFull, StoreUnavailable
from voice_agent.operate.context import Reporter
from voice_agent.operate.ports import CutoverError
from voice_agent.retry import retry
from voice_agent.runtime.ports import Clock

LOOK_S = 1.0
PATIENCE_S = 30.0
"""For a router or a source of numbers that does not do its part, and for pods that do not act yet."""
STORE_PATIENCE_S = 600.0
"""For a store that does not answer or is full: without it nothing can be undone either, and calls go on meanwhile."""
AWAY = (StoreUnavailable, StoreFull)
"""What of a store may pass; one that refuses does so for good."""
BEGIN_PATIENCE_S = 30.0
"""For the store before its record was read: a failover is outlasted, and a wrong address is told soon."""
NOT_KNOWN = "whether a cutover is under way is not known yet"

T = TypeVar("T")


class Unfinished(CutoverError):
    """A step did not come to its end in time, and neither is there a reason to undo what was done."""


class StoreAway(Unfinished):
    """The store was away for longer than is waited for; nothing was done meanwhile."""


async def retry_and_tell(
    run: Callable[[], Awaitable[T]],
    clock: Clock,
    reporter: Reporter,
    position: str,
    *,
    pause_s: float = LOOK_S,
    store_patience_s: float = STORE_PATIENCE_S,
) -> T:
    """Do it, and for a while again when trying again can help.

    Raises `StoreAway` with the `position` of the callers, or `CutoverError`.
    """
    began_s = clock.monotonic_s()
    told = ""

    def for_s(error: Exception) -> float:
        if isinstance(error, AWAY):
            return store_patience_s
        return PATIENCE_S if isinstance(error, CutoverError) and error.retryable else 0.0

    def tell(error: Exception) -> None:
        nonlocal told
        if str(error) != told:
            told = str(error)
            if isinstance(error, StoreError):
                reporter.said(waits_for_store(error, position, store_patience_s))
            else:
                reporter.said(f"{error}; trying again")

    try:
        return await retry(
            run, repeat(pause_s), for_s=for_s, now_s=clock.monotonic_s, sleep=clock.sleep, on_failure=tell
        )
    except AWAY as error:
        raise StoreAway(store_away(clock.monotonic_s() - began_s, position)) from error
    except StoreError as error:
        raise CutoverError(str(error)) from error


def waits_for_store(why: StoreError, position: str, patience_s: float = STORE_PATIENCE_S) -> str:
    """Said when it begins."""
    cut = "new calls" if isinstance(why, StoreFull) else "resumes on other pods"
    until = "it has room" if isinstance(why, StoreFull) else "it is back"
    return (
        f"waits up to {patience_s:g} s for the store, and does nothing meanwhile: {why}. "
        f"{_sentence(position)}; {cut} are refused until {until}. Mend the store; "
        "do not restart or drain pods"
    )


def store_away(seconds: float, position: str) -> str:
    """Said at the end."""
    return (
        f"the store has been away for {seconds:.0f} s. {_sentence(position)}. "
        "Nothing was undone: when the store is back, the same command goes on, and --rollback undoes it"
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
