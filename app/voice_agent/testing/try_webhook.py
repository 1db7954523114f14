"""A webhook in any language, tried from the command line.

::

    python -m voice_agent.testing.try_webhook https://tables.test/book --secret-file secret --count ./count.sh

``--count`` is a command that prints how many effects there have been.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import subprocess
import sys
from pathlib import Path

from voice_agent.testing.webhook_contract import WebhookContract


class CommandContract(WebhookContract):
    """With what the command line says."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.url = options.url
        self.verify_url = options.verify_url
        self.secret = options.secret_file.read_text(encoding="utf-8").strip()
        self.tool = options.tool
        self.arguments = json.loads(options.arguments)  # type: ignore[misc]  # of this one instance
        self.every = options.every
        self._count = options.count
        self._restart = options.restart

    def count(self) -> int:
        """What the command prints."""
        return int(_run(self._count))

    def restart(self) -> None:
        """What the command does."""
        if self._restart:
            _run(self._restart)


def _run(command: str) -> str:
    # It is the author's own command line, in their own shell.
    return subprocess.run(command, shell=True, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S602


def main() -> int:
    """Print each promise, and whether it is kept; 1 where one is not."""
    parser = argparse.ArgumentParser(prog="python -m voice_agent.testing.try_webhook", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--secret-file", type=Path, required=True, help="holds whsec_…")
    parser.add_argument("--count", required=True, help="a command that prints how many effects there have been")
    parser.add_argument("--verify-url")
    parser.add_argument("--tool", default="trial")
    parser.add_argument("--arguments", default="{}", help="JSON")
    parser.add_argument("--restart", help="a command that kills the webhook and returns when it answers again")
    parser.add_argument("--every", type=int, default=1, help="break connections at every so-manieth byte")
    contract = CommandContract(parser.parse_args())
    broken = 0
    for name, trial in inspect.getmembers(contract, inspect.iscoroutinefunction):
        if name.startswith("test_"):
            error = _error_of(trial)
            broken += error is not None
            told = f"{'ok    ' if error is None else 'BROKEN'}  {name[5:].replace('_', ' ')}{error or ''}"
            sys.stdout.write(f"{told}\n")
            sys.stdout.flush()
    return 1 if broken else 0


def _error_of(trial: object) -> str | None:
    try:
        asyncio.run(trial())  # type: ignore[operator]  # a coroutine function, as `getmembers` found
    except Exception as error:  # noqa: BLE001 whatever it is, it is told of the promise that it broke
        return f"\n        {str(error) or type(error).__name__}"
    return None


if __name__ == "__main__":
    sys.exit(main())
