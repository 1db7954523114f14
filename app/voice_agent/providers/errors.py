"""How a request to a provider fails."""

from __future__ import annotations

from enum import StrEnum


class FailureKind(StrEnum):
    """In what way."""

    UNREACHABLE = "unreachable"
    """No connection, or one that was closed before an answer began."""
    TIMEOUT = "timeout"
    """Too slow: no first byte, a pause within the answer, or all of it too long."""
    RATE_LIMITED = "rate_limited"
    """Status 429."""
    REFUSED = "refused"
    """Another status of 300 to 499: the same request is refused again."""
    FAILING = "failing"
    """A status of 500 or over."""
    CUT = "cut"
    """The answer ended early."""
    INVALID = "invalid"
    """The answer makes no sense, or is longer than it may be."""


_PASSING = frozenset(
    (FailureKind.UNREACHABLE, FailureKind.TIMEOUT, FailureKind.RATE_LIMITED, FailureKind.FAILING, FailureKind.CUT)
)
_OF_THE_REQUEST = frozenset((400, 413, 415, 422))
"""Statuses that say something of this one request, and nothing of the provider."""


class ProviderFailed(Exception):
    """A provider did not give what it was asked for. `str()` is one line and holds no secret."""

    def __init__(
        self,
        provider: str,
        kind: FailureKind,
        why: str,
        retry_after_s: float | None = None,
        *,
        status: int | None = None,
    ) -> None:
        """`provider`: its label. `why` ends a sentence. `status`: of its answer, if it was that which told."""
        super().__init__(provider, kind, why, retry_after_s)
        self.provider = provider
        self.kind = kind
        self.why = why
        self.retry_after_s = retry_after_s
        self.status = status

    def __str__(self) -> str:
        return f"The provider {self.provider!r} {self.why} ({self.kind})."

    @property
    def may_retry(self) -> bool:
        """Whether the same request to the same provider may succeed, a little later."""
        return self.kind in _PASSING

    @property
    def helps_elsewhere(self) -> bool:
        """Whether another provider should be asked: always, for limits, models and taste are each provider's own."""
        return True

    @property
    def is_of_the_request(self) -> bool:
        """Whether it says nothing of how the provider does: one caller's odd request must not keep others from it."""
        return self.status in _OF_THE_REQUEST
