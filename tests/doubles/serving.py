"""A provider on a port: in a thread of its own, for as long as a test needs it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import uvicorn

from tests.doubles.provider import Provider
from tests.servers import free_port
from tests.waiting import LOOK_S, PATIENCE_S


class Served:
    """A provider that can be reached; `stop` and `start` as often as one likes, always on the same port."""

    def __init__(self, provider: Provider, port: int | None = None) -> None:
        self.provider = provider
        self.port = port or free_port()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The base of its API."""
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """Be reachable."""
        listening = socket.create_server(("127.0.0.1", self.port), reuse_port=False)
        config = uvicorn.Config(
            self.provider, lifespan="off", log_level="critical", access_log=False, timeout_graceful_shutdown=0
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listening],), name="provider", daemon=True)
        self._thread.start()
        deadline_s = time.monotonic() + PATIENCE_S
        while not self._server.started:
            if time.monotonic() > deadline_s or not self._thread.is_alive():
                raise RuntimeError("the provider did not start")
            time.sleep(LOOK_S)

    def stop(self) -> None:
        """Be gone, with all that was under way."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = self._server.force_exit = True
            self._thread.join()
            self._server = None


@contextlib.contextmanager
def served(provider: Provider | None = None) -> Iterator[Served]:
    """A provider for the length of a block."""
    found = Served(provider or Provider())
    found.start()
    try:
        yield found
    finally:
        found.stop()
