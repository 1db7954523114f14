"""The pods of `k8s/redis` without Kubernetes: their scripts and files, run as they are, on loopback addresses.

Each pod has an address of its own in place of its name, the ports are the real ones. The
server is the wheel's; that has no client, so one with the same arguments stands in.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.deploy.manifests import manifests
from tests.replicated import ANSWER_S, never_tilt
from tests.waiting import PATIENCE_S
from voice_agent.stores.embedded import server_binary

PASSWORD = "servers0secret"
SENTINEL_PASSWORD = "sentinels0secret"
SHELL = "/bin/sh"
ONCE = Retry(NoBackoff(), 0)
CLIENT = '''#!{python} -SE
"""valkey-cli, as far as the scripts use it, and as quick: bare RESP on a socket."""
import os, socket, sys

words, options = sys.argv[1:], {{"-h": "127.0.0.1", "-p": "6379", "--rdb": ""}}
while words and words[0].startswith("-"):
    option = words.pop(0)
    if option in options:
        options[option] = words.pop(0)
try:
    wire = socket.create_connection((options["-h"], int(options["-p"])), 5).makefile("rwb")
except OSError as error:
    sys.exit(f"Could not connect: {{error}}")


def ask(*words):
    wire.write(b"*%d\\r\\n" % len(words))
    for word in words:
        wire.write(b"$%d\\r\\n%s\\r\\n" % (len(word), word.encode()))
    wire.flush()
    return answer()


def answer():
    line = wire.readline().decode().rstrip()
    kind, rest = line[:1], line[1:]
    if kind == "$":
        return wire.read(int(rest) + 2)[:-2].decode()
    if kind == "*":
        return "\\n".join(answer() for _ in range(int(rest)))
    return rest


if os.environ.get("REDISCLI_AUTH"):
    ask("AUTH", os.environ["REDISCLI_AUTH"])
if options["--rdb"]:
    with open(options["--rdb"], "w") as file:
        file.write(os.environ.get("SNAPSHOT", "REDIS0011"))
else:
    print(ask(*words))
'''


CHOICE_S = 2 * PATIENCE_S
"""How long a test waits for the Sentinels: on a busy machine several of their votes may fail, each some ten seconds."""
DOWN_AFTER_MS = 5000
"""How long a server or a Sentinel of these tests may stand still before the others take it for lost. With the second of
the manifests an overloaded machine has them choose a master again and again, and lets no choice come to its end."""
PROBE_S = 5
"""Between two looks whether a pod's server is alive; `FAILURES` in a row, and it is begun again, as Kubernetes does."""
FAILURES = 3
STARTS = ("start-redis.sh", "start-sentinel.sh")
"""What the containers of a pod run."""


