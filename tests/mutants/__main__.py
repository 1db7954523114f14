"""`python -m tests.mutants`: change one line at a time and see whether a test notices."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from random import Random

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from tests.mutants.baseline import LEFT_OUT, MUTATED, PARTS, Baseline, fingerprint, measure
from tests.mutants.journal import DEAD, Entry, Journal, explained, share_dead
from tests.mutants.mutations import Mutant, mutants_of
from tests.mutants.patching import ROOT
from tests.mutants.trial import Answer, Job

STATE = ROOT / "var" / "mutants"
LEAST_SHARE = 0.95
"""So many of a hundred must die, and each other one be explained."""
NOT_DONE = 3
"""Exit status: time was up before all were tried; the same command goes on."""


def main() -> int:
    """Exit status 0 if enough mutants died and all survivors are explained, 1 if not, 3 if some are left to try."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants",
        description="Change one line of the rules, the runtime, the stores or the edge at a time: a test should fail",
        epilog="example: python -m tests.mutants --sample 300 --seed 7; a run that was stopped goes on where it was",
    )
    parser.add_argument("--sample", type=int, help="try so many, drawn by chance (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="which ones are drawn (default 0)")
    parser.add_argument("--only", default="", help="mutants whose name contains this, as call/input_audio.py")
    parser.add_argument(
        "--by",
        action="append",
        default=[],
        metavar="TESTS",
        help="try these tests (a file, or one test) and no others: quick, while tests are being written; several times",
    )
    parser.add_argument("--minutes", type=float, help="begin nothing new after so long; again: the same command")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    asked = parser.parse_args()
    began_s = time.monotonic()
    until_s = began_s + 60 * asked.minutes if asked.minutes else float("inf")
    STATE.mkdir(parents=True, exist_ok=True)
    chosen = choose(asked.only, asked.sample, asked.seed)
    parts = []
    for part in () if asked.by else PARTS:
        if time.monotonic() > until_s:
            print("not all tests are measured yet; the same command goes on", file=sys.stderr)
            return NOT_DONE
        parts.append(measure(part, STATE, asked.jobs))
    journal = Journal(STATE / "journal.jsonl", fingerprint("tests"))
    entries = Trials(Baseline(parts), journal, asked.jobs, until_s, by=asked.by).run(chosen)
    return _report(chosen, entries, time.monotonic() - began_s, as_json=asked.json)


def choose(only: str, sample: int | None, seed: int) -> list[Mutant]:
    """Mutants by name and by chance, in the order of the code."""
    named = [ROOT / path for path in MUTATED]
    files = [
        file.relative_to(ROOT) for path in named for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])
    ]
    found = [mutant for file in files for mutant in mutants_of(str(file), (ROOT / file).read_bytes())]
    found = [mutant for mutant in found if only in mutant.key]
    if sample is None or sample >= len(found):
        return found
    drawn = set(Random(seed).sample(range(len(found)), sample))
    return [mutant for at, mutant in enumerate(found) if at in drawn]


class Trials:
    """Tries mutants on processes that have the tests ready."""

    def __init__(
        self, baseline: Baseline, journal: Journal, jobs: int, until_s: float, *, by: Sequence[str] = ()
    ) -> None:
        """`by`: the tests to try instead of those that run a mutant's lines."""
        self._by = by
        self._baseline = baseline
        self._journal = journal
        self._jobs = jobs
        self._until_s = until_s
        self._noting = threading.Lock()
        self._own = threading.local()
        self._processes: list[subprocess.Popen[str]] = []

    def run(self, mutants: Sequence[Mutant]) -> list[Entry]:
        """What became of each, of earlier runs too, as far as there was time."""
        known = [self._journal.known(mutant) for mutant in mutants]
        entries = [entry for entry in known if entry is not None]
        new = [mutant for mutant, entry in zip(mutants, known, strict=True) if entry is None]
        columns = (
            TextColumn("mutants"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[alive]} survived"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as progress, ThreadPoolExecutor(self._jobs) as pool:
            alive = sum(entry.outcome not in DEAD for entry in entries)
            bar = progress.add_task("", total=len(mutants), completed=len(entries), alive=alive)
            for done in as_completed([pool.submit(self._try, mutant) for mutant in new]):
                if (entry := done.result()) is not None:
                    entries.append(entry)
                    alive += entry.outcome not in DEAD
                    progress.update(bar, advance=1, alive=alive)
        for process in self._processes:
            process.communicate()
        return entries

    def _try(self, mutant: Mutant) -> Entry | None:
        if time.monotonic() > self._until_s:
            return None
        began_s = time.monotonic()
        tests = self._baseline.tests_of(mutant)
        answer = self._ask(Job(mutant.file, mutant.key, tests)) if tests or self._by else Answer("uncovered")
        seconds = time.monotonic() - began_s
        with self._noting:
            if self._by and answer.outcome not in DEAD:
                return self._journal.entry(mutant, answer.outcome, answer.by, seconds)  # Another test may notice it.
            return self._journal.note(mutant, answer.outcome, answer.by, seconds)

    def _ask(self, job: Job) -> Answer:
        process: subprocess.Popen[str] | None = getattr(self._own, "process", None)
        if process is None:
            process = self._own.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.mutants.trial"),
                    *(self._by or (*(f"--ignore={path}" for path in LEFT_OUT), *PARTS)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
            with self._noting:
                self._processes.append(process)
        assert process.stdin is not None
        assert process.stdout is not None
        print(json.dumps(asdict(job)), file=process.stdin, flush=True)
        return Answer(**json.loads(process.stdout.readline()))


def _report(chosen: Sequence[Mutant], entries: Sequence[Entry], took_s: float, *, as_json: bool) -> int:
    reasons = explained()
    outcomes = Counter(entry.outcome for entry in entries)
    alive = sorted((entry for entry in entries if entry.outcome not in DEAD), key=lambda entry: entry.key)
    unexplained = [entry for entry in alive if entry.key not in reasons]
    left = len(chosen) - len(entries)
    share = share_dead(entries)
    figures = {
        "mutants": len(chosen),
        "left to try": left,
        **{name: outcomes[name] for name in ("killed", "hung", "survived", "uncovered", "untried")},
        "percent that died": round(100 * share, 1),
        "survivors not explained": len(unexplained),
        "seconds of trials": round(sum(entry.seconds for entry in entries)),
        "seconds of this run": round(took_s),
    }
    if as_json:
        survivors = [{"key": entry.key, "outcome": entry.outcome, "why": reasons.get(entry.key)} for entry in alive]
        sys.stdout.buffer.write(orjson.dumps({**figures, "survivors": survivors}) + b"\n")
    else:
        _show(figures, alive, {mutant.key: mutant for mutant in chosen}, reasons)
    if left:
        return NOT_DONE
    return int(share < LEAST_SHARE or bool(unexplained))


def _show(
    figures: dict[str, float], alive: Sequence[Entry], mutants: dict[str, Mutant], reasons: dict[str, str]
) -> None:
    console = Console()
    table = Table("what", "how many", title="One-line changes and the tests")
    table.columns[1].justify = "right"
    for name, value in figures.items():
        table.add_row(name, f"{value:,}")
    console.print(table)
    for entry in alive:
        lines = mutants[entry.key].lines
        why = reasons.get(entry.key, "NOT EXPLAINED")
        text = f"{entry.outcome}, line {lines[0]}: {entry.key} {entry.by}\n    {why}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
