"""Real replicated stores for tests: a master with replicas and Sentinels, and a cluster; all on loopback, no root."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import redis
from redis.exceptions import RedisError

from tests.servers import RedisServer, free_port
from tests.waiting import PATIENCE_S
from voice_agent.stores.embedded import server_binary

SERVICE = "voice"
ANSWER_S = 15.0
"""How long a server that stands still is waited for; one that is gone says so at once."""
LOST_AFTER_S = 1
"""How long a server may stand still before the others take it for lost, in sets that are made to lose one."""
BUSY_S = 60
"""The same in sets that are to lose none, however busy the machine."""


def never_tilt(sentinel: Any) -> None:
    """Have a Sentinel go on with its work however late its timer comes.

    One that stood still for two seconds does nothing for the thirty that follow (TILT), and counts them anew when it
    stands still again: on an overloaded machine there is no failover then, however long a test waits.
    """
    sentinel.execute_command("SENTINEL", "DEBUG", "TILT-TRIGGER", 1000 * 3600)


def _await(condition: Callable[[], Any], what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(RedisError, OSError):
            if condition():
                return
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"waited in vain: {what}")
        time.sleep(0.05)


@dataclass
class SentinelSet:
    """A master, its replicas, and the sentinels that choose the next master.

    A write is answered only while some replica is at hand, so that none is lost in a failover.
    """

    servers: list[RedisServer]
    sentinel_ports: list[int]
    password: str = ""
    lost_after_s: int = LOST_AFTER_S
    sentinels: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def options(self) -> list[str]:
        """Of every server: a write is refused without a replica that was heard of lately."""
        lately = ["--min-replicas-to-write", "1", "--min-replicas-max-lag", str(1 + self.lost_after_s)]
        return [*lately, "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]

    @property
    def url(self) -> str:
        """The store URL."""
        return self.url_through(self.sentinel_ports)

    def url_through(self, ports: list[int]) -> str:
        """The store URL with the sentinels reached through these ports."""
        secret = f":{self.password}@" if self.password else ""
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        return f"redis+sentinel://{secret}{hosts}/{SERVICE}/0"

    def client(self, server: RedisServer) -> Any:
        """A plain client of one server."""
        return redis.Redis(port=server.port, password=self.password or None, socket_timeout=ANSWER_S)

    def sentinel(self, port: int) -> Any:
        """A plain client of one sentinel."""
        return redis.Redis(port=port, socket_timeout=ANSWER_S)

    def master(self) -> RedisServer:
        """Who the sentinels say is the master."""
        for port in self.sentinel_ports:
            with contextlib.suppress(RedisError), redis.Redis(port=port, socket_timeout=ANSWER_S) as sentinel:
                address = sentinel.sentinel_get_master_addr_by_name(SERVICE)
                return next(server for server in self.servers if server.port == int(address[1]))
        raise RuntimeError("no sentinel answers")

    def takes_writes(self) -> bool:
        """Whether the master is one, and has a replica that follows it."""
        with self.client(self.master()) as client:
            told = client.info("replication")
            return told["role"] == "master" and told.get("min_slaves_good_slaves", 0) >= 1

    def kill_master(self) -> RedisServer:
        """kill -9; returns the server that is down now."""
        killed = self.master()
        killed.stop()
        return killed

    def await_failover(self, killed: RedisServer) -> None:
        """Wait until another server is the master and takes writes."""
        _await(lambda: self.master() is not killed and self.takes_writes(), "a new master")

    def await_settled(self, for_s: float = 3.0) -> None:
        """Wait until every server has followed the master for a while.

        After a failover the replicas join their new master one by one; while the last one there is copies
        everything, a master that wants a replica refuses writes for some seconds more.
        """
        since_s = time.monotonic()

        def is_settled() -> bool:
            nonlocal since_s
            with self.client(self.master()) as client:
                told = client.info("replication")
            if told["role"] != "master" or told.get("min_slaves_good_slaves", 0) < len(self.servers) - 1:
                since_s = time.monotonic()
            return time.monotonic() - since_s >= for_s

        _await(is_settled, "replicas that all follow")

    def await_alone(self, server: RedisServer) -> None:
        """Wait until no replica follows a server."""

        def is_alone() -> bool:
            with self.client(server) as client:
                return bool(client.info("replication")["connected_slaves"] == 0)

        _await(is_alone, "a master that is alone")

    def revive(self, server: RedisServer) -> None:
        """Start a server that was killed; it becomes a replica of today's master."""
        server.options = [*self.options, "--replicaof", "127.0.0.1", str(self.master().port)]
        server.start()

    def stop(self) -> None:
        """End everything."""
        for sentinel in self.sentinels:
            sentinel.kill()
            sentinel.wait()
        for server in self.servers:
            server.stop()