@dataclass
class Pods:
    """Three pods, each a server and a Sentinel."""

    base: Path
    hosts: list[str]
    running: dict[str, dict[str, subprocess.Popen[bytes]]] = field(default_factory=dict)
    """Of each pod that runs, the process of each of its scripts."""
    untold: set[str] = field(default_factory=set)
    """Pods whose Sentinel has begun and does not know yet what `_settle` tells it."""
    failures: Counter[str] = field(default_factory=Counter)
    """Of each pod, how often in a row its server was found not to be alive."""
    probed_s: float = field(default_factory=time.monotonic)

    def environment(self, host: str) -> dict[str, str]:
        """What the StatefulSet gives, with addresses for names."""
        return {
            "PATH": f"{self.base / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "SELF": host,
            "BIND": host,
            "PEERS": " ".join(self.hosts),
            "SERVICE": "voice",
            "SCRIPTS": str(self.base / "scripts"),
            "DATA": str(self.base / host),
            "REDIS_PASSWORD": PASSWORD,
            "SENTINEL_PASSWORD": SENTINEL_PASSWORD,
            # Nobody is waited for here: addresses are there from the start.
            "TRIES": "1",
        }

    def run(self, script: str, host: str, **more: str) -> subprocess.CompletedProcess[str]:
        """One script of a pod, to its end."""
        command = [SHELL, str(self.base / "scripts" / script)]
        environment = self.environment(host) | more
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S)

    def start(self, *hosts: str) -> None:
        """Start pods; both containers of each at once."""
        for host in hosts:
            (self.base / host).mkdir(exist_ok=True)
            self.running[host] = {script: self._begin(host, script) for script in STARTS}

    def _begin(self, host: str, script: str) -> subprocess.Popen[bytes]:
        self.untold.add(host)
        return subprocess.Popen(
            [SHELL, str(self.base / "scripts" / script)],
            env=self.environment(host),
            cwd=self.base / host,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _settle(self) -> None:
        """Do as Kubernetes does with containers that ended, or are not alive; tell each Sentinel to be patient."""
        if time.monotonic() > self.probed_s + PROBE_S:
            self.probed_s = time.monotonic()
            self._probe()
        for host, processes in self.running.items():
            for script, process in processes.items():
                if process.poll() is not None:
                    processes[script] = self._begin(host, script)
        for host in sorted(self.untold & self.running.keys()):
            with contextlib.suppress(redis.RedisError), self.sentinel(host) as sentinel:
                never_tilt(sentinel)
                sentinel.sentinel_set("voice", "down-after-milliseconds", DOWN_AFTER_MS)
                self.untold.discard(host)

    def _probe(self) -> None:
        for host, processes in self.running.items():
            self.failures[host] = self.failures[host] + 1 if self.run("alive.sh", host).returncode else 0
            if self.failures[host] >= FAILURES:
                self.failures[host] = 0
                processes[STARTS[0]].kill()
                processes[STARTS[0]].wait()

    def wait_until(self, condition: Callable[[], Any], what: str) -> None:
        """Ask again and again; what does not answer yet will."""
        deadline_s = time.monotonic() + CHOICE_S
        while True:
            self._settle()
            with contextlib.suppress(redis.RedisError, OSError):
                if condition():
                    return
            if time.monotonic() > deadline_s:
                raise AssertionError(f"waited in vain: {what}\n" + "\n".join(map(self._told_by, self.hosts)))
            time.sleep(0.05)

    def _told_by(self, host: str) -> str:
        """What a pod's server says of itself, and its Sentinel of all: what a test that waited in vain needs."""
        lines = [f"{host}: {'runs' if host in self.running else 'does not run'}"]
        try:
            lines.append(f"  server: {self.server(host).info('replication')}")
        except redis.RedisError as error:
            lines.append(f"  server: {error}")
        try:
            with self.sentinel(host) as sentinel:
                lines.append(f"  master by its Sentinel: {sentinel.sentinel_master('voice')}")
                lines += [f"  replica: {it}" for it in sentinel.sentinel_slaves("voice")]
        except redis.RedisError as error:
            lines.append(f"  Sentinel: {error}")
        return "\n".join(lines)

    def kill(self, *hosts: str) -> None:
        """kill -9 of everything in these pods; their disks stay."""
        for host in hosts:
            for process in self.running.pop(host, {}).values():
                process.kill()
                process.wait()

    def server(self, host: str) -> Any:
        """A client of a pod's server."""
        return redis.Redis(host=host, password=PASSWORD, socket_timeout=ANSWER_S, decode_responses=True, retry=ONCE)

    def sentinel(self, host: str) -> Any:
        """A client of a pod's Sentinel."""
        return redis.Redis(
            host=host,
            port=26379,
            password=SENTINEL_PASSWORD,
            socket_timeout=ANSWER_S,
            decode_responses=True,
            retry=ONCE,
        )

    def master(self) -> str:
        """Whom all running Sentinels call the master; "" while they do not agree."""
        told = {str(self.sentinel(host).sentinel_master("voice")["ip"]) for host in self.running}
        return told.pop() if len(told) == 1 else ""

    def is_whole(self) -> bool:
        """Whether the master has all other running pods as replicas, and every Sentinel knows all of them."""
        master = self.master()
        others = len(self.running) - 1
        told = self.server(master).info("replication")
        states = [self.sentinel(host).sentinel_master("voice") for host in self.running]
        return (
            told["role"] == "master"
            and told.get("min_slaves_good_slaves") == others
            and all(state["num-other-sentinels"] == len(self.hosts) - 1 for state in states)
        )

    def await_whole(self) -> str:
        """Wait for `is_whole`; returns the master."""
        self.wait_until(lambda: bool(self.master()) and self.is_whole(), "a master whom everybody follows")
        return self.master()

    @property
    def url(self) -> str:
        """The store's URL, made like the example's."""
        sentinels = ",".join(f"{host}:26379" for host in self.hosts)
        return f"redis+sentinel://:{PASSWORD}@{sentinels}/voice/0?sentinel_password={SENTINEL_PASSWORD}"


@contextlib.contextmanager
def redis_pods(base: Path) -> Iterator[Pods]:
    """Three pods that do not run yet; what the ConfigMap holds is laid out for them."""
    config = next(it for it in manifests().parts["redis"] if it["kind"] == "ConfigMap")
    (base / "scripts").mkdir()
    for name, text in config["data"].items():
        (base / "scripts" / name).write_text(text)
    (base / "bin").mkdir()
    (base / "bin" / "valkey-server").symlink_to(server_binary())
    client = base / "bin" / "valkey-cli"
    client.write_text(CLIENT.format(python=sys.executable))
    client.chmod(0o755)
    # All of 127/8 is loopback: a network of one's own keeps test runs apart.
    net = f"127.{random.randint(2, 250)}.{random.randint(2, 250)}"
    pods = Pods(base, [f"{net}.{number}" for number in (10, 11, 12)])
    try:
        yield pods
    finally:
        pods.kill(*pods.hosts)
