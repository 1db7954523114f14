"""Pods as real processes on a real store, as an operator runs them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests import forked
from tests.servers import free_port
from tests.tls import trusting
from tests.waiting import PATIENCE_S, until
from voice_agent.stores.factory import open_store

SAMPLES = Path(__file__).parents[2] / "samples"
POD_LABELS = re.compile(r'(?<=[{,])(?:color|version)="[^"]*",?')


@dataclass
class PodProcess:
    """One `voice-agent serve`."""

    process: forked.ForkedProcess | subprocess.Popen[bytes]
    port: int
    color: str
    log: Path
    certificate: Path | None = None
    """With which it speaks TLS."""

    @property
    def http(self) -> str:
        """Base of its HTTP endpoints."""
        return f"http{'s' if self.certificate else ''}://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Where calls go."""
        return f"ws{'s' if self.certificate else ''}://127.0.0.1:{self.port}/v1/realtime"

    @property
    def verify(self) -> ssl.SSLContext | bool:
        """What a client believes."""
        return trusting(self.certificate) if self.certificate else True

    async def health(self) -> dict[str, Any]:
        """`/healthz/realtime`, whatever its status."""
        async with httpx.AsyncClient(verify=self.verify) as client:
            body: dict[str, Any] = (await client.get(f"{self.http}/healthz/realtime")).json()
            return body

    async def until_health(self, **fields: object) -> None:
        """Wait until `/healthz/realtime` says all of this."""

        async def says() -> bool:
            return fields.items() <= (await self.health()).items()

        await until(says)

    async def metrics(self) -> dict[str, float]:
        """Every sample of `/metrics`, by name and labels without those that all of them have."""
        async with httpx.AsyncClient(verify=self.verify) as client:
            text = (await client.get(f"{self.http}/metrics")).text
        lines = POD_LABELS.sub("", text).replace(",}", "}").replace("{}", "").splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> None:
        """SIGTERM, as Kubernetes sends it."""
        self.process.send_signal(signal.SIGTERM)

    async def exit_status(self) -> int:
        """Wait for the process to end."""
        return await asyncio.wait_for(asyncio.to_thread(self.process.wait), PATIENCE_S)


@dataclass
class Pods:
    """Starts pods; ends them all."""

    store_url: str
    directory: Path
    running: list[PodProcess] = field(default_factory=list)
    packages: list[Path] = field(default_factory=list)
    """Directories in which pods find packages beside those that are installed."""
    record_inputs: Path | None = None
    """Where pods record what happens to their calls."""
    agents: str = ""
    """Those that pods serve; "": the default."""
    settings: dict[str, Any] = field(default_factory=dict)
    """More settings of all pods."""
    from_nothing: bool = False
    """Not forked: a forked one copies each page of its memory at the first use, which is billed to its calls."""

    async def route(self, **weights: int) -> None:
        """Tell the pods how callers are split over colors, as a cutover does; the test is the load balancer."""
        store = open_store(self.store_url, ttl_s=1800)
        await store.open()
        try:
            await store.tell_weights(weights, 0)
        finally:
            await store.close()

    async def start(self, color: str = "blue", port: int | None = None, **settings: object) -> PodProcess:
        """A pod, once it takes calls. `settings` are VOICE_* variables in small letters."""
        port = port or free_port()
        name = f"{color}-{len(self.running)}"
        known = {"color": color, "pod": name, "port": port, "store_url": self.store_url, "secret": "s" * 32}
        # What a busy machine makes late is no overload by callers.
        known["overload_lag_ms"] = 0
        known |= {"agent": self.agents, **self.settings}
        if known["agent"] in ("", "frontdesk"):
            # Small engines: they are there in a third of the time; what the natural ones understand is tried elsewhere.
            small = {"agent_frontdesk_ear": "pocketsphinx", "agent_frontdesk_voice": "espeak", "speech_workers": 1}
            known = {**small, **known}
        if self.record_inputs is not None:
            known["record_inputs"] = self.record_inputs
        kept = {key: value for key, value in os.environ.items() if not key.startswith("VOICE_")}
        kept["PYTHONPATH"] = os.pathsep.join([*map(str, self.packages), kept.get("PYTHONPATH", "")])
        given = {f"VOICE_{key.upper()}": str(value) for key, value in {**known, **settings}.items()}
        log = self.directory / f"{name}.log"
        with log.open("wb") as output:
            # A host of several workers forks them itself, and is seen to do so as it is installed.
            is_forked = not self.from_nothing and "workers" not in settings
            start = forked.start if is_forked else forked.start_from_nothing
            process = start(["serve"], {**kept, **given}, output)
        pod = PodProcess(process, port, color, log, settings.get("tls_cert"))  # type: ignore[arg-type]  # a path
        self.running.append(pod)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if (await pod.health())["status"] == "ok":
                        return pod
                if process.poll() is not None:
                    raise RuntimeError(f"the pod did not start:\n{log.read_text()}")
                await asyncio.sleep(0.02)


def session(leader: int) -> list[int]:
    """The processes of a session, the parent of workers and those that outlived it."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # Behind the name, which may hold anything: state, parent, group, session (proc_pid_stat(5)).
            if int(stat.read_text().rpartition(")")[2].split()[3]) == leader:
                found.append(int(stat.parent.name))
    return found


@contextlib.asynccontextmanager
async def pods(
    store_url: str, *, record_inputs: Path | None = None, allows_tracebacks: bool = False
) -> AsyncIterator[Pods]:
    """Pods on one store for the length of a block; every traceback in their logs fails the test, as a rule."""
    with tempfile.TemporaryDirectory(prefix="va-pods-") as directory:
        made = Pods(store_url, Path(directory), record_inputs=record_inputs)
        try:
            yield made
        finally:
            for pod in made.running:
                # Workers as well: what one of them still wrote would be found in the store of the next test.
                for pid in session(pod.process.pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                pod.process.wait()
        for pod in () if allows_tracebacks else made.running:
            assert "Traceback" not in pod.log.read_text(), pod.log.read_text()