@contextlib.contextmanager
def sentinel_set(
    *, password: str = "", replicas: int = 2, sentinels: int = 3, lost_after_s: int = LOST_AFTER_S
) -> Iterator[SentinelSet]:
    """A replicated store that is ready to lose its master, or with `lost_after_s=BUSY_S` keeps the one that it has."""
    binary = str(server_binary())
    with tempfile.TemporaryDirectory(prefix="va-set-") as name:
        base = Path(name)
        made = SentinelSet([], [], password, lost_after_s)
        try:
            for number in range(1 + replicas):
                (directory := base / f"server-{number}").mkdir()
                follow = ["--replicaof", "127.0.0.1", str(made.servers[0].port)] if made.servers else []
                server = RedisServer(binary, directory, free_port(), password, [*made.options, *follow])
                made.servers.append(server)
                server.start()
            for number in range(sentinels):
                port = free_port()
                made.sentinel_ports.append(port)
                made.sentinels.append(_sentinel(binary, base / f"sentinel-{number}", port, made))
            for port in made.sentinel_ports:
                _await(partial(_is_told, port), "a sentinel that answers")
            _await(lambda: _is_watched(made, replicas, sentinels), "sentinels that know all of each other")
            _await(made.takes_writes, "a master that takes writes")
            yield made
        finally:
            made.stop()


