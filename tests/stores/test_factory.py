"""What a store is told when it is made."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from voice_agent.errors import SettingsError
from voice_agent.stores import factory
from voice_agent.stores.base import Store
from voice_agent.stores.factory import GROUP, open_store
from voice_agent.stores.memory import MemoryStore
from voice_agent.stores.redis import RedisStore


@pytest.mark.parametrize("url", ["embedded://", "redis://h", "redis+sentinel://h:1/voice", "REDIS+CLUSTER://h:1"])
def test_a_store_puts_the_prefix_before_its_keys(url: str) -> None:
    """None, if nothing is said."""
    for options, pods in (({"key_prefix": "a:"}, "a:voice:pods"), ({}, "voice:pods")):
        store = open_store(url, ttl_s=10, **options)  # type: ignore[arg-type]
        assert isinstance(store, RedisStore)
        assert store.keys.pods == pods


class Lacking(Store):
    """Half of a store."""

    def __init__(self, url: str, *, ttl_s: int) -> None:
        super().__init__(ttl_s=ttl_s)


class Odd(MemoryStore):
    """It has no prefix, as a store that does not say how."""

    use_prefix = Store.use_prefix


def offer(monkeypatch: pytest.MonkeyPatch, make: Callable[..., Any] | None) -> None:
    """A package of somebody else's is installed; None: its module cannot be imported."""
    entry = EntryPoint("mine", "my_store:make", GROUP)
    monkeypatch.setattr(factory, "entry_points", lambda group: [entry] if group == GROUP else [])
    if make is not None:
        monkeypatch.setattr(EntryPoint, "load", lambda self: make)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (None, r"the store mine:// of 'my_store:make' cannot be made: No module named 'my_store'"),
        (lambda url: url, "cannot be made: .*unexpected keyword argument 'ttl_s'"),
        (Lacking, "cannot be made: .*abstract class Lacking"),
        (lambda url, *, ttl_s: None, "'my_store:make' made NoneType, which is no Store"),
        (lambda url, *, ttl_s: Odd(ttl_s=ttl_s), "VOICE_KEY_PREFIX: a store of the kind 'memory' has no prefix"),
    ],
)
def test_a_store_of_ones_own_that_cannot_be_used_says_why(
    monkeypatch: pytest.MonkeyPatch, make: Callable[..., Any] | None, words: str
) -> None:
    """In one line instead of a traceback, and without the URL, which may hold a password."""
    offer(monkeypatch, make)
    with pytest.raises(SettingsError, match=words) as error:
        open_store("mine://user:hush@host", ttl_s=10, key_prefix="a:")
    assert "hush" not in str(error.value)


def test_what_is_wrong_with_its_url_a_store_says_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """As those that come along do."""

    def make(url: str, *, ttl_s: int) -> Store:
        raise SettingsError("VOICE_STORE_URL: no file")

    offer(monkeypatch, make)
    with pytest.raises(SettingsError, match="^VOICE_STORE_URL: no file$"):
        open_store("mine://", ttl_s=10)
