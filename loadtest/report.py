"""A run as one HTML page: the verdict, the figures, and how latency, CPU, calls and commits went."""

from __future__ import annotations

import io
from collections.abc import Callable
from html import escape
from pathlib import Path

from loadtest.outcome import Outcome

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;text-align:left}"
    ".passed{color:#18794e}.failed{color:#b42318}svg{max-width:100%;height:auto}"
)


def write(outcome: Outcome, path: Path) -> None:
    """Write the page. Raises `OSError`."""
    word = "passed" if outcome.passed else "failed"
    checks = "".join(
        f"<tr><td>{'✓' if check.holds else '✗'}</td><td>{escape(str(check))}</td></tr>" for check in outcome.checks
    )
    times = "".join(
        f"<tr><td>{escape(name)}</td>" + "".join(f"<td>{value}</td>" for value in told.values()) + "</tr>"
        for name, told in outcome.as_json()["times"].items()
    )
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Load test: {outcome.profile}</title>"
        f"<style>{STYLE}</style><h1>Load test: {outcome.profile}</h1><p class={word}>{escape(outcome.verdict)}</p>"
        f"{'' if outcome.kept_time else '<p>The generator was late itself: latencies do not count.</p>'}"
        f"<h2>Limits</h2><table>{checks}</table>"
        f"<h2>Times, ms</h2><table><tr><th></th><th>count</th><th>p50</th><th>p95</th><th>p99</th><th>max</th></tr>"
        f"{times}</table>{''.join(_plots(outcome))}</html>"
    )
    path.write_text(page, encoding="utf-8")


def _plots(outcome: Outcome) -> list[str]:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    mpl.use("svg")

    def plot(title: str, draw: Callable[[Axes], None]) -> str:
        figure = Figure(figsize=(9, 2.8), layout="constrained")
        draw(figure.add_subplot())
        found = io.StringIO()
        figure.savefig(found, format="svg")
        svg = found.getvalue()
        return f"<h2>{title}</h2>{svg[svg.index('<svg') :]}"

    def latency(axes: Axes) -> None:
        seen = outcome.findings
        for name, found in (("echo", seen.echo), ("resume, first event", seen.first_event), ("break", seen.break_s)):
            if points := found.spread():
                axes.step([ms for ms, _ in points], [share for _, share in points], where="post", label=name)
        axes.set_xscale("log")
        axes.set_xlabel("ms")
        axes.set_ylabel("% took at most")
        axes.legend(frameon=False)

    moments = outcome.timeline.moments
    at_s = [moment.at_s for moment in moments]

    def cpu(axes: Axes) -> None:
        for name in ("server", "store", "generator"):
            axes.plot(at_s, [100 * getattr(moment, name) for moment in moments], label=name)
        axes.set_ylabel("% of a core")
        axes.set_xlabel("s")
        axes.legend(frameon=False)

    def active(axes: Axes) -> None:
        axes.step(at_s, [moment.active_calls for moment in moments], where="post")
        axes.set_ylabel("active calls")
        axes.set_xlabel("s")

    def commits(axes: Axes) -> None:
        for name, label in (("commit_p50_ms", "p50"), ("commit_p99_ms", "p99")):
            axes.step(at_s, [getattr(moment, name) for moment in moments], where="post", label=label)
        axes.set_ylabel("commit, ms (at most)")
        axes.set_xlabel("s")
        axes.legend(frameon=False)

    drawings = [("Latency", latency)]
    if moments:
        drawings += [("CPU", cpu), ("Active calls", active), ("Store", commits)]
    return [plot(title, draw) for title, draw in drawings]
