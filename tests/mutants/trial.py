"""A process that has collected the tests once and forks for each mutant: no test waits for imports.

Jobs come as lines of JSON on standard input, answers go out so on standard output. What is changed is changed in the
memory of the fork; no file is. A fork ends with the first test that fails, or that takes far longer than it
used to.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import resource
import select
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import pytest

from tests.mutants.baseline import NOT_COLLECTED
from tests.mutants.mutations import mutants_of
from tests.mutants.patching import ROOT, module_of, patch

GRACE_S = 5.0
GRACE = 20
"""How much longer a test may take than it did, and by which factor: the machine may be busy."""
MEMORY_BYTES = 4 * 1024**3
"""What stops a mutant that collects things for ever."""


@dataclass(frozen=True, slots=True)
class Job:
    """A mutant, and the tests to try on it in this order, with the seconds they take; none: all that were collected."""

    file: str
    key: str
    tests: dict[str, float]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a mutant. `by`: the test that failed or hung; for what could not be tried, why."""

    outcome: str
    """killed, hung, survived, or untried."""
    by: str = ""


class Forks:
    """A pytest plugin: forks in place of the run, and in each fork lets the run go on with the tests of a job."""

    def __init__(self, jobs: TextIO, answers: TextIO) -> None:
        self._jobs = jobs
        self._answers = answers
        self._told: TextIO | None = None
        """Where a fork tells which tests it begins and which failed."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Answer jobs until there are no more; None in a fork, whose tests pytest then runs."""
        items = {item.nodeid: item for item in session.items}
        gc.collect()
        gc.freeze()
        for line in self._jobs:
            job = Job(**json.loads(line))
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(reader)
                self._told = os.fdopen(writer, "w", buffering=1)
                self._become(job)
                if job.tests:
                    session.items[:] = [items[name] for name in job.tests if name in items]
                session.config.option.maxfail = 1
                return None
            os.close(writer)
            try:
                answer = _watch(child, reader, job)
            finally:
                os.close(reader)
            print(json.dumps(asdict(answer)), file=self._answers, flush=True)
        return True

    def _become(self, job: Job) -> None:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        source = (ROOT / job.file).read_bytes()
        mutant = next(mutant for mutant in mutants_of(job.file, source) if mutant.key == job.key)
        try:
            is_changed = bool(patch(job.file, mutant.apply(source)))
            why = "no function of the module does anything else"
        except Exception as error:  # noqa: BLE001 - a module may refuse to be loaded in any way
            is_changed, why = False, f"{type(error).__name__}: {error}"
        if not is_changed:
            self._tell("untried", why)
            os._exit(0)

    def _tell(self, what: str, name: str) -> None:
        if self._told is not None:
            print(what, name.replace("\n", " "), file=self._told)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins."""
        self._tell("begins", nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A part of a test is over."""
        if report.failed:
            self._tell("killed", report.nodeid)

    def pytest_sessionfinish(self) -> None:
        """All tests of the fork have been run."""
        self._tell("over", "")


def _watch(child: int, told: int, job: Job) -> Answer:
    """Wait for a fork, not for ever; then let nothing of it live on."""
    answer: Answer | None = None
    try:
        for what, name in _lines(told, job):
            if what in {"killed", "untried", "hung"}:
                answer = answer or Answer(what, name)
            elif what == "over":
                answer = answer or Answer("survived")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return answer or Answer("killed", "the process of the tests ended")


def _lines(told: int, job: Job) -> Iterator[tuple[str, str]]:
    """What the fork tells; and last, if it takes too long, that it hangs."""
    name = ""
    pending = b""
    limit_s = GRACE_S
    while True:
        ready, _, _ = select.select([told], [], [], limit_s)
        if not ready:
            yield "hung", name
            return
        read = os.read(told, 1 << 16)
        if not read:
            return
        *whole, pending = (pending + read).split(b"\n")
        for line in whole:
            what, _, name = line.decode().partition(" ")
            limit_s = GRACE_S + GRACE * job.tests.get(name, 0.0)
            yield what, name


def _leave(number: int, frame: object) -> None:
    """Not without the fork under way, which is in a session of its own, and what its tests have started."""
    sys.exit(128 + number)


def main(tests: list[str]) -> int:
    """Collect, then serve jobs. The streams are put aside: tests may print."""
    signal.signal(signal.SIGTERM, _leave)
    jobs = os.fdopen(os.dup(0), "r")
    answers = os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(nothing, stream)
    for folder in ("call", "runtime", "stores"):
        for path in sorted((ROOT / "app" / "voice_agent" / folder).rglob("*.py")):
            importlib.import_module(module_of(str(path.relative_to(ROOT))))
    options = ["-q", "-n", "0", "-p", "no:cacheprovider", "--timeout", "0", "--hypothesis-profile", "mutants"]
    options += NOT_COLLECTED
    plugins: list[Any] = [Forks(jobs, answers)]
    return int(pytest.main([*options, "-o", "addopts=--import-mode=importlib", *tests], plugins=plugins))


if __name__ == "__main__":
    os.chdir(Path(ROOT))
    sys.exit(main(sys.argv[1:]))
