"""What a store is told when it is made."""

from __future__ import annotations

import pytest

from voice_agent.stores.factory import open_store
from voice_agent.stores.redis import RedisStore


@pytest.mark.parametrize("url", ["embedded://", "redis://h", "redis+sentinel://h:1/voice", "REDIS+CLUSTER://h:1"])
def test_a_store_puts_the_prefix_before_its_keys(url: str) -> None:
    """None, if nothing is said."""
    for options, pods in (({"key_prefix": "a:"}, "a:voice:pods"), ({}, "voice:pods")):
        store = open_store(url, ttl_s=10, **options)  # type: ignore[arg-type]
        assert isinstance(store, RedisStore)
        assert store.keys.pods == pods
