"""The replicated store's own files, run by the real server: start, failover, power cut, backup."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from app.stores.factory import open_store
from tests.deploy.redis_pods import PASSWORD, SHELL, Pods, redis_pods, wait_until
from tests.deploy.world import K8S, ROOT, containers, template_of, world

FOLDER = K8S / "redis"
SCRIPTS = sorted(FOLDER.glob("*.sh"))


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Pods]:
    if sys.platform != "linux":
        pytest.skip("other systems have one loopback address only")
    with redis_pods(tmp_path) as made:
        yield made


def write(pods: Pods, name: str) -> None:
    """Write through the master once it takes writes again."""
    wait_until(lambda: pods.server(pods.master()).set(name, "kept"), "a master that takes writes")


async def test_pods_make_a_store_that_survives_their_loss(pods: Pods) -> None:
    """All start at once, a master leaves politely, the power fails: there is one master, and the data."""
    first, second, third = pods.hosts
    pods.start(*pods.hosts)
    assert pods.await_whole() == first
    write(pods, "before")

    store = open_store(pods.url, ttl_s=60)
    await store.open()
    assert await store.agree("name", b"value") == b"value"

    # What docs/store.md asks of servers is what these say of themselves.
    asked = re.search(r"## On the servers\n\n```\n(.*?)```", (ROOT / "docs" / "store.md").read_text(), re.DOTALL)
    assert asked
    for line in asked[1].splitlines():
        name, value = line.partition("#")[0].split()
        assert pods.server(second).config_get(name) == {name: value}
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(host=first).ping()
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(host=first, port=26379).ping()

    # preStop of the master: somebody else takes over before it goes.
    assert pods.run("hand-over.sh", first).returncode == 0
    assert pods.sentinel(second).sentinel_get_master_addr_by_name("voice")[0] != first
    with pytest.raises((redis.TimeoutError, redis.ResponseError)):
        pods.server(first).set("after", "lost")
    pods.kill(first)
    wait_until(lambda: pods.master() in (second, third), "a master among those that are left")
    write(pods, "between")
    pods.start(first)
    successor = pods.await_whole()
    assert successor != first
    assert pods.run("hand-over.sh", first).returncode == 0, "a replica has nothing to hand over"
    assert pods.master() == successor

    # The power fails. Whoever is the master then, has the data, although the first pod is there before the others.
    pods.kill(*pods.hosts)
    pods.start(first)
    pods.start(second, third)
    assert pods.server(pods.await_whole()).mget("before", "between") == ["kept", "kept"]
    assert await store.agree("name", b"another") == b"value"
    await store.close()


def test_a_pod_with_an_empty_disk_joins_and_does_not_take_over(pods: Pods) -> None:
    """The first pod loses its disk and asks the others: it comes back as a replica with all the data."""
    first, *others = pods.hosts
    pods.start(*pods.hosts)
    pods.await_whole()
    write(pods, "kept")
    pods.kill(first)
    shutil.rmtree(pods.base / first)
    # At once: the others still call it the master.
    pods.start(first)
    assert pods.await_whole() in others
    wait_until(lambda: pods.server(first).get("kept") == "kept", "a replica that has the data")


def test_backup_takes_a_replica_and_keeps_the_last(pods: Pods, tmp_path: Path) -> None:
    """The copy comes from a replica, old copies go, and what is no snapshot is refused and not kept."""
    first, second, _ = pods.hosts
    pods.start(*pods.hosts)
    pods.await_whole()
    copies = tmp_path / "copies"
    copies.mkdir()
    for hour in range(5):
        (copies / f"voice-20260101T0{hour}0000Z.rdb").write_bytes(b"REDIS0011")
    done = pods.run("backup.sh", first, BACKUPS=str(copies), KEEP="3")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"copied {second} to ")
    kept = sorted(path.name for path in copies.iterdir())
    assert len(kept) == 3
    assert kept[:2] == ["voice-20260101T030000Z.rdb", "voice-20260101T040000Z.rdb"]
    refused = pods.run("backup.sh", first, BACKUPS=str(copies), KEEP="3", SNAPSHOT="-ERR")
    assert refused.returncode == 1
    assert "no snapshot" in refused.stderr
    assert len(list(copies.glob("*.rdb"))) == 3
    pods.kill(*pods.hosts)
    assert pods.run("backup.sh", first, BACKUPS=str(copies), KEEP="3").returncode == 1


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_what_a_plain_shell_reads(script: Path) -> None:
    """They run in the image's small shell: nothing of bash."""
    assert subprocess.run([SHELL, "-n", script], check=False).returncode == 0
    assert script.read_text().startswith("#!/bin/sh\n# ")
    assert not re.search(r"\[\[|<<<|\bfunction\b|\blocal\b|\$'", script.read_text())


def test_pods_get_what_their_scripts_use() -> None:
    """Every variable of a script is in the manifest of the container that runs it."""
    known = world()
    for workload, template in known.pods():
        for container in containers(template):
            wanted = {"redis": "start-redis.sh", "sentinel": "start-sentinel.sh", "backup": "backup.sh"}
            if container["name"] not in wanted:
                continue
            scripts = [wanted[container["name"]], *(["who-is-master.sh"] if workload["kind"] == "StatefulSet" else [])]
            text = "".join((FOLDER / name).read_text() for name in scripts)
            used = set(re.findall(r"\$\{?([A-Z_]+)", text)) - {"BIND", "REDISCLI_AUTH", "TRIES"}
            assert used <= {entry["name"] for entry in container["env"]}, container["name"]


def test_names_in_the_urls_are_those_of_the_pods() -> None:
    """The example's store URL, and the peers, are the StatefulSet's pods behind its Service."""
    known = world()
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
    container = containers(template_of(world().one("StatefulSet", "voice-redis")))[0]
    assert container["resources"]["limits"]["memory"] == "2Gi"
    assert "\nmaxmemory 1gb\n" in (FOLDER / "redis.conf").read_text()
