"""HAProxy as a router, changed at run time through its socket (``deploy/haproxy/haproxy.cfg`` goes with it).

What the configuration must hold: servers called ``<color>-<n>`` in two weighted backends,
`voice_first` (first connects, with a cookie) and `voice_resume` (resumes, without), and a
backend `voice_<color>` for each color with the health checks, reached by the header
``X-Voice-Color`` at any weight.

The weight of a color is that of its servers together; colors with different numbers of
servers still get their percent exactly. A color of weight 0 honours cookies. A color that
a `Routing` does not name is in maintenance in the two weighted backends: its cookies lead
elsewhere, its open calls stay, and the header still reaches it.

Weights set here live in HAProxy's memory; see the configuration for how to keep them over
a reload. Protocol: HAProxy management guide, section 9.3 (unix socket commands).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd

from voice_agent.operate.ports import FULL, RouterError, Routing

WEIGHTED = ("voice_first", "voice_resume")
OF_COLOR = "voice_"
ANSWER_S = 5.0
HIGHEST_WEIGHT = 256
MAINTENANCE = 0x01 | 0x02 | 0x04 | 0x20
"""Bits of `srv_admin_state`: by hand, by the server it tracks, by its configuration, by a name that has no address."""
DRAIN = 0x08 | 0x10
RUNS = frozenset({1, 2})
"""`srv_op_state`: starting, running."""


@dataclass(frozen=True, slots=True)
class Server:
    """One line of ``show servers state``."""

    backend: str
    name: str
    weight: int
    admin_state: int
    op_state: int

    @property
    def color(self) -> str:
        """``blue`` of ``blue-1``."""
        return self.name.rpartition("-")[0]

    @property
    def in_maintenance(self) -> bool:
        """Nobody gets here, cookie or not."""
        return bool(self.admin_state & MAINTENANCE)

    @property
    def is_ready(self) -> bool:
        """Neither in maintenance nor told to take only callers with a cookie."""
        return not self.admin_state & (MAINTENANCE | DRAIN)


class HaproxyRouter:
    """`ports.Router` over HAProxy's runtime API."""

    def __init__(self, address: str) -> None:
        """`address`: a unix socket's path, or ``host:port``. Not looked at until the first question."""
        self._address = address

    @property
    def name(self) -> str:
        """``haproxy at <address>``."""
        return f"haproxy at {self._address}"

    async def read(self) -> Routing:
        """What `voice_first` does; `differing` names `voice_resume` where it does something else."""
        found = [self._percents(backend, await self._servers(backend)) for backend in WEIGHTED]
        differing = tuple(
            backend for backend, weights in zip(WEIGHTED, found, strict=True) if dict(weights) != dict(found[0])
        )
        return Routing(found[0], differing)

    async def changes(self, routing: Routing) -> Sequence[str]:
        """The commands that `write` would give."""
        return [command for backend in WEIGHTED for command in self._commands(await self._servers(backend), routing)]

    async def write(self, routing: Routing) -> None:
        """Give the commands one after the other, then read back: whoever gets more goes first, so somebody is there."""
        for command in await self.changes(routing):
            await self._tell(command)
        left = await self.changes(routing)
        if left:
            raise RouterError(f"{self.name} took the change but does not show it: {left[0]}", retryable=True)

    async def healthy_targets(self, color: str) -> int | None:
        """Servers of ``voice_<color>`` whose health check passes."""
        servers = await self._servers(OF_COLOR + color)
        return sum(server.op_state in RUNS and not server.in_maintenance for server in servers)

    async def retire(self, color: str) -> Sequence[str]:
        """Put its servers into maintenance in the weighted backends, which `Routing.alone` of the other did already.

        Its own backend stays, so that the next version's smoke call finds it. Stopping its pods is up to whoever
        started them.
        """
        done = []
        for backend in WEIGHTED:
            servers = await self._servers(backend)
            if all(server.color == color or server.in_maintenance or not server.weight for server in servers):
                raise RouterError(f"{self.name}: {color} is the only color in {backend} that takes calls")
            for server in (one for one in servers if one.color == color and not one.in_maintenance):
                await self._tell(_maintenance(server))
                done.append(_maintenance(server))
        return [*done, f"{color} gets no calls from {self.name}; its pods may be stopped now"]

    async def spare(self, server: str) -> None:
        """Send no first connect without a cookie to one server, until the next `write`; what it has stays."""
        await self._tell(f"set server {WEIGHTED[0]}/{server} state drain")

    # --- weights ------------------------------------------------------------------------

    def _percents(self, backend: str, servers: Sequence[Server]) -> dict[str, int]:
        """Percent by color; a color whose servers are all in maintenance is not in it."""
        weights: dict[str, int] = {}
        for server in servers:
            if not server.in_maintenance:
                weights[server.color] = weights.get(server.color, 0) + server.weight
        total = sum(weights.values())
        if not total:
            raise RouterError(f"{self.name}: no server of {backend} gets new calls: all have weight 0 or are in maint")
        return _of_hundred(weights, total)

    def _commands(self, servers: Sequence[Server], routing: Routing) -> list[str]:
        counts = {color: sum(server.color == color for server in servers) for color in routing.weights}
        if missing := [color for color, count in counts.items() if not count]:
            raise RouterError(
                f"{self.name}: {servers[0].backend} has no server of {missing[0]} (they are called {missing[0]}-1, …)"
            )
        wanted = server_weights(routing.weights, counts)
        more: list[str] = []
        less: list[str] = []
        for server in servers:
            weight = wanted.get(server.color)
            if weight is None:
                less += [] if server.in_maintenance else [_maintenance(server)]
                continue
            target = more if weight > (server.weight if server.is_ready else 0) else less
            where = f"set server {server.backend}/{server.name}"
            if server.weight != weight:
                target.append(f"{where} weight {weight}")
            if not server.is_ready:
                target.append(f"{where} state ready")
        return more + less

    # --- the socket ---------------------------------------------------------------------

    async def _servers(self, backend: str) -> list[Server]:
        """All servers of a backend. Raises `RouterError` when there is no such backend, or nobody in it."""
        said = await self._ask(f"show servers state {backend}")
        lines = [line for line in said.splitlines() if line.strip()]
        header = next((line for line in lines if line.startswith("# ")), None)
        if header is None:
            raise RouterError(
                f"{self.name} has no backend {backend} (see deploy/haproxy/haproxy.cfg): {said.strip() or 'silence'}"
            )
        names = header.removeprefix("# ").split()
        rows = [dict(zip(names, line.split(), strict=False)) for line in lines[lines.index(header) + 1 :]]
        try:
            servers = [_server(row) for row in rows]
        except (KeyError, ValueError) as error:
            raise RouterError(f"{self.name} shows its servers in an unknown format ({error})") from error
        if not servers:
            raise RouterError(f"{self.name}: backend {backend} has no server")
        return servers

    async def _tell(self, command: str) -> None:
        """Give a command that is answered with silence when it is done."""
        if said := (await self._ask(command)).strip():
            raise RouterError(f"{self.name} refused {command!r}: {said}")

    async def _ask(self, command: str) -> str:
        """One command on a connection of its own; HAProxy closes after the answer."""
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await self._connect()
                try:
                    writer.write(command.encode() + b"\n")
                    answer = await reader.read()
                finally:
                    writer.close()
                    with contextlib.suppress(OSError):
                        await writer.wait_closed()
        except TimeoutError:
            raise RouterError(f"{self.name} did not answer within {ANSWER_S:g} s", retryable=True) from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise RouterError(
                f"{self.name} cannot be reached ({reason}): is it running, and may this user write to its socket?",
                retryable=True,
            ) from error
        if answer.startswith(b"Permission denied"):
            raise RouterError(f"{self.name} lets nobody change it: its `stats socket` needs `level admin`")
        return answer.decode(errors="replace")

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, colon, port = self._address.rpartition(":")
        if colon and "/" not in self._address:
            if not port.isascii() or not port.isdecimal():
                raise RouterError(f"{self._address!r} is neither a socket's path nor host:port")
            return await asyncio.open_connection(host.strip("[]"), int(port))
        return await asyncio.open_unix_connection(self._address)


