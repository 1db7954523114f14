"""Which key goes to which address of a list: one provider's is not sent to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr

from voice_agent.providers.endpoint import Endpoint, checked_key

E = TypeVar("E", bound=Endpoint)


def with_keys(endpoints: Sequence[E], given: SecretStr | None) -> tuple[E, ...]:
    """Those without a key of their own get theirs of `given`. Raises `ValueError`.

    One is for the host of the first; several, with commas, are for the endpoints in their order.
    """
    if given is None:
        return tuple(endpoints)
    try:
        keys = [checked_key(each) for each in given.get_secret_value().split(",")]
    except ValueError as error:
        raise ValueError(f"a key {error}") from None
    if len(keys) == 1 and endpoints:
        host = urlsplit(endpoints[0].url).netloc
        return tuple(each.with_key(keys[0]) if urlsplit(each.url).netloc == host else each for each in endpoints)
    if len(keys) != len(endpoints):
        raise ValueError(f"there are {len(keys)} keys for {len(endpoints)} addresses")
    return tuple(each.with_key(its) for each, its in zip(endpoints, keys, strict=True))
