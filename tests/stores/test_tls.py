"""Stores spoken to with TLS: one server, behind sentinels, and a cluster."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.replicated import BUSY_S, SERVICE, cluster_set, sentinel_set
from tests.servers import redis_server
from tests.tls import make_certificate, needs_openssl, tls_proxies
from voice_agent.call.changes import CallWrite
from voice_agent.errors import StoreRefused, StoreUnavailable
from voice_agent.stores.base import WriteOutcome
from voice_agent.stores.factory import open_store

pytestmark = needs_openssl

MAKE = [CallWrite(f"call_{number}", 1, whole=True) for number in range(9)]
MADE = [WriteOutcome.COMMITTED] * len(MAKE)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate and its key."""
    return make_certificate(tmp_path)


async def check(url: str, certificate: Path) -> None:
    """A store of this URL works with the authority named in it, and not without."""
    mark = "&" if "?" in url else "?"
    store = open_store(f"{url}{mark}ssl_ca_certs={certificate}", ttl_s=10)
    await store.open()
    assert await store.commit(MAKE) == MADE
    assert await store.get_or_set("secret", b"one") == b"one"
    await store.close()
    stranger = open_store(url, ttl_s=10)
    with pytest.raises(StoreUnavailable):
        await stranger.open()
    await stranger.close()


async def test_one_server(pair: tuple[Path, Path]) -> None:
    """`rediss://` works with the authority named in the URL and refuses a certificate that nobody vouches for."""
    with redis_server() as server:
        async with tls_proxies(*pair, server.port) as (proxy,):
            await check(f"rediss://localhost:{proxy.port}/0", pair[0])
            assert proxy.encrypted


async def test_behind_sentinels(pair: tuple[Path, Path]) -> None:
    """`rediss+sentinel://` speaks TLS to the sentinels and to the master, each with its own password."""
    with sentinel_set(password="correct-horse", replicas=1, sentinels=1, lost_after_s=BUSY_S) as behind:
        (sentinel_port,) = behind.sentinel_ports
        async with tls_proxies(*pair, sentinel_port, behind.servers[0].port) as (sentinel, master):
            with behind.sentinel(sentinel_port) as told:
                told.execute_command("SENTINEL REMOVE", SERVICE)
                told.execute_command("SENTINEL MONITOR", SERVICE, "127.0.0.1", master.port, 1)
                told.execute_command("SENTINEL SET", SERVICE, "auth-pass", behind.password)
                told.execute_command("ACL SETUSER", "default", "resetpass", ">battery-staple")
            url = f"rediss+sentinel://:correct-horse@127.0.0.1:{sentinel.port}/{SERVICE}"
            await check(f"{url}?sentinel_password=battery-staple", pair[0])
            assert sentinel.encrypted
            assert master.encrypted
            for wrong in ("", "&sentinel_password=wrong"):
                store = open_store(f"{url}?ssl_ca_certs={pair[0]}{wrong}", ttl_s=10)
                with pytest.raises(StoreRefused) as refusal:
                    await store.open()
                assert "horse" not in str(refusal.value)
                await store.close()


async def test_a_cluster(pair: tuple[Path, Path]) -> None:
    """`rediss+cluster://` speaks TLS to each node, the ones it has found as well as those in the URL."""
    with cluster_set(lost_after_s=BUSY_S) as cluster:
        async with tls_proxies(*pair, *(server.port for server in cluster.servers)) as proxies:
            for server, proxy in zip(cluster.servers, proxies, strict=True):
                with cluster.client(server) as told:
                    told.config_set("cluster-announce-port", proxy.port)
            await asyncio.to_thread(cluster.await_announced, {proxy.port for proxy in proxies})
            await check(f"rediss+cluster://127.0.0.1:{proxies[0].port}", pair[0])
            assert all(proxy.encrypted for proxy in proxies)