def server_weights(percents: Mapping[str, int], counts: Mapping[str, int]) -> dict[str, int]:
    """The weight of each server of a color, so that colors get their percents however many servers they have.

    As small as can be, for HAProxy splits exactly only over as many calls as all weights add up to;
    rounded, but never to 0, where that is beyond what it takes.
    """
    everybody = 1
    for count in counts.values():
        everybody = everybody * count // gcd(everybody, count)
    exact = {color: percent * everybody // counts[color] for color, percent in percents.items()}
    divisor = gcd(*exact.values())
    shared = {color: weight // divisor for color, weight in exact.items()}
    highest = max(shared.values())
    if highest <= HIGHEST_WEIGHT:
        return shared
    return {
        color: max(1, round(weight * HIGHEST_WEIGHT / highest)) if weight else 0 for color, weight in shared.items()
    }


def _of_hundred(weights: Mapping[str, int], total: int) -> dict[str, int]:
    """Percents, half up; what rounding adds or takes is the largest color's, and nobody is rounded to or from 0."""
    percents = {
        color: min(FULL - 1, max(1, (weight * 2 * FULL + total) // (2 * total)))
        if 0 < weight < total
        else (FULL if weight else 0)
        for color, weight in weights.items()
    }
    largest = max(percents, key=lambda color: percents[color])
    percents[largest] += FULL - sum(percents.values())
    return percents


def _server(row: Mapping[str, str]) -> Server:
    return Server(
        row["be_name"],
        row["srv_name"],
        weight=int(row["srv_uweight"]),
        admin_state=int(row["srv_admin_state"]),
        op_state=int(row["srv_op_state"]),
    )


def _maintenance(server: Server) -> str:
    return f"set server {server.backend}/{server.name} state maint"
