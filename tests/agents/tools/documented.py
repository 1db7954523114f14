"""The examples of docs/tools.md, and its webhook as a process that can be killed."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.agents.tools.test_signing import SECRET
from tests.servers import free_port

LOOK_S = 0.02
DOCUMENT = Path(__file__).parents[3] / "docs" / "tools.md"
EXAMPLE = re.compile(r"^`([\w.]+)`\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def example(name: str) -> str:
    """One of them, by the name of its file."""
    return dict(EXAMPLE.findall(DOCUMENT.read_text(encoding="utf-8")))[name]


def command() -> str:
    """The one that tries a webhook."""
    [found] = COMMAND.findall(DOCUMENT.read_text(encoding="utf-8"))
    return str(found)


@dataclass
class WebhookProcess:
    """`webhook.py` on a port of this machine."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def environment(self) -> dict[str, str]:
        database = str(self.directory / "tables.db")
        return {**os.environ, "WEBHOOK_SECRET": SECRET, "WEBHOOK_DATABASE": database, "WEBHOOK_URL": self.url}

    def start(self) -> None:
        """Returns when it answers."""
        program = [sys.executable, str(self.directory / "webhook.py"), str(self.port)]
        self.process = subprocess.Popen(program, env=self.environment, stderr=subprocess.DEVNULL)
        while not self._answers():
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(LOOK_S)
            assert self.process.returncode is None

    def kill(self) -> None:
        """As the kernel does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def count(self) -> int:
        with closing(sqlite3.connect(self.directory / "tables.db")) as db:
            return int(db.execute("SELECT count(*) FROM booked").fetchone()[0])

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False


@contextmanager
def webhook(directory: Path, *changes: tuple[str, str]) -> Iterator[WebhookProcess]:
    """The example, with some of its lines changed, while it runs."""
    code = example("webhook.py")
    for was, becomes in changes:
        assert was in code, was
        code = code.replace(was, becomes)
    (directory / "webhook.py").write_text(code)
    running = WebhookProcess(directory, free_port())
    try:
        running.start()
        yield running
    finally:
        running.kill()
