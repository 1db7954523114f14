"""What is forked is a process as one that was started from nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests import forked
from tests.servers import free_port
from tests.waiting import PATIENCE_S, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked")


def begin(log: Path, *arguments: str, **variables: str) -> forked.ForkedProcess:
    """A command of `voice-agent` that writes to a file."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VOICE_")}
    with log.open("wb") as output:
        one = forked.start(arguments, kept | variables, output)
    assert isinstance(one, forked.ForkedProcess)
    return one


def test_it_has_its_own_arguments_environment_and_output_and_its_status_is_told(tmp_path: Path) -> None:
    """Each time anew, from one that only waits to be asked."""
    wrong = begin(tmp_path / "wrong", "serve", VOICE_PORT="70000")
    version = begin(tmp_path / "version", "--version")
    assert (wrong.wait(PATIENCE_S), version.wait(PATIENCE_S)) == (2, 0)
    assert "VOICE_PORT: 70000 is too large" in (tmp_path / "wrong").read_text()
    assert (tmp_path / "version").read_text().startswith("voice-agent ")
    assert (wrong.poll(), wrong.wait()) == (2, 2)
    wrong.kill()


async def test_it_is_stopped_and_killed_while_others_wait_for_it(tmp_path: Path) -> None:
    """Its session is its own; SIGTERM lets a pod leave with 0, and a wait that lasts too long is told as ever."""
    log = tmp_path / "log"
    store = {"VOICE_STORE_URL": "memory://", "VOICE_AGENT": "echo"}
    leaves = begin(log, "serve", VOICE_PORT=str(free_port()), **store)
    killed = begin(tmp_path / "other", "serve", VOICE_PORT=str(free_port()), **store)
    assert os.getsid(leaves.pid) == leaves.pid != os.getsid(0)
    found: list[int] = []
    waiting = threading.Thread(target=lambda: found.append(killed.wait(PATIENCE_S)))
    waiting.start()
    with pytest.raises(subprocess.TimeoutExpired):
        killed.wait(0)
    await until(lambda: "takes calls at" in log.read_text())
    assert (leaves.poll(), killed.poll()) == (None, None)
    leaves.terminate()
    killed.kill()
    waiting.join()
    assert (leaves.wait(PATIENCE_S), found) == (0, [-signal.SIGKILL])
