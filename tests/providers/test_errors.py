"""How a failure is told."""

from __future__ import annotations

from voice_agent.providers.errors import FailureKind, ProviderFailed


def test_it_says_who_what_and_whether_to_go_on() -> None:
    """One line for a log."""
    error = ProviderFailed("openai", FailureKind.FAILING, "answered 503", 2.0, status=503)
    assert str(error) == "The provider 'openai' answered 503 (failing)."
    assert (error.may_retry, error.helps_elsewhere, error.is_of_the_request) == (True, True, False)
    refused = ProviderFailed("openai", FailureKind.REFUSED, "answered 400", status=400)
    assert (refused.may_retry, refused.helps_elsewhere, refused.is_of_the_request) == (False, True, True)
