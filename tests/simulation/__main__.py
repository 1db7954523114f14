"""`python -m tests.simulation`: run many seeds on all cores, or one again."""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from functools import partial

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from tests.simulation.schedule import EDGE_EACH, Kind, draw
from tests.simulation.search import Tally, play, report, search

SHARE = 250
SHOWN = 3
REPLAYED = ("replayed", "replayed inputs", "replayed events")


def main() -> int:
    """Exit status 0 if every promise was kept in every run."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation",
        description="Drive pods, callers and a faulty store through random schedules and check every promise.",
        epilog="example: python -m tests.simulation --schedules 100000 --first 1",
    )
    parser.add_argument("--schedules", type=int, default=10_000, help="how many seeds to run (default 10000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--seed", type=int, help="run this seed alone and print its trace")
    parser.add_argument("--mixed", action="store_true", help="pods of neighbouring releases in every schedule")
    parser.add_argument(
        "--edge",
        type=float,
        default=1 / EDGE_EACH,
        metavar="SHARE",
        help="of the schedules, so many have plain callers behind an edge (default 1/3)",
    )
    parser.add_argument("--asks", action="store_true", help="agents that ask a provider in every schedule")
    parser.add_argument("--replay", action="store_true", help="record all inputs, and replay them to the same events")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: as many as cores)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    asked = parser.parse_args()
    kind = Kind(is_mixed=asked.mixed or None, edge=asked.edge, asks=asked.asks or None)
    if asked.seed is not None:
        schedule = draw(asked.seed, kind)
        outcome = play(schedule)
        print(schedule, *outcome.trace, outcome.broken or "every promise was kept", sep="\n")
        return int(outcome.broken is not None)
    began_s = time.monotonic()
    seeds = range(asked.first, asked.first + asked.schedules)
    tally = _search(seeds, asked.jobs, kind, replays=asked.replay)
    _show(tally, time.monotonic() - began_s, as_json=asked.json, kind=kind)
    return int(bool(tally.broken))


def _search(seeds: range, jobs: int, kind: Kind, *, replays: bool) -> Tally:
    total = Tally()
    shares = [seeds[at : at + SHARE] for at in range(0, len(seeds), SHARE)]
    columns = (
        TextColumn("simulating"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[broken]} broken"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress, ProcessPoolExecutor(jobs) as pool:
        bar = progress.add_task("", total=len(seeds), broken=0)
        play_all = partial(search, kind=kind, replays=replays)
        running: list[Future[Tally]] = [pool.submit(play_all, share) for share in shares]
        for done in as_completed(running):
            share = done.result()
            total.add(share)
            for seed in share.broken:
                progress.console.print(f"seed {seed} breaks a promise; --seed {seed} shows it")
            progress.update(bar, completed=total.runs, broken=len(total.broken))
    return total


def _show(tally: Tally, took_s: float, *, as_json: bool, kind: Kind) -> None:
    counts = tally.counts
    figures = {
        "schedules": tally.runs,
        "broken": len(tally.broken),
        "faults": tally.faults,
        "calls": counts["done"] + counts["forgotten"],
        "calls of which the store lost what nobody else had": counts["forgotten"],
        "resumes": counts["resumes"],
        "resumes by edges": counts["edge resumes"],
        "take-overs between releases": counts["between releases"],
        "events sent": counts["events"],
        "writes refused by fencing": counts["superseded"],
        "turns between two waits": tally.turns,
        "simulated hours": round(tally.virtual_s / 3600, 1),
        "seconds": round(took_s, 1),
    }
    if counts["replayed"]:
        figures |= {f"{name} from recordings": counts[name] for name in REPLAYED}
    if as_json:
        kinds = {name.removeprefix("fault "): n for name, n in counts.items() if name.startswith("fault ")}
        sys.stdout.buffer.write(orjson.dumps({**figures, "kinds": kinds, "seeds": sorted(tally.broken)}) + b"\n")
        return
    console = Console()
    table = Table("what", "how many", title="The continuity contract under random schedules")
    table.columns[1].justify = "right"
    for name, value in figures.items():
        table.add_row(name, f"{value:,}")
    for name, count in sorted(counts.items()):
        if name.startswith("fault "):
            table.add_row(name, f"{count:,}", style="dim")
    console.print(table)
    for seed in sorted(tally.broken)[:SHOWN]:
        console.print(report(seed, kind), markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
