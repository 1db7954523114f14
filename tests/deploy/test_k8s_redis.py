"""The replicated store's own files, run by the real server: start, failover, power cut, backup."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.deploy.manifests import K8S, ROOT, containers, manifests, template_of
from tests.deploy.redis_pods import CHOICE_S, ONCE, PASSWORD, SHELL, Pods, redis_pods
from voice_agent.errors import StoreUnavailable
from voice_agent.stores.base import Store
from voice_agent.stores.factory import open_store

FOLDER = K8S / "redis"
SCRIPTS = sorted(FOLDER.glob("*.sh"))
IN_TIME_S = 12
"""A master that leaves takes no writes for 15 s, and is then to be gone; a script that took longer proves nothing."""


pytestmark = [pytest.mark.xdist_group("k8s-redis"), pytest.mark.timeout(8 * CHOICE_S)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pods]:
    """Three pods for all of these tests, begun all at once."""
    if sys.platform != "linux":
        pytest.skip("other systems have one loopback address only")
    with redis_pods(tmp_path_factory.mktemp("pods")) as made:
        made.start(*made.hosts)
        assert made.await_whole() == made.hosts[0]
        yield made


@pytest.fixture
def pods(running: Pods) -> Pods:
    """The same, whole again after what the test before did to them."""
    running.start(*(host for host in running.hosts if host not in running.running))
    running.await_whole()
    return running


def write(pods: Pods, name: str) -> None:
    """Write through the master once it takes writes again, and wait until both replicas have it, in their files too."""

    def is_everywhere() -> bool:
        # On one connection, for WAIT is about its writes; and what is killed right after a write may take it along.
        with pods.server(pods.master()) as master:
            return bool(master.set(name, "kept") and master.wait(len(pods.running) - 1, 1000) >= len(pods.running) - 1)

    def is_written() -> bool:
        # With `appendfsync everysec` a server puts its writes off for up to two seconds while the disk is busy.
        return all(pods.server(host).info("persistence")["aof_buffer_length"] == 0 for host in pods.running)

    pods.wait_until(is_everywhere, "a write that all have")
    pods.wait_until(is_written, "files that have it")


def test_servers_say_of_themselves_what_the_docs_ask_for(pods: Pods) -> None:
    """Every line of docs/store.md is in force, and nobody gets in without a password."""
    asked = re.search(r"## On the servers\n\n```\n(.*?)```", (ROOT / "docs" / "store.md").read_text(), re.DOTALL)
    assert asked
    for line in asked[1].splitlines():
        name, value = line.partition("#")[0].split()
        assert pods.server(pods.hosts[1]).config_get(name) == {name: value}
    for port in (6379, 26379):
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(host=pods.hosts[0], port=port, retry=ONCE).ping()


def handed_over(pods: Pods) -> str | None:
    """The master that handed over; None where Sentinels on a busy machine chose no other in the time a pod may take."""
    leaving = pods.master()
    began_s = time.monotonic()
    assert pods.run("hand-over.sh", leaving).returncode == 0
    named = [pods.sentinel(host).sentinel_get_master_addr_by_name("voice")[0] for host in pods.hosts if host != leaving]
    return leaving if leaving not in named and time.monotonic() < began_s + IN_TIME_S else None


def replicas(pods: Pods) -> dict[str, str]:
    """Whom each server follows; who follows nobody is not in it."""
    told = {host: pods.server(host).info("replication") for host in pods.running}
    return {host: state["master_host"] for host, state in told.items() if state["role"] == "slave"}


def test_a_master_hands_over_only_to_who_knows_all_replicas(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Sentinel that has not heard of a replica yet would leave it behind the old master, seen by nobody."""
    monkeypatch.setattr(pods, "probed_s", math.inf)  # What would put it right a little later.
    leaving = pods.master()
    late = next(host for host in pods.hosts if host != leaving)
    pods.kill(late)
    shutil.rmtree(pods.base / late)
    pods.wait_until(lambda: pods.server(leaving).info("replication")["connected_slaves"] == 1, "what was lost, noticed")
    for host in pods.running:
        with pods.sentinel(host) as sentinel:
            assert sentinel.execute_command("SENTINEL", "RESET", "voice")
    pods.wait_until(lambda: all(pods.sentinel(host).sentinel_slaves("voice") for host in pods.running), "a replica")
    pods.start(late)
    own_sentinel = pods.running[late]["start-sentinel.sh"]
    own_sentinel.send_signal(signal.SIGSTOP)  # It may learn of its own server at once.
    try:
        pods.wait_until(lambda: pods.server(leaving).info("replication")["connected_slaves"] == 2, "both replicas")
        assert pods.run("hand-over.sh", leaving).returncode == 0
        # Those that are known are told before the old master is.
        pods.wait_until(lambda: leaving in replicas(pods), "a replica that was the master")
        assert replicas(pods).get(late) != leaving
    finally:
        own_sentinel.send_signal(signal.SIGCONT)


