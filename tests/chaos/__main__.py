"""`python -m tests.chaos`: break a real fleet for some minutes, and check what its callers got."""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable
from typing import Any

import orjson
import uvloop
from rich.console import Console
from rich.live import Live
from rich.table import Table

from tests.chaos.edge_run import EdgePlan, EdgeVerdict, chaos_over_edges
from tests.chaos.run import Plan, Verdict, chaos


def main() -> int:
    """Exit status 0 if nothing was lost, repeated or changed."""
    usual = Plan()
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Kill, stop, drain and cut off real pods on a replicated store while callers talk.",
        epilog="examples: python -m tests.chaos --seconds 240 --faults 200 --callers 32 --seed 1; "
        "python -m tests.chaos --edges 2 --callers 100 --faults 200",
    )
    parser.add_argument(
        "--edges", type=int, default=0, help="callers who cannot resume, over so many edges (default 0)"
    )
    parser.add_argument("--storm", action="store_true", help="over edges: half of the pods die at once, nothing else")
    parser.add_argument("--seconds", type=float, default=usual.seconds, help="at least so long (default 240)")
    parser.add_argument("--faults", type=int, default=usual.faults, help="at least so many (default 200)")
    parser.add_argument("--callers", type=int, help="calls at once (default 32; over edges 100)")
    parser.add_argument("--failovers", type=int, default=usual.failovers, help="masters to kill (default 2)")
    parser.add_argument("--outage", type=float, default=usual.outage_s, help="seconds without any store (default 30)")
    parser.add_argument("--seed", type=int, help="repeat the choices of a run (its timing differs all the same)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if asked.seed is None else asked.seed
    console = Console(stderr=True)
    with Live(console=console, refresh_per_second=2) as live:
        verdict = _run(asked, seed, lambda so_far: live.update(_table(so_far)))
        live.update("")
    if asked.json:
        told = {**verdict.figures, "seed": seed, "clean": verdict.is_clean, "by kind": verdict.faults}
        sys.stdout.buffer.write(orjson.dumps(told) + b"\n")
    else:
        Console().print(_table(verdict))
    if not verdict.is_clean:
        _explain(verdict, console)
    return int(not verdict.is_clean)


def _run(asked: argparse.Namespace, seed: int, on_progress: Callable[[Any], None]) -> Verdict | EdgeVerdict:
    if asked.edges:
        over = EdgePlan(asked.edges, asked.callers or EdgePlan().callers, asked.faults, seed, asked.storm)
        return uvloop.run(chaos_over_edges(over, on_progress=on_progress))
    plan = Plan(asked.seconds, asked.faults, asked.callers or Plan().callers, seed, asked.failovers, asked.outage)
    return uvloop.run(chaos(plan, on_progress=on_progress))


def _table(verdict: Verdict | EdgeVerdict) -> Table:
    table = Table("what", "how many", title=f"Chaos, seed {verdict.plan.seed}")
    table.columns[1].justify = "right"
    for kind, count in sorted(verdict.faults.items()):
        table.add_row(kind, f"{count:,}", style="dim")
    table.add_section()
    for name, figure in verdict.figures.items():
        table.add_row(name, figure if isinstance(figure, str) else f"{figure:,}")
    return table


def _explain(verdict: Verdict | EdgeVerdict, console: Console) -> None:
    console.print(*verdict.bad_callers, *verdict.complaints[:20], sep="\n", markup=False)
    console.print("what was done:", *map(str, verdict.history[-60:]), sep="\n", markup=False)


if __name__ == "__main__":
    sys.exit(main())
