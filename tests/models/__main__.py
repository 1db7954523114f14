"""`python -m tests.models`: trials of pipelines, one after the other, and what came of each."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.models import latency_trial, usage_trial
from tests.models.fault_trial import FaultTrial

TRIALS = {
    "faults": "providers fail in the middle of replies: repeated and missing words, silence",
    "usage": "calls in virtual time whose pods die: their records against what providers have counted",
    "latency": "how soon a first sentence is heard, and how late frames of callers beside are",
}


def main() -> int:
    """Exit status 0 if all have passed, 1 if one has not."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.models",
        description="Pipelines on trial, with doubles in the place of providers.",
        epilog="trials: "
        + "; ".join(f"{name}: {what}" for name, what in TRIALS.items())
        + "  example: python -m tests.models faults --turns 50",
    )
    parser.add_argument("trials", nargs="*", metavar="TRIAL", help="which; all if none is named")
    parser.add_argument("--turns", type=int, default=200, help="of faults and latency (default 200)")
    parser.add_argument("--callers", type=int, default=4, help="at once, of faults and latency (default 4)")
    parser.add_argument("--calls", type=int, default=1000, help="of usage (default 1000)")
    parser.add_argument("--first", type=int, default=1, help="number of the first call of usage (default 1)")
    parser.add_argument("--kills", type=int, default=3, help="of the pods of each call of usage (default 3)")
    parser.add_argument("--seed", type=int, default=1, help="of the faults (default 1)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    asked = parser.parse_args()
    if unknown := [name for name in asked.trials if name not in TRIALS]:
        parser.error(f"no trial {', '.join(unknown)}; there are: {', '.join(TRIALS)}")
    found: dict[str, dict[str, Any]] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for name in asked.trials or TRIALS:
            total = asked.calls if name == "usage" else asked.turns
            task = progress.add_task(name, total=total)
            found[name] = run(name, asked, partial(progress.advance, task))
    if asked.json:
        sys.stdout.buffer.write(orjson.dumps(found) + b"\n")
    else:
        for name, figures in found.items():
            Console().print(name, figures)
    return int(not all(figures["passed"] for figures in found.values()))


def run(name: str, asked: argparse.Namespace, advance: Callable[[], None]) -> dict[str, Any]:
    """One trial's figures."""
    match name:
        case "faults":
            trial = FaultTrial(asked.turns, asked.seed, lambda _: advance())
            return asyncio.run(trial.run(asked.callers)).as_json()
        case "usage":
            numbers = range(asked.first, asked.first + asked.calls)
            return usage_trial.trial(numbers, asked.kills, lambda _: advance()).as_json()
        case _:
            return asyncio.run(latency_trial.trial(asked.turns, asked.callers, lambda _: advance())).as_json()


if __name__ == "__main__":
    sys.exit(main())
