"""Every example of docs/tools.md is run."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.agents.tools.documented import DOCUMENT, command, example, webhook
from tests.agents.tools.test_signing import SECRET
from voice_agent.agents.tools.webhook_settings import WebhookSettings
from voice_agent.kit.agent import Agent
from voice_agent.testing.script import Type
from voice_agent.testing.simulate import survives

COUNTS = """
import os
import sqlite3
print(sqlite3.connect(os.environ["WEBHOOK_DATABASE"]).execute("SELECT count(*) FROM booked").fetchone()[0])
"""
ROOT = Path(__file__).parents[3]


def test_the_function_says_what_the_document_says() -> None:
    """And a pod that dies at any moment changes nothing of it."""
    names: dict[str, Any] = {}
    exec(compile(example("tables.py"), "tables.py", "exec"), names)  # noqa: S102 an example of ours
    made: Callable[[], Agent] = names["Tables"]
    run = survives(made, [Type("a table")], every=3)
    said = "".join(reply.text for reply in run.replies).strip()
    assert said == 'One moment, please. It gave {"table":7}.'
    assert said in DOCUMENT.read_text(encoding="utf-8")
    assert not run.errors
    assert set(names["book_table"].parameters["properties"]) == {"people", "at"}


def test_the_settings_are_settings() -> None:
    """With the secret in a file that is there."""
    [fields] = tomllib.loads(example("tools.toml"))["tools"]
    del fields["secret_file"]
    settings = WebhookSettings.model_validate({**fields, "secret": SECRET})
    assert settings.parameters["properties"]["people"]["type"] == "integer"


def test_the_webhook_keeps_its_promises_with_pytest_and_without(tmp_path: Path) -> None:
    """The class of the document finds nothing wrong, nor does the command."""
    with webhook(tmp_path) as running:
        some = example("test_webhook.py").replace("    url =", "    every = 97\n    url =", 1)
        (tmp_path / "test_webhook.py").write_text(some)
        (tmp_path / "secret").write_text(SECRET + "\n")
        (tmp_path / "count.py").write_text(COUNTS)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**running.environment, "PATH": path, "PYTHONPATH": str(ROOT / "app")}
        pytest_line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", "."]
        how: dict[str, Any] = {
            "cwd": tmp_path,
            "env": environment,
            "capture_output": True,
            "text": True,
            "check": False,
        }
        tried = subprocess.run(pytest_line, **how)  # noqa: PLW1510 it is in `how`
        assert tried.returncode == 0, tried.stdout + tried.stderr
        assert "11 passed" in tried.stdout, tried.stdout
        line = f"{command().strip()} --every 97"
        tried = _run(["/bin/sh", "-c", line], tmp_path, environment)
        assert tried.returncode == 0, tried.stdout + tried.stderr
        assert tried.stdout.count("ok  ") == 11, tried.stdout


def _run(line: list[str], directory: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(line, cwd=directory, env=environment, capture_output=True, text=True, check=False)
