"""Which key goes where."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from voice_agent.providers.endpoint import Endpoint
from voice_agent.providers.keys import with_keys

URLS = ("https://one.example/v1", "http://two.example:8000/v1", "https://one.example/v2", "https://one.example:8443/v1")


def keys_of(given: str | None, *urls: str) -> list[str | None]:
    """As each endpoint sends it."""
    found = with_keys([Endpoint(url=url) for url in urls], SecretStr(given) if given is not None else None)
    return [each.key.get_secret_value() if each.key is not None else None for each in found]


def test_a_lone_key_goes_to_the_host_of_the_first_address_only() -> None:
    """A port is part of it."""
    assert keys_of(" a ", *URLS) == ["a", None, "a", None]
    assert keys_of(None, *URLS) == [None] * 4


def test_several_keys_go_to_the_addresses_in_their_order() -> None:
    """As many as there are."""
    assert keys_of("a, b,c,d", *URLS) == ["a", "b", "c", "d"]
    with pytest.raises(ValueError, match="2 keys for 4 addresses"):
        keys_of("a,b", *URLS)


def test_an_endpoint_with_a_key_keeps_it() -> None:
    """Whatever is set beside it."""
    [own] = with_keys([Endpoint(url=URLS[0], key=SecretStr("own"))], SecretStr("a"))
    assert own.key == SecretStr("own")


@pytest.mark.parametrize("given", ["", "a,,b", "a b"])
def test_what_is_no_key_is_refused(given: str) -> None:
    """Without being shown."""
    with pytest.raises(ValueError, match="^a key is empty, or holds a character that no key has$"):
        keys_of(given, *URLS[:3])
