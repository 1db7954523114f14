"""From a URL to a store; third parties add schemes through the entry-point group `voice_agent.stores`."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

from voice_agent.errors import SettingsError
from voice_agent.stores.base import Store

GROUP = "voice_agent.stores"
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")

MakeStore = Callable[..., Store]


def open_store(url: str, *, ttl_s: int, retention_s: int | None = None, key_prefix: str = "") -> Store:
    """The store for a URL, not opened yet.

    Raises `SettingsError` for an unknown scheme, a bad URL, an entry point that makes no store, and a prefix where the
    store has none.

    `retention_s`: see `Store.retention_s`; `key_prefix`: see `Store.use_prefix`.
    A third party's entry point is called as ``make(url, ttl_s=…)`` and returns a `Store`.
    """
    scheme = url.partition("://")[0].lower()
    if "://" not in url or not SCHEME.fullmatch(scheme):
        # Not shown: what is no URL may yet hold a password.
        raise SettingsError("VOICE_STORE_URL: this is no URL; try embedded:// or redis://localhost:6379/0")
    make = _built_in(scheme)
    if make is None:
        added = {entry.name: entry for entry in entry_points(group=GROUP)}
        if scheme not in added:
            known = ", ".join(f"{name}://" for name in sorted({*BUILT_IN, *added}))
            raise SettingsError(f"VOICE_STORE_URL: unknown store {scheme}://; known are {known}")
        store = _made(added[scheme], url, ttl_s)
    else:
        store = make(url, ttl_s=ttl_s)
    store.retention_s = retention_s
    store.use_prefix(key_prefix)
    return store


def _made(entry: EntryPoint, url: str, ttl_s: int) -> Store:
    try:
        store = entry.load()(url, ttl_s=ttl_s)
    except SettingsError:
        raise
    except Exception as error:
        raise SettingsError(
            f"VOICE_STORE_URL: the store {entry.name}:// of {entry.value!r} cannot be made: {error}"
        ) from error
    if not isinstance(store, Store):
        raise SettingsError(f"VOICE_STORE_URL: {entry.value!r} made {type(store).__name__}, which is no Store")
    return store


ONE_MASTER = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
CLUSTER = ("redis+cluster", "rediss+cluster")
BUILT_IN = ("memory", "embedded", *ONE_MASTER, *CLUSTER)


def _built_in(scheme: str) -> MakeStore | None:
    # Imported only when chosen: a pod on one store does not load the clients of the others.
    if scheme == "memory":
        from voice_agent.stores.memory import MemoryStore

        return lambda url, *, ttl_s: MemoryStore(ttl_s=ttl_s)
    if scheme == "embedded":
        from voice_agent.stores.embedded import EmbeddedStore

        return EmbeddedStore
    if scheme in ONE_MASTER:
        from voice_agent.stores.redis import RedisStore

        return RedisStore
    if scheme in CLUSTER:
        from voice_agent.stores.redis_cluster import ClusterStore

        return ClusterStore
    return None
