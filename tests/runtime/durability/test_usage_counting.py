"""What requests to providers used is counted once it is durable, by the pod that owns the call."""

from __future__ import annotations

from collections.abc import Mapping

from tests.call.calls import new_call
from tests.runtime.rig import CountingObserver
from voice_agent.call.record import CallRecord
from voice_agent.call.usage import Settled, Sums, UsageLedger
from voice_agent.runtime.durability.usage_counting import UsageCounter


class UsageObserver(CountingObserver):
    """Notes what was told of usage."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, str, Settled]] = []

    def usage_settled(self, provider: str, model: str, settled: Settled) -> None:
        self.told.append((provider, model, settled))


def counter(observer: UsageObserver, stored: Sums | None = None) -> UsageCounter:
    """Of a call of which so much was counted by others."""
    call: CallRecord = new_call()
    call.usage = None if stored is None else UsageLedger(stored=stored)
    return UsageCounter(call, observer)


def used(known: int, unknown: int = 0, figures: Mapping[str, int] | None = None) -> Sums:
    """Sums of one model."""
    return {"openai/a/b": Settled(known, unknown, figures or {})}


def test_what_is_added_is_counted_once_it_is_durable() -> None:
    """The model's name may have a slash in it, the provider's has none."""
    observer = UsageObserver()
    its = counter(observer)
    its.taken(used(1, 0, {"input_tokens": 5}))
    assert observer.told == []
    its.stored()
    its.taken(None)
    its.stored()
    its.taken(used(2, 1, {"input_tokens": 8, "characters": 0}))
    its.stored()
    assert observer.told == [
        ("openai", "a/b", Settled(1, 0, {"input_tokens": 5})),
        ("openai", "a/b", Settled(1, 1, {"input_tokens": 3})),
    ]


def test_a_write_that_was_lost_is_counted_with_the_next() -> None:
    """Which is of the whole call, and carries all of it."""
    observer = UsageObserver()
    its = counter(observer)
    its.taken(used(1))
    its.taken(used(2))
    its.stored()
    assert observer.told == [("openai", "a/b", Settled(2, 0, {}))]


def test_what_earlier_owners_have_counted_is_not_counted_again() -> None:
    """A pod that takes a call over begins with what the store held."""
    observer = UsageObserver()
    its = counter(observer, used(3, 1, {"input_tokens": 30}))
    its.taken(used(3, 2, {"input_tokens": 30}))
    its.stored()
    assert observer.told == [("openai", "a/b", Settled(0, 1, {}))]