def _sentinel(binary: str, directory: Path, port: int, made: SentinelSet) -> subprocess.Popen[bytes]:
    directory.mkdir()
    lines = [
        f"port {port}",
        "bind 127.0.0.1",
        f"dir {directory}",
        f"sentinel monitor {SERVICE} 127.0.0.1 {made.servers[0].port} 2",
        f"sentinel down-after-milliseconds {SERVICE} {1000 * made.lost_after_s}",
        f"sentinel failover-timeout {SERVICE} 4000",
    ]
    if made.password:
        lines.append(f"sentinel auth-pass {SERVICE} {made.password}")
    path = directory / "sentinel.conf"
    path.write_text("\n".join(lines) + "\n")
    return subprocess.Popen(
        [binary, str(path), "--sentinel"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=directory
    )


def _is_told(port: int) -> bool:
    with redis.Redis(port=port, socket_timeout=ANSWER_S) as sentinel:
        never_tilt(sentinel)
    return True


def _is_watched(made: SentinelSet, replicas: int, sentinels: int) -> bool:
    for port in made.sentinel_ports:
        with redis.Redis(port=port, socket_timeout=ANSWER_S) as sentinel:
            state = sentinel.sentinel_master(SERVICE)
            if (state["num-slaves"], state["num-other-sentinels"]) != (replicas, sentinels - 1):
                return False
    return True


@dataclass
class ClusterSet:
    """Masters that share the slots, each with a replica if asked for."""

    servers: list[RedisServer]
    password: str = ""

    @property
    def url(self) -> str:
        """The store URL."""
        secret = f":{self.password}@" if self.password else ""
        return f"redis+cluster://{secret}" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers[:3])

    def client(self, server: RedisServer) -> Any:
        """A plain client of one server."""
        return redis.Redis(port=server.port, password=self.password or None, socket_timeout=ANSWER_S)

    def command(self, *words: Any) -> list[Any]:
        """Tell every living master something."""
        answers = []
        for server in self.servers:
            if server.process is not None:
                with self.client(server) as client:
                    if client.info("replication")["role"] == "master":
                        answers.append(client.execute_command(*words))
        return answers

    def is_whole(self) -> bool:
        """Whether every living node sees all slots served."""
        for server in self.servers:
            if server.process is None:
                continue
            with self.client(server) as client:
                if client.cluster("info")["cluster_state"] != "ok":
                    return False
        return True

    def await_whole(self) -> None:
        """Wait for `is_whole`."""
        _await(self.is_whole, "a cluster that serves all slots")

    def await_announced(self, ports: set[int]) -> None:
        """Wait until every node names these ports to clients."""

        def told(server: RedisServer) -> set[int]:
            with self.client(server) as client:
                return {port for _, _, (_, port, *_), *_ in client.execute_command("CLUSTER SLOTS")}

        _await(lambda: all(told(server) == ports for server in self.servers), "nodes that name their ports")

    def master_of(self, slot_key: str) -> RedisServer:
        """The server that has a key's slot."""
        with self.client(next(server for server in self.servers if server.process is not None)) as client:
            slot = client.cluster("keyslot", slot_key)
            for first, last, (_, port, *_), *_ in client.execute_command("CLUSTER SLOTS"):
                if first <= slot <= last:
                    return next(server for server in self.servers if server.port == port)
        raise RuntimeError("nobody has the slot")

    def stop(self) -> None:
        """End everything."""
        for server in self.servers:
            server.stop()


@contextlib.contextmanager
def cluster_set(
    *, password: str = "", replicas: bool = False, lost_after_s: int = LOST_AFTER_S
) -> Iterator[ClusterSet]:
    """Three masters that share the slots."""
    binary = str(server_binary())
    with tempfile.TemporaryDirectory(prefix="va-cluster-") as name:
        made = ClusterSet([], password)
        buses = []
        try:
            for number in range(6 if replicas else 3):
                (directory := Path(name) / f"node-{number}").mkdir()
                buses.append(free_port())
                options = ["--cluster-enabled", "yes", "--cluster-node-timeout"]
                options += [str(1000 * lost_after_s), "--cluster-port"]
                options += [str(buses[-1]), "--repl-diskless-sync-delay", "0"]
                server = RedisServer(binary, directory, free_port(), password, options)
                made.servers.append(server)
                server.start()
            _join(made, buses)
            yield made
        finally:
            made.stop()


def _follows(client: Any) -> bool:
    return bool(client.info("replication")["master_link_status"] == "up")


def _join(made: ClusterSet, buses: list[int]) -> None:
    clients = [made.client(server) for server in made.servers]
    try:
        for number, client in enumerate(clients[:3]):
            client.execute_command(
                "CLUSTER ADDSLOTSRANGE", 5461 * number, 16_383 if number == 2 else 5461 * number + 5460
            )
        for client, epoch in zip(clients, range(1, 7), strict=False):
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", epoch)
        for server, bus in zip(made.servers[1:], buses[1:], strict=True):
            clients[0].execute_command("CLUSTER MEET", "127.0.0.1", server.port, bus)
        _await(lambda: all(len(client.cluster("nodes")) == len(clients) for client in clients), "nodes that know all")
        ids = [client.execute_command("CLUSTER MYID").decode() for client in clients]
        for number, client in enumerate(clients[3:]):
            client.execute_command("CLUSTER REPLICATE", ids[number])
        _await(made.is_whole, "a cluster that serves all slots")
        if len(clients) > 3:
            _await(lambda: all(_follows(client) for client in clients[3:]), "replicas that follow")
    finally:
        for client in clients:
            client.close()
