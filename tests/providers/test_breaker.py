"""The circuit breaker, by its table."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from voice_agent.providers.breaker import MIN_FAILURES, OPEN, OUTCOMES, PROBE_S, WINDOW_S, BreakerState, CircuitBreaker


def tripped(at_s: float = 0.0) -> CircuitBreaker:
    """One that has just opened."""
    breaker = CircuitBreaker()
    for _ in range(MIN_FAILURES):
        breaker.failed(at_s)
    assert breaker.state(at_s) is BreakerState.OPEN
    return breaker


def test_it_opens_after_some_failures_in_a_window_and_not_before() -> None:
    """One short of it, and those that are too old, change nothing."""
    breaker = CircuitBreaker()
    for n in range(10):
        breaker.failed(n * WINDOW_S / (MIN_FAILURES - 1))
        assert breaker.admits(n * WINDOW_S)


def test_a_busy_provider_that_fails_now_and_then_stays_closed() -> None:
    """It is the share that counts."""
    breaker = CircuitBreaker()
    for n in range(300):
        if n % 3:
            breaker.succeeded(n / 100)
        else:
            breaker.failed(n / 100)
    assert breaker.state(3.0) is BreakerState.CLOSED


def test_one_probe_goes_to_the_front_when_it_has_waited_and_decides() -> None:
    """The others go elsewhere until it is known; one that is given up makes way for another."""
    breaker = tripped()
    assert not breaker.admits(OPEN.first_s - 0.1)
    at_s = OPEN.first_s
    assert breaker.admits(at_s)
    breaker.begin(at_s)
    assert not breaker.admits(at_s)
    breaker.abandoned()
    assert breaker.admits(at_s)
    breaker.begin(at_s)
    breaker.succeeded(at_s)
    assert breaker.state(at_s) is BreakerState.CLOSED
    breaker.failed(at_s)
    assert breaker.state(at_s) is BreakerState.CLOSED, "what was before it counts no more"


def test_a_probe_that_fails_doubles_the_wait_up_to_a_bound() -> None:
    """A provider that is down for an hour is asked once a minute."""
    breaker, at_s, waits = tripped(), 0.0, []
    for _ in range(6):
        wait_s = next(s for s in range(1000) if breaker.admits(at_s + s))
        waits.append(wait_s)
        at_s += wait_s
        breaker.begin(at_s)
        breaker.failed(at_s)
    assert waits == [5, 10, 20, 40, 60, 60]


def test_a_probe_that_never_tells_does_not_keep_it_half_open() -> None:
    """Nothing is lost for ever by a mistake elsewhere."""
    breaker = tripped()
    breaker.begin(OPEN.first_s)
    assert not breaker.admits(OPEN.first_s + PROBE_S - 1)
    assert breaker.admits(OPEN.first_s + PROBE_S)


def test_it_opens_at_once_for_as_long_as_the_provider_says() -> None:
    """After a 429 nothing else is let through there anyway; but no longer than a probe would take."""
    breaker = CircuitBreaker()
    breaker.failed(0.0, 2.0)
    assert not breaker.admits(1.9)
    assert breaker.admits(2.0)
    breaker.begin(2.0)
    breaker.failed(2.0, 3600.0)
    assert breaker.admits(2.0 + OPEN.longest_s)


def test_a_last_resort_that_succeeds_closes_it() -> None:
    """It was asked although it was open, and answered."""
    breaker = tripped()
    breaker.begin(1.0)
    breaker.succeeded(1.0)
    assert breaker.admits(1.0)


ACTS = st.lists(st.tuples(st.sampled_from(["begin", "succeeded", "failed", "abandoned"]), st.floats(0, 30)))


@given(ACTS)
def test_whatever_happens_it_admits_again_in_time(acts: list[tuple[str, float]]) -> None:
    """No order of outcomes keeps a provider from ever being asked again, or makes it grow."""
    breaker, at_s = CircuitBreaker(), 0.0
    for act, wait_s in acts:
        at_s += wait_s
        if act == "abandoned":
            breaker.abandoned()
        else:
            getattr(breaker, act)(at_s)
    assert breaker.admits(at_s + OPEN.longest_s + PROBE_S)
    assert len(breaker._outcomes) <= OUTCOMES