def test_a_server_that_follows_a_replica_is_started_again(pods: Pods) -> None:
    """It says that it is not alive, is begun anew, asks the Sentinels, and follows the master."""
    master = pods.master()
    middle, last = (host for host in pods.hosts if host != master)
    assert [pods.run("alive.sh", host).returncode for host in pods.hosts] == [0, 0, 0]
    with contextlib.ExitStack() as asleep:
        for host in pods.hosts:  # They know this replica, and would put it right before anybody has looked.
            process = pods.running[host]["start-sentinel.sh"]
            process.send_signal(signal.SIGSTOP)
            asleep.callback(process.send_signal, signal.SIGCONT)
        pods.server(last).replicaof(middle, 6379)
        told = pods.run("alive.sh", last)
        assert (told.returncode, told.stderr) == (1, f"follows {middle}, which is a replica itself\n")
        assert pods.run("alive.sh", middle).returncode == 0
    pods.running[last]["start-redis.sh"].kill()
    pods.await_whole()
    assert replicas(pods) == {middle: master, last: master}


def test_a_master_hands_over_before_it_goes(pods: Pods) -> None:
    """preStop lets another take over and acknowledges nothing more; back again, the old one follows."""
    replica = next(host for host in pods.hosts if host != pods.master())
    assert pods.run("hand-over.sh", replica).returncode == 0, "a replica has nothing to hand over"
    found: list[str] = []

    def is_handed_over() -> bool:
        if pods.is_whole() and (leaving := handed_over(pods)) is not None:
            found.append(leaving)
        return bool(found)

    pods.wait_until(is_handed_over, "another master in time")
    [leaving] = found
    staying = [host for host in pods.hosts if host != leaving]
    with (
        redis.Redis(host=leaving, password=PASSWORD, socket_timeout=1, retry=ONCE) as caller,
        pytest.raises((redis.TimeoutError, redis.ResponseError)),
    ):
        caller.set("after", "lost")
    pods.kill(leaving)
    pods.wait_until(lambda: pods.master() in staying, "a master among those that are left")
    write(pods, "between")
    pods.start(leaving)
    assert pods.server(pods.await_whole()).get("between") == "kept"


async def agreed(store: Store, name: str, value: bytes) -> bytes:
    """What the store has under a name, once it answers."""
    async with asyncio.timeout(CHOICE_S):
        while True:
            with contextlib.suppress(StoreUnavailable):
                return await store.get_or_set(name, value)
            await asyncio.sleep(0.05)


async def test_the_store_survives_a_power_cut(pods: Pods) -> None:
    """All pods die at once; whoever is the master then, has the data, although one pod is there before the others."""
    store = open_store(pods.url, ttl_s=60)
    try:
        assert await agreed(store, "name", b"value") == b"value"
        write(pods, "before")
        first, *others = pods.hosts
        pods.kill(*pods.hosts)
        pods.start(first)
        pods.start(*others)
        assert pods.server(pods.await_whole()).get("before") == "kept"
        assert await agreed(store, "name", b"another") == b"value"
    finally:
        await store.close()


def test_a_pod_with_an_empty_disk_joins_and_does_not_take_over(pods: Pods) -> None:
    """The master loses its disk and is back at once: it waits until the others have chosen, and copies from them."""
    emptied = pods.master()
    write(pods, "kept")
    pods.kill(emptied)
    shutil.rmtree(pods.base / emptied)
    pods.start(emptied)
    pods.await_whole()
    pods.wait_until(lambda: all(pods.server(host).get("kept") == "kept" for host in pods.hosts), "the data everywhere")


def backed_up(pods: Pods, folder: Path) -> tuple[str, subprocess.CompletedProcess[str]] | None:
    """The replica of which a copy should be and how making one went.

    None if meanwhile another became the master, or stood still for so long that it was taken for gone.
    """
    master = pods.master()
    replica = next(host for host in pods.hosts if host != master)
    if not pods.is_whole() or pods.server(replica).info("replication").get("master_link_status") != "up":
        return None
    for copy in folder.iterdir():
        copy.unlink()
    for hour in range(5):
        (folder / f"voice-20260101T0{hour}0000Z.rdb").write_bytes(b"REDIS0011")
    done = pods.run("backup.sh", replica, BACKUPS=str(folder), KEEP="3")
    return (replica, done) if pods.master() == master and (done.returncode or replica in done.stdout) else None


