"""What a webhook does is done once, whatever breaks: a few of the calls that ``python -m`` of `effects_once` tries."""

from __future__ import annotations

import pytest

from tests.agents.tools.effects_once import many


def test_whatever_byte_breaks_and_whenever_a_pod_dies_it_is_done_once() -> None:
    """And the caller hears what it came to, once."""
    found = many(60)
    assert found.wrong == []
    assert found.struck > 30
    assert found.requests > found.runs


def test_with_a_webhook_that_forgets_its_keys_the_same_calls_do_it_twice() -> None:
    """So it is the key that makes it once, and the trial notices."""
    found = many(60, honours_keys=False)
    assert any(count > 1 for count in found.effects)
    assert found.wrong


@pytest.mark.slow
def test_in_two_thousand_calls_it_is_done_once() -> None:
    """Most of them with a pod that is gone, all with other connections that break."""
    found = many(2_000, first_seed=1_000_000)
    assert found.wrong == []
