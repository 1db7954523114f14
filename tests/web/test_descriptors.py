"""File descriptors: as many as allowed, and a word if those are too few."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from voice_agent.web.descriptors import RESERVED, raise_limit, shortage


@pytest.fixture
def low_limit() -> Iterator[int]:
    """This process with half of what it may have; all of it again afterwards."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1] // 2, before[1]))
    yield before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_limit_is_raised_as_far_as_allowed(low_limit: int) -> None:
    """Shells give 1024 where an administrator allows many times that."""
    assert raise_limit() == low_limit
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == low_limit


def test_too_few_for_the_calls_is_told_in_one_line() -> None:
    """With what to do about it."""
    assert shortage(1000 + RESERVED, 1000) is None
    told = shortage(1023, 1000)
    assert told is not None
    assert "1023 file descriptors" in told
    assert "VOICE_MAX_CALLS" in told
