"""The report of a rehearsal: one page of HTML that needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from voice_agent import __version__
from voice_agent.operate.plan import Exit
from voice_agent.rehearse.drawing import active_plot, call_plot, gap_plot
from voice_agent.rehearse.figures import RehearsalRecording, faults

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Rehearsal of a cutover</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 1080px; margin: 2em auto;
  padding: 0 1em }}
h1 {{ font-size: 1.5em }} h2 {{ font-size: 1.15em; margin-top: 2em }}
.verdict {{ padding: .6em 1em; border-left: 6px solid #2e9d57; background: #eef8f1 }}
.verdict.bad {{ border-color: #c0392b; background: #fbeeec }}
table {{ border-collapse: collapse; margin: 1em 0 }}
td, th {{ text-align: left; padding: .2em 1.2em .2em 0; border-bottom: 1px solid #ddd; vertical-align: top }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums }}
svg {{ max-width: 100%; height: auto }}
figure {{ margin: 1em 0; overflow-x: auto }} figcaption {{ color: #555 }}
</style>
<h1>Rehearsal of a cutover</h1>
<p class="verdict{bad}">{verdict}</p>
<p>{callers} callers on one machine, against two pods of each color behind HAProxy: {who}. They talked with the agent
that says back what it hears; each event id, the SHA-256 of each reply and the record of each call was checked.
voice-agent {version}, {seconds:.0f} s.</p>
<h2>Cutovers</h2>
<table><tr><th>cutover</th><th>ended</th><th>old color empty after</th><th>remark</th></tr>{cutovers}</table>
<h2>Figures</h2>
<table>{figures}</table>
{edges}
<h2>Active calls by color</h2>
<figure>{active}<figcaption>Dotted: a cutover begins, with its smoke call. Shaded: from the shift of the
weights until the old color is empty. Red: something is done to a pod.</figcaption></figure>
<h2>Gaps of resumes</h2>
<figure>{gaps}<figcaption>The SDK waits 0.4 to 0.5 s before its first try; the browser of this rehearsal 0.1 s. Gaps
behind a pod that fell silent are left out: an edge is sure of that after some seconds.</figcaption></figure>
<h2>Every call, second by second</h2>
<figure>{calls}<figcaption>A row for each caller, painted in the color that served (green is hatched); a tick is a
connection to a pod that was lost or handed off, of which a caller whom an edge holds sees nothing. Breaks
without a tick lie between two calls.</figcaption></figure>
{bad_calls}
</html>
"""
SAID_OF_KINDS = {
    "sdk": "the official SDK",
    "browser": "browsers with cookies",
    "plain": "plain WebSockets that cannot resume",
}
EDGES = """<h2>Behind the edges</h2>
<p>{held} calls were held by {edges} edges, each over one connection to its caller for as long as it lasted. The longest
silence that a caller who cannot resume heard within a reply: median {silence[p50]:.0f} ms, p99 {silence[p99]:.0f} ms,
at most {silence[max]:.0f} ms.</p>
<table><tr><th>another pod went on after a</th><th>times</th><th>gap p50</th><th>p99</th><th>at most</th></tr>
{gaps}</table>
<table><tr><th>done to a pod</th><th>pod</th><th>calls of edges on it</th><th>all served elsewhere after</th></tr>
{faults}</table>
"""
ENDINGS: dict[int, str] = {
    Exit.NO_CALLER_LOST: "all moved",
    Exit.ROLLED_BACK: "rolled back, exit 1",
    Exit.REFUSED: "refused, exit 2",
    Exit.CALLERS_LOST: "done, callers lost, exit 3",
}
FIGURES = {
    "calls": "calls",
    "dropped": "calls dropped",
    "events": "events",
    "events_lost": "events lost",
    "events_repeated": "events repeated",
    "turns": "turns",
    "wrong_replies": "replies with other sound or words",
    "words_lost": "turns missing in the record",
    "words_repeated": "turns too many in the record",
    "speech_lost_ms": "speech lost, ms",
    "resumes": "resumes",
    "moved_by_rollback": "calls moved by the refused release",
    "errors_in_logs": "errors in the pods' logs",
}


def render(recording: RehearsalRecording) -> str:
    """The whole page."""
    against = recording.verdict
    figures = recording.as_json()
    gaps = figures["resume_gap_ms"]
    rows = [(said, f"{figures[name]:,}") for name, said in FIGURES.items()]
    rows += [(f"resumes after a {cause}", f"{count:,}") for cause, count in figures["resumes_by_cause"].items()]
    rows += [(f"gap of a resume, {name}", f"{gaps[name]:.0f} ms") for name in ("p50", "p99") if gaps[name] is not None]
    return PAGE.format(
        bad=" bad" if against else "",
        verdict="<br>".join(map(escape, against)) or "No call was dropped; no word and no event was lost or repeated.",
        callers=recording.callers,
        who=_who(recording),
        edges=_edges(recording),
        version=escape(__version__),
        seconds=recording.seconds,
        cutovers=_cutovers(recording),
        figures="".join(f'<tr><td>{escape(said)}<td class="number">{value}' for said, value in rows),
        active=active_plot(recording),
        gaps=gap_plot(recording),
        calls=call_plot(recording),
        bad_calls=_bad_calls(recording),
    )


def _who(recording: RehearsalRecording) -> str:
    kinds = {kind: {call.line.caller for call in recording.calls if call.line.kind == kind} for kind in SAID_OF_KINDS}
    return ", ".join(f"{len(callers)} {SAID_OF_KINDS[kind]}" for kind, callers in kinds.items() if callers)


def _edges(recording: RehearsalRecording) -> str:
    if recording.behind_edges is None:
        return ""
    found = recording.behind_edges.as_json()
    gaps = [
        (cause, f"{found['moves'][cause]:,}", *(f"{gap_ms[share]:.0f} ms" for share in ("p50", "p99", "max")))
        for cause, gap_ms in found["gap_ms"].items()
    ]
    faults = [(fault.what, fault.pod, str(fault.calls), fault.told) for fault in recording.faults]
    silence = {share: value or 0.0 for share, value in found["longest_silence_ms"].items()}
    return EDGES.format(
        held=found["calls"], edges=found["edges"], silence=silence, gaps=_rows(gaps), faults=_rows(faults)
    )


def _rows(rows: Iterable[Sequence[str]]) -> str:
    return "".join("<tr>" + "".join(f"<td>{escape(cell)}" for cell in cells) for cells in rows)


def _cutovers(recording: RehearsalRecording) -> str:
    rows = []
    for cutover in recording.cutovers:
        drained = cutover.outcome.drain_seconds
        cells = (
            cutover.title,
            ENDINGS.get(cutover.outcome.status, f"exit {cutover.outcome.status}"),
            "" if drained is None else f"{drained:.1f} s",
            cutover.outcome.reason or (f"kill -9 {cutover.crash}" if cutover.crash else ""),
        )
        rows.append(cells)
    return _rows(rows)


def _bad_calls(recording: RehearsalRecording) -> str:
    rows = [(call.line.caller, call.line.call_id, faults(call.found)) for call in recording.bad_calls]
    return f"<h2>What was wrong</h2><table>{_rows(rows)}</table>" if rows else ""
