"""Pods of two releases on one Redis: blue is of the one, green of the other."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtest.releases import unpacked
from tests.chaos.fleet import COLORS, Fleet, Pod
from tests.servers import RedisServer
from tests.upgrade.releases import Release
from voice_agent.stores.factory import open_store

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Program:
    """How a release is run: as a checkout, or as this one with what it lacks or adds."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def made(cls, release: Release, planted: str = "") -> Program:
        """This release, or one made of it; `planted`: with one of the bugs of `tests.simulation.planted`."""
        if release is Release.THIS and not planted:
            return cls(release, (sys.executable, "-m", "voice_agent"))
        bug = [planted] if planted else []
        return cls(release, (sys.executable, "-m", "tests.upgrade.pod", release, *bug), {"PYTHONPATH": _path(ROOT)})

    @classmethod
    def checked_out(cls, before: str, directory: Path) -> Program:
        """A directory with a checkout, or a tag of this repository, which is unpacked into `directory`."""
        place = directory / "before"
        place.mkdir()
        return cls(before, (sys.executable, "-m", "voice_agent"), {"PYTHONPATH": str(unpacked(before, place) / "app")})


def _path(root: Path) -> str:
    return f"{root / 'app'}{os.pathsep}{root}"


class MixedFleet(Fleet):
    """Two pods of each color, on one server."""

    def __init__(
        self, directory: Path, server: RedisServer, chance: random.Random, programs: dict[str, Program]
    ) -> None:
        super().__init__(directory, None, chance)  # type: ignore[arg-type]  # no Sentinels, no proxies
        self._server = server
        self._programs = programs
        assert set(programs) == set(COLORS)

    async def _connect(self, pod: Pod) -> None:
        program = self._programs[pod.color]
        pod.store_url = self._server.url
        pod.command, pod.environment = (*program.command, "serve"), program.environment

    async def route(self, *colors: str) -> None:
        """Send callers to these colors, and tell the pods so, as a cutover does: else they hand nothing off there."""
        self.routed = frozenset(colors)
        store = open_store(self._server.url, ttl_s=1)
        await store.open()
        try:
            await store.tell_weights({color: 100 * (color in colors) for color in COLORS}, 0)
        finally:
            await store.close()

    async def tool(self, color: str, *arguments: str) -> None:
        """Run an operator's command on the store, of the release that a color is of. Raises `RuntimeError`."""
        program = self._programs[color]
        kept: dict[str, Any] = {key: value for key, value in os.environ.items() if not key.startswith("VOICE_")}
        process = await asyncio.create_subprocess_exec(
            *program.command,
            *arguments,
            "--store",
            self._server.url,
            env={**kept, **program.environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"{' '.join(arguments)} of {program.name} ended with {told.decode()}")