def test_backup_takes_a_replica_and_keeps_the_last(pods: Pods, tmp_path: Path) -> None:
    """The copy comes from a replica, old copies go, and what is no snapshot is refused and not kept."""
    found: list[tuple[str, subprocess.CompletedProcess[str]]] = []

    def is_copied() -> bool:
        copied = backed_up(pods, tmp_path)
        if copied is not None:
            found.append(copied)
        return copied is not None

    pods.wait_until(is_copied, "a copy")  # On a busy machine a failover may come in between.
    [(replica, done)] = found
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"copied {replica} to ")
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert len(kept) == 3
    assert kept[:2] == ["voice-20260101T030000Z.rdb", "voice-20260101T040000Z.rdb"]
    refused = pods.run("backup.sh", replica, BACKUPS=str(tmp_path), KEEP="3", SNAPSHOT="-ERR")
    assert refused.returncode == 1
    assert "no snapshot" in refused.stderr
    assert len(list(tmp_path.glob("*.rdb"))) == 3
    alone = pods.run("backup.sh", replica, BACKUPS=str(tmp_path), KEEP="3", PEERS="127.1.2.3")
    assert (alone.returncode, alone.stderr) == (1, "no server answers\n")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_what_a_plain_shell_reads(script: Path) -> None:
    """They run in the image's small shell: nothing of bash."""
    assert subprocess.run([SHELL, "-n", script], check=False).returncode == 0
    assert script.read_text().startswith("#!/bin/sh\n# ")
    assert not re.search(r"\[\[|<<<|\bfunction\b|\blocal\b|\$'", script.read_text())


def test_pods_get_what_their_scripts_use() -> None:
    """Every variable of a script is in the manifest of the container that runs it; probes and hooks run theirs."""
    known = manifests()
    server = containers(template_of(known.one("StatefulSet", "voice-redis")))[0]
    assert server["livenessProbe"]["exec"]["command"] == ["sh", "/etc/voice-redis/alive.sh"]
    assert server["lifecycle"]["preStop"]["exec"]["command"] == ["sh", "/etc/voice-redis/hand-over.sh"]
    for workload, template in known.pods():
        for container in containers(template):
            wanted = {
                "redis": ("start-redis.sh", "alive.sh", "hand-over.sh"),
                "sentinel": ("start-sentinel.sh",),
                "backup": ("backup.sh",),
            }
            if container["name"] not in wanted:
                continue
            scripts = [*wanted[container["name"]], *(["who-is-master.sh"] if workload["kind"] == "StatefulSet" else [])]
            text = "".join((FOLDER / name).read_text() for name in scripts)
            used = set(re.findall(r"\$\{?([A-Z_]+)", text)) - {"BIND", "REDISCLI_AUTH", "TRIES"}
            assert used <= {entry["name"] for entry in container["env"]}, container["name"]


def test_names_in_the_urls_are_those_of_the_pods() -> None:
    """The example's store URL, and the peers, are the StatefulSet's pods behind its Service."""
    known = manifests()
    made = known.one("StatefulSet", "voice-redis")
    domain = f"{made['spec']['serviceName']}.{made['metadata']['namespace']}.svc.cluster.local"
    names = [f"voice-redis-{number}.{domain}" for number in range(made["spec"]["replicas"])]
    for container in (
        *containers(template_of(made)),
        *containers(template_of(known.one("CronJob", "voice-redis-backup"))),
    ):
        peers = next(entry["value"] for entry in container["env"] if entry["name"] == "PEERS")
        assert peers.split() == names
    url = next(it for it in known.secrets if it["metadata"]["name"] == "voice-agent")["stringData"]["VOICE_STORE_URL"]
    assert [part.partition(":")[0] for part in url.partition("@")[2].partition("/")[0].split(",")] == names
    open_store(url, ttl_s=60)
    assert PASSWORD.isalnum()


def test_memory_of_the_server_leaves_room() -> None:
    """Writing the file anew may take as much again as the data: `maxmemory` is half of the limit at most."""
    container = containers(template_of(manifests().one("StatefulSet", "voice-redis")))[0]
    assert container["resources"]["limits"]["memory"] == "2Gi"
    assert "\nmaxmemory 1gb\n" in (FOLDER / "redis.conf").read_text()
