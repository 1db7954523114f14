"""The socket that a pod listens on, without what serves it: a port that is taken is known at once."""

from __future__ import annotations

import errno
import socket

from voice_agent.errors import SettingsError


def bind_shared(host: str, port: int, count: int) -> list[socket.socket]:
    """As many sockets on one address, over which the kernel spreads connections. Raises `SettingsError`."""
    # Other programs may share a port in the same way: this finds out whether one does.
    bind(host, port).close()
    return [bind(host, port, shared=True) for _ in range(count)]


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A bound socket that does not listen yet; raises `SettingsError` when the address cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SettingsError(f"cannot listen on {host}: {error.strerror}.") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        free = port + 1 if port < 65535 else port - 1
        another = f"; try --port {free}" if error.errno == errno.EADDRINUSE else ""
        raise SettingsError(f"cannot listen on {host} port {port}: {error.strerror}{another}.") from error
    return bound
