"""How a provider does, and what the log says of it."""

from __future__ import annotations

from structlog.testing import capture_logs

from voice_agent.providers.breaker import MIN_FAILURES, OPEN, BreakerState
from voice_agent.providers.errors import FailureKind, ProviderFailed
from voice_agent.providers.health import ProviderHealth


def test_a_change_is_one_line_and_a_probe_none() -> None:
    """Ten failures, a probe that fails and one that succeeds: two lines."""
    now_s = 0.0
    health = ProviderHealth("openai", "gpt", lambda: now_s)
    error = ProviderFailed("openai", FailureKind.FAILING, "answered 503")
    with capture_logs() as lines:
        for _ in range(10):
            health.failed(error)
        now_s = OPEN.first_s
        assert health.state is BreakerState.HALF_OPEN
        health.begin()
        health.failed(error)
        now_s += OPEN.longest_s
        health.begin()
        health.succeeded()
        health.succeeded()
    assert [line["event"] for line in lines] == ["a provider fails, and is asked last", "a provider answers again"]
    assert (lines[0]["provider"], lines[0]["model"], lines[0]["kind"]) == ("openai", "gpt", "failing")
    assert (health.failures[FailureKind.FAILING], health.answers) == (11, 2)


def test_a_request_that_is_itself_wrong_opens_nothing() -> None:
    """One caller's odd words keep no other from the provider."""
    health = ProviderHealth("openai", "gpt", lambda: 0.0)
    for _ in range(MIN_FAILURES):
        health.failed(ProviderFailed("openai", FailureKind.REFUSED, "answered 400", status=400))
    assert health.admits
