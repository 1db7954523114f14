"""Ports to listen on."""

from __future__ import annotations

import random
import socket

PORTS = range(20_000, 32_000)
"""Below the ports that the kernel gives to whoever connects."""


def free_port() -> int:
    """A loopback port that nobody listens on; by chance, for several runs may look at once."""
    for port in random.sample(PORTS, len(PORTS)):  # no secret
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no port of {PORTS.start}-{PORTS.stop - 1} is free")
