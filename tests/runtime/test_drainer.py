"""What a drain knows of a call."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

from app.runtime.drainer import _facts
from tests.call.calls import new_call


def facts(number: int) -> Any:
    """Of one of many calls."""
    call = new_call()
    call.call_id = f"call_{number:026d}"
    live: Any = SimpleNamespace(call=call)
    return _facts(live)


def test_calls_are_spread_over_all_of_the_time_there_is() -> None:
    """By their ids, so that the other color is not stampeded; the same call always at the same place."""
    spread = sorted(facts(number).spread for number in range(300))
    assert facts(7) == facts(7)
    assert spread[0] < 0.02
    assert spread[-1] > 0.98
    assert max(b - a for a, b in itertools.pairwise(spread)) < 0.05
