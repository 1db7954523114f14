"""The plots of a rehearsal's report, as SVG to be put into a page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from voice_agent.rehearse.figures import RehearsalRecording, ScriptedCutover
from voice_agent.rehearse.timeline import CallLine, Mark, active_calls, held_calls, percentile

PAINT = {"blue": "#2f6fd0", "green": "#2e9d57"}
OTHER = "#8a8a8a"
HELD = "#7b4bb3"
HELD_LABEL = "held by an edge"
KINDS = {"sdk": (HELD, "-"), "browser": ("#c77b1e", "--"), "plain": ("#1e8a8a", ":")}
HATCH = {"green": "///"}
"""So that the colors can be told apart without seeing colors."""
STEP_S = 0.25
WIDTH_IN = 10.5
ROW_IN = 0.17
STYLE = {"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9, "axes.spines.top": False}
STYLE |= {"axes.spines.right": False, "axes.edgecolor": "#888888", "hatch.linewidth": 0.4}


def active_plot(recording: RehearsalRecording) -> str:
    """Active calls by color over time, with the cutovers marked."""

    def draw(axes: Axes) -> None:
        moments = [step * STEP_S for step in range(int(recording.seconds / STEP_S) + 1)]
        lines = [call.line for call in recording.calls]
        top = 1
        for color, dashes in (("blue", "-"), ("green", "--")):
            counts = active_calls(lines, color, moments)
            top = max(top, *counts)
            axes.step(moments, counts, where="post", color=PAINT[color], linestyle=dashes, label=color, linewidth=1.6)
        if any(line.edge for line in lines):
            held = held_calls(lines, moments)
            top = max(top, *held)
            # Behind the colors, for it is their sum wherever pods serve all of them.
            axes.step(moments, held, where="post", color=HELD, alpha=0.3, linewidth=6, zorder=1.5, label=HELD_LABEL)
        for mark, cutover in zip(_shifts(recording), _moving(recording), strict=False):
            axes.axvspan(mark.at_s, mark.at_s + (cutover.outcome.drain_seconds or 0.0), color="#f0e6c8", linewidth=0)
        axes.set_ylabel("active calls")
        axes.set_ylim(0, top * 1.35)
        _mark_time(axes, recording, label=True)
        axes.legend(loc="center left", frameon=False)

    return _svg(draw, 3.4, "active")


def gap_plot(recording: RehearsalRecording) -> str:
    """How long callers were without a connection, as a distribution."""

    def draw(axes: Axes) -> None:
        gaps_ms = sorted(recording.gaps_ms)
        if not gaps_ms:
            axes.text(0.5, 0.5, "no call was resumed", ha="center", transform=axes.transAxes)
            return
        for kind, (paint, dashes) in KINDS.items():
            of_kind = sorted(
                gap_s * 1000 for call in recording.calls if call.line.kind == kind for gap_s in call.line.brief_gaps_s
            )
            if of_kind:
                shares = [100 * (number + 1) / len(of_kind) for number in range(len(of_kind))]
                axes.step(
                    of_kind, shares, where="post", color=paint, linestyle=dashes, label=f"{kind} ({len(of_kind)})"
                )
        for share in (0.5, 0.99):
            at_ms = percentile(gaps_ms, share) or 0.0
            axes.axvline(at_ms, color="#888888", linewidth=0.8, linestyle=":")
            axes.text(at_ms, 3, f" p{share * 100:.0f} {at_ms:.0f} ms", fontsize=8)
        axes.set_xlabel("from the loss of the old connection to a pod to the greeting on the new one, ms")
        axes.set_ylabel("% of resumes")
        axes.set_xlim(0, gaps_ms[-1] * 1.1)
        axes.set_ylim(0, 105)
        axes.legend(loc="upper left", frameon=False)

    return _svg(draw, 3.0, "gaps")


def call_plot(recording: RehearsalRecording) -> str:
    """A row for each caller: his calls one after the other, in the color that served each second."""
    rows: dict[str, list[CallLine]] = {}
    for call in sorted(recording.calls, key=lambda one: _order(one.line)):
        rows.setdefault(call.line.caller, []).append(call.line)

    def draw(axes: Axes) -> None:
        for row, lines in enumerate(rows.values()):
            for line in lines:
                for leg in line.legs:
                    end_s = recording.seconds if leg.to_s is None else leg.to_s
                    axes.barh(
                        row,
                        max(0.0, end_s - leg.from_s),
                        left=leg.from_s,
                        height=0.7,
                        color=PAINT.get(leg.color, OTHER),
                        hatch=HATCH.get(leg.color),
                        edgecolor="white",
                        linewidth=0,
                    )
                    if leg.ended_with is not None:
                        axes.plot([end_s], [row], "|", color="black", markersize=7)
        axes.set_yticks(range(len(rows)), list(rows), fontsize=7)
        axes.set_ylim(len(rows) - 0.4, -1.6)
        _mark_time(axes, recording, label=False)

    return _svg(draw, 1.2 + ROW_IN * len(rows), "calls")


def _shifts(recording: RehearsalRecording) -> list[Mark]:
    return [mark for mark in recording.marks if mark.kind == "shift"]


def _moving(recording: RehearsalRecording) -> list[ScriptedCutover]:
    """Cutovers that came as far as a shift, in order."""
    return [cutover for cutover in recording.cutovers if cutover.outcome.drain_seconds is not None]


def _order(line: CallLine) -> tuple[str, int, float]:
    kind, _, number = line.caller.partition("-")
    return kind, int(number) if number.isdecimal() else 0, line.legs[0].from_s if line.legs else 0.0


def _mark_time(axes: Axes, recording: RehearsalRecording, *, label: bool) -> None:
    """Where each cutover began, where each crash was."""
    axes.set_xlim(0, max(1.0, recording.seconds))
    axes.set_xlabel("seconds")
    titles = {cutover.title for cutover in recording.cutovers}
    level = 0
    for mark in recording.marks:
        is_crash = mark.kind == "crash"
        if not is_crash and not (mark.kind == "phase" and mark.text in titles):
            continue
        axes.axvline(
            mark.at_s,
            zorder=0.5,
            color="#c0392b" if is_crash else "#555555",
            linewidth=1,
            linestyle="-" if is_crash else ":",
        )
        if label:
            top = 0.99 - 0.08 * (level % 3)
            axes.text(
                mark.at_s,
                top,
                f" {mark.text}",
                fontsize=8,
                va="top",
                transform=axes.get_xaxis_transform(),
                color="#c0392b" if is_crash else "#333333",
            )
            level += 1


def _svg(draw: Callable[[Axes], None], height_in: float, salt: str) -> str:
    # The salt makes the ids of one plot differ from those of the others on the page, and the same every time.
    style: Any = {**STYLE, "svg.hashsalt": salt}
    with mpl.rc_context(style):
        figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
        draw(figure.add_subplot())
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None})
    svg = written.getvalue()
    # Groups are named alike in every drawing, and nothing refers to them.
    return re.sub(r'<g id="[^"]*"', "<g", svg[svg.index("<svg") :])
