"""`python -m tests.upgrade`: two releases on one Redis, under talk."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys

import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.upgrade.run import Plan, Verdict, upgrade


def main() -> int:
    """Exit status 0 if nothing was lost or repeated."""
    usual = Plan()
    parser = argparse.ArgumentParser(
        prog="python -m tests.upgrade",
        description="Take the release before and this one through kills, drains, cutovers and rollbacks on one Redis.",
        epilog="example: python -m tests.upgrade --before v1.4.0 --seconds 300 --seed 1",
    )
    parser.add_argument("--before", default="", metavar="DIR|TAG", help="a checkout (default: this one, with less)")
    parser.add_argument("--after", action="store_true", help="instead: this release and the one after, this with more")
    parser.add_argument("--seconds", type=float, default=usual.seconds, help="begin rounds for so long (default 120)")
    parser.add_argument("--callers", type=int, default=usual.callers, help="calls at once (default 12)")
    parser.add_argument("--seed", type=int, help="repeat the choices of a run (its timing differs all the same)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if asked.seed is None else asked.seed
    if asked.after and asked.before:
        parser.error("--after is no release of the history: give it or --before")
    plan = Plan(asked.before, asked.after, seconds=asked.seconds, callers=asked.callers, seed=seed)
    console = Console(stderr=True)
    columns = (TextColumn("upgrading"), BarColumn(), TextColumn("{task.fields[part]}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=plan.seconds, part="starting a Redis and four pods")

        def show(so_far: Verdict) -> None:
            progress.update(bar, completed=min(so_far.took_s, plan.seconds), part=so_far.part)

        verdict = asyncio.run(upgrade(plan, on_progress=show))
    _tell(verdict, console, as_json=asked.json)
    return int(not verdict.is_clean)


def _tell(verdict: Verdict, console: Console, *, as_json: bool) -> None:
    if as_json:
        told = {**verdict.figures, "seed": verdict.plan.seed, "clean": verdict.is_clean}
        sys.stdout.buffer.write(orjson.dumps(told) + b"\n")
    else:
        table = Table("what", "how many", title=f"Two releases on one Redis, seed {verdict.plan.seed}")
        table.columns[1].justify = "right"
        for name, figure in verdict.figures.items():
            table.add_row(name, f"{figure:,}")
        Console().print(table)
    console.print(*verdict.bad_callers, *verdict.complaints[:20], sep="\n", markup=False)


if __name__ == "__main__":
    sys.exit(main())
