"""The table of an evaluation, its failures one by one, and its plots."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from rich.table import Table

from tests.eval_speech.conditions import CONDITIONS
from tests.eval_speech.direct import Result
from tests.eval_speech.scores import Group, Judgement, Score

_INK = {"natural": "#2f6fd0", "whisper": "#c77b1e", "pocketsphinx": "#2e9d57"}
_OTHER_INK = "#8a8a8a"


def table(scores: dict[Group, Score]) -> Table:
    """A line a group."""
    shown = Table("ear", "condition", "requests", "callers", "n", "words wrong", "task", "at once", "asked back")
    for name in ("acted wrongly", "CPU s", "p50 ms", "p95 ms"):
        shown.add_column(name)
    for column in shown.columns[4:]:
        column.justify = "right"
    for group, it in scores.items():
        shares = (it.word_errors, it.success, it.at_once, it.asked_back, it.acted_wrongly)
        figures = (f"{it.cpu_s:.2f}", f"{it.latency_p50_ms:.0f}", f"{it.latency_p95_ms:.0f}")
        told = (group.ear, group.condition, group.kind, group.callers, str(it.count))
        shown.add_row(*told, *(f"{share:.1%}" for share in shares), *figures)
    return shown


def targets_table(judgements: Iterable[Judgement]) -> Table:
    """A line a target."""
    shown = Table("target", "limit", "worst group", "there", "reached")
    for it in judgements:
        limit = f"{'≥' if it.target.at_least else '≤'} {it.target.limit:.0%}"
        where = f"{it.group.ear}, {it.group.condition}, {it.group.kind}, {it.group.callers}"
        shown.add_row(it.target.name, limit, where, f"{it.worst:.1%}", "yes" if it.reached else "no")
    return shown


def failures(results: Iterable[Result]) -> list[str]:
    """One paragraph for each that failed, what was acted on wrongly first."""
    found = [result for result in results if not result.outcome.success or result.outcome.acted_wrongly]
    found.sort(key=lambda result: (not result.outcome.acted_wrongly, result.trial.request.id))
    return [_told(result) for result in found]


def _told(result: Result) -> str:
    trial = result.trial
    what = "ACTED WRONGLY" if result.outcome.acted_wrongly else "failed"
    given = f" (after: {' / '.join(trial.request.given)})" if trial.request.given else ""
    lines = [f"- {what} {trial.request.id} {trial.caller} {trial.condition} {result.ear}{given}"]
    for (said, _, answered), heard in zip(result.outcome.turns, result.heard, strict=True):
        doubt = "" if heard.certain else f" [uncertain; or {' / '.join(heard.alternatives)}]"
        lines.append(f"    {said!r} -> {heard.text!r}{doubt} -> {answered[:110]!r}")
    return "\n".join(lines)


_Figure = Callable[[Score], float]
_PANELS: tuple[tuple[str, _Figure, tuple[str, ...]], ...] = (
    ("task success, said as in the grammar, %", lambda it: 100 * it.success, ("in_grammar",)),
    ("task success, freely said, %", lambda it: 100 * it.success, ("free",)),
    ("acted on wrongly, %", lambda it: 100 * it.acted_wrongly, ("in_grammar", "free")),
    ("asked back, %", lambda it: 100 * it.asked_back, ("in_grammar", "free")),
    ("word errors, %", lambda it: 100 * it.word_errors, ("in_grammar", "free")),
    ("CPU of the ear, s a turn", lambda it: it.cpu_s, ("in_grammar", "free")),
)
"""Title, what is drawn, and of which requests."""


def draw(scores: dict[Group, Score], path: Path) -> None:
    """Six figures by condition, for each ear, as SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    ears = sorted({group.ear for group in scores})
    conditions = [name for name in CONDITIONS if any(group.condition == name for group in scores)]
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "speech", "font.size": 9}):
        figure = Figure(figsize=(10.5, 6.5), layout="constrained")
        for axes, (title, value, kinds) in zip(figure.subplots(2, 3).flat, _PANELS, strict=True):
            for number, ear in enumerate(ears):
                heights = [_mean(scores, ear, condition, kinds, value) for condition in conditions]
                places = [at + 0.8 * number / len(ears) for at in range(len(conditions))]
                axes.bar(places, heights, 0.75 / len(ears), align="edge", color=_INK.get(ear, _OTHER_INK), label=ear)
            axes.set_title(title, fontsize=9, loc="left")
            axes.set_xticks([at + 0.4 for at in range(len(conditions))], conditions)
            axes.spines[["top", "right"]].set_visible(False)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _mean(scores: dict[Group, Score], ear: str, condition: str, kinds: tuple[str, ...], value: _Figure) -> float:
    of_these = {
        group: it
        for group, it in scores.items()
        if (group.ear, group.condition) == (ear, condition) and group.kind in kinds
    }
    return sum(value(it) * it.count for it in of_these.values()) / (sum(it.count for it in of_these.values()) or 1)
