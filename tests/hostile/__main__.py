"""`python -m tests.hostile`: hostile callers beside talking ones, one mode after the other, and a verdict of each."""

from __future__ import annotations

import argparse
import sys

import orjson
import uvloop
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from loadtest.outcome import LAG_LIMIT_MS
from tests.hostile.modes import MODES
from tests.hostile.run import Plan, run_mode
from tests.hostile.verdict import Verdict


def main() -> int:
    """Exit status 0 if nobody but the hostile callers noticed anything, 1 if somebody did."""
    usual = Plan()
    parser = argparse.ArgumentParser(
        prog="python -m tests.hostile",
        description="Let hostile callers loose on a real pod, or an edge, beside 20 callers who talk.",
        epilog="modes: "
        + "; ".join(f"{mode.name}: {mode.what}" for mode in MODES.values())
        + "  example: python -m tests.hostile ping half-messages --seconds 10 --callers 10",
    )
    parser.add_argument("modes", nargs="*", metavar="MODE", help="which; all if none is named")
    parser.add_argument("--seconds", type=float, default=usual.seconds, help="of each mode (default 60)")
    parser.add_argument("--callers", type=int, default=usual.callers, help="hostile ones at once (default 1)")
    parser.add_argument("--talkers", type=int, default=usual.talkers, help="callers who talk (default 20)")
    parser.add_argument("--edge", action="store_true", help="with an edge in front, which is what is looked at")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    asked = parser.parse_args()
    if unknown := [name for name in asked.modes if name not in MODES]:
        parser.error(f"no mode {', '.join(unknown)}; there are: {', '.join(MODES)}")
    plan = Plan(asked.seconds, asked.talkers, asked.callers, asked.edge)
    verdicts: list[Verdict] = []
    console = Console(stderr=True)
    with Live(console=console, refresh_per_second=2) as live:
        for name in asked.modes or MODES:
            live.update(table([*verdicts, Verdict(name, plan.callers, plan.seconds, 0.0, 0.0)]))
            verdicts.append(
                uvloop.run(run_mode(MODES[name], plan, lambda so_far: live.update(table([*verdicts, so_far]))))
            )
        live.update("")
    if asked.json:
        sys.stdout.buffer.write(orjson.dumps([verdict.as_json() for verdict in verdicts]) + b"\n")
    else:
        Console().print(table(verdicts))
    for verdict in verdicts:
        _explain(verdict, console)
    return int(not all(verdict.passed for verdict in verdicts))


def table(verdicts: list[Verdict]) -> Table:
    """One line a mode."""
    shown = Table(
        "mode", "p99 ms", "alone", "lost", "RSS +MiB", "of", "after", "store +MiB", "live ms", "they got", "passed"
    )
    shown.columns[0].no_wrap = True
    for column in shown.columns[1:9]:
        column.justify = "right"
    for it in verdicts:
        told = [f"{name} ×{count}" for name, count in it.got.items() if name != "tries"]
        counted = [f"[{name} {count}]" for name, count in it.limits.items()]
        shown.add_row(
            it.mode,
            f"{it.p99_ms:g}",
            f"{it.alone.percentile_s(99) * 1000:.1f}",
            str(it.lost),
            f"{it.growth_mib:g}",
            f"{it.budget_mib:g}",
            f"{it.rss_after_mib - it.rss_before_mib:+.0f}",
            f"{it.store_most_mib - it.store_before_mib:g}",
            f"{it.dead.longest_s * 1000:.0f}",
            Text(", ".join(told + counted)),
            "yes" if it.passed else "no",
        )
    return shown


def _explain(verdict: Verdict, console: Console) -> None:
    for failure in verdict.failures:
        console.print(f"{verdict.mode}: {failure}", markup=False)
    if (late_ms := verdict.lag.percentile_s(99) * 1000) > LAG_LIMIT_MS:
        console.print(f"{verdict.mode}: the machine is busy, the talking callers were {late_ms:.0f} ms late themselves")
    if verdict.failures:
        for name, example in verdict.examples.items():
            console.print(f"  {name}: {example}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
