"""Which test runs which line, and how long each takes: measured once with no mutant, folder by folder."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.mutants.mutations import Mutant
from tests.mutants.patching import ROOT

MUTATED = (
    "app/voice_agent/call",
    "app/voice_agent/runtime",
    "app/voice_agent/stores",
    "app/voice_agent/client/client_line.py",
    "app/voice_agent/edge/appends.py",
    "app/voice_agent/edge/caller_messages.py",
    "app/voice_agent/edge/event_ids.py",
    "app/voice_agent/edge/pod_event_reader.py",
    "app/voice_agent/edge/pod_events.py",
    "app/voice_agent/edge/pod_frames.py",
    "app/voice_agent/edge/proxied_call.py",
)
"""Folders and files; of the edge what decides."""
PARTS = (
    "tests/call",
    "tests/protocol",
    "tests/agents",
    "tests/runtime",
    "tests/edge",
    "tests/client/test_client_line.py",
    "tests/contracts",
    "tests/stores",
    "tests/host",
    "tests/test_bootstrap.py",
    "tests/mutants/simulated.py",
)
LEFT_OUT = ("tests/runtime/test_cost.py",)
"""Judge by what something costs, and so by what else the machine does."""
MOST_S = 40.0
"""Of the tests that run a line, so many seconds' worth are tried on a mutant: see `Baseline.tests_of`."""
NOT_COLLECTED = ("-W", "ignore::pytest.PytestUnraisableExceptionWarning")
"""What an earlier test left for the garbage collector is no fault of the one in which it runs."""
TIMES = "MUTANTS_TIMES"
"""Names the file in which a run leaves the seconds of its tests."""


class Times:
    """A pytest plugin: leaves how long each test that passed took."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A part of a test is over."""
        self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0.0) + report.duration
        if not report.passed:
            self._failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        """Leave them."""
        passed = {name: s for name, s in self._seconds.items() if name not in self._failed}
        told = {"passed": passed, "failed": sorted(self._failed)}
        Path(os.environ[TIMES]).write_text(json.dumps(told), encoding="utf-8")


def pytest_configure(config: pytest.Config) -> None:
    """As a plugin, this module is told of tests; one of several processes of a run tells nothing by itself."""
    if TIMES in os.environ and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Times())


class Baseline:
    """What a run without mutants showed."""

    def __init__(self, parts: Iterable[dict[str, Any]]) -> None:
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []
        """Tests that were skipped, or that failed without any mutant; they judge none."""
        self._tests: dict[str, dict[int, set[str]]] = {}
        """By file and line."""
        for part in parts:
            self.seconds.update(part["passed"])
            self.failed += part["failed"]
            for file, lines in part["lines"].items():
                known = self._tests.setdefault(file, {})
                for line, names in lines.items():
                    known.setdefault(int(line), set()).update(names)

    def tests_of(self, mutant: Mutant) -> dict[str, float]:
        """The tests that might notice, with their seconds, up to `MOST_S`: the nearest first, of these the quickest.

        What runs a line of an agent's turn are thousands; the one that is about it is in the folder of its name.
        """
        first, last = mutant.lines
        lines = self._tests.get(mutant.file, {})
        names = set().union(*(lines.get(line, ()) for line in range(first, last + 1)))
        if mutant.is_default:
            names = set(self.seconds)  # Wherever one is made, which no line of the class shows.
        chosen: dict[str, float] = {}
        for name in sorted(
            names & self.seconds.keys(), key=lambda name: (_distance(mutant.file, name), self.seconds[name], name)
        ):
            if chosen and sum(chosen.values()) + self.seconds[name] > MOST_S:
                break
            chosen[name] = self.seconds[name]
        return chosen


def _distance(file: str, test: str) -> int:
    """How many folders of a file a test's path lacks: 0 for `tests/call/test_x.py` and `app/voice_agent/call/x.py`."""
    folders = Path(file).parent.parts[2:]
    found = Path(test.partition("::")[0]).parent.parts[1:]
    same = 0
    while same < min(len(folders), len(found)) and folders[same] == found[same]:
        same += 1
    return len(folders) - same


def fingerprint(*paths: str) -> str:
    """Of all that is in these files and folders."""
    found = hashlib.sha256()
    for path in paths:
        at = ROOT / path
        for file in sorted(at.rglob("*")) if at.is_dir() else [at]:
            if file.suffix in {".py", ".lua"}:
                found.update(file.read_bytes())
    return found.hexdigest()[:16]


def measure(part: str, folder: Path, jobs: int) -> dict[str, Any]:
    """What a part of the tests runs; from the last time, if nothing has changed since."""
    kept = folder / f"baseline-{part.replace('/', '-')}-{fingerprint(*MUTATED, part)}.json"
    if not kept.exists():
        with tempfile.TemporaryDirectory() as scratch:
            found = _run(part, Path(scratch), jobs)
        kept.write_text(json.dumps(found), encoding="utf-8")
    measured: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return measured


def _run(part: str, scratch: Path, jobs: int) -> dict[str, Any]:
    """Run the tests with pytest-cov. What it measures is read from its report, so nothing here needs it installed."""
    times, report, data = scratch / "times.json", scratch / "lines.json", scratch / "data"
    covered = sorted({path if (ROOT / path).is_dir() else str(Path(path).parent) for path in MUTATED})
    env = {**os.environ, TIMES: str(times), "COVERAGE_FILE": str(data)}
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "tests.mutants.baseline", "-p", "no:cacheprovider"),
            *("-n", str(jobs), "-m", "not fuzz and not soak and not slow", "--hypothesis-profile", "mutants"),
            *NOT_COLLECTED,
            *(option for folder in covered for option in ("--cov", folder)),
            *("--cov-context", "test", "--cov-report", "", *(f"--ignore={path}" for path in LEFT_OUT), part),
        ],
        cwd=ROOT,
        env=env,
        stdout=sys.stderr,
        check=False,  # Tests that fail are left out.
    )
    subprocess.run(
        [sys.executable, "-m", "coverage", "json", "-q", "--show-contexts", "-o", str(report)],
        cwd=ROOT,
        env=env,
        check=True,
    )
    found: dict[str, Any] = json.loads(times.read_text(encoding="utf-8"))
    files = json.loads(report.read_text(encoding="utf-8"))["files"]
    found["lines"] = {
        file: {
            line: sorted({context.rpartition("|")[0] for context in contexts if context})
            for line, contexts in told["contexts"].items()
        }
        for file, told in files.items()
    }
    return found
