"""A comparison as Markdown, and its place in a document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest.peers.contenders import BASELINE
from loadtest.peers.results import Comparison, Row

BEGIN = "<!-- measured: begin -->"
END = "<!-- measured: end -->"
NOTHING = "–"


class NoMarkers(Exception):
    """A document has no place for the table."""


@dataclass(frozen=True)
class Circumstances:
    """Where and how a comparison was made, for whoever wants to repeat it."""

    date: str
    machine: str
    command: str


def markdown(found: Comparison, seen: Circumstances) -> str:
    """Table, targets, versions and notes."""
    parts = [
        f"Measured on {seen.date} on {seen.machine} by `{seen.command}`.",
        _table(heads(found.few_calls), [_cells(row) for row in found.rows()]),
        _table(
            ("target", "reach", "seen", ""),
            [
                (one.measure, one.target, _number(one.value), "reached" if one.reached else "**not reached**")
                for one in found.verdicts()
            ],
        ),
        _table(
            ("contender", "versions"),
            [
                (title, ", ".join(f"{package} {number}" for package, number in found.versions.get(name, {}).items()))
                for name, title in found.titles.items()
            ],
        ),
        "\n".join(f"- {note}" for note in found.notes),
    ]
    return "\n\n".join(part for part in parts if part)


def heads(few_calls: int) -> tuple[str, ...]:
    """Column heads."""
    return (
        "echo of audio frames",
        f"µs a frame, {few_calls} calls",
        "ratio",
        "calls near 80 %",
        "µs a frame there",
        "ratio",
        "store µs",
        "most calls, p99 < 20 ms",
        "ratio",
        "KiB idle call",
        "KiB talking call",
    )


def put_into(document: Path, text: str) -> None:
    """Replace what stands between the markers. Raises `NoMarkers`, and changes nothing then."""
    document.write_text(replaced(document.read_text(), text, document.name))


def replaced(whole: str, text: str, name: str = "the document") -> str:
    """`whole` with `text` between its markers."""
    head, begin, rest = whole.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise NoMarkers(f"{name} has no lines '{BEGIN}' and '{END}', in this order, for the table to stand between.")
    return f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}"


def _cells(row: Row) -> tuple[str, ...]:
    title = f"{row.title} (baseline)" if row.name == BASELINE else row.title
    return (
        title,
        _number(row.few_us),
        _number(row.few_ratio),
        _number(row.many_calls),
        _number(row.many_us),
        _number(row.many_ratio),
        _number(row.store_us),
        _number(row.most_calls),
        _number(row.most_ratio),
        _number(row.idle_kb),
        _number(row.talking_kb),
    )


def _number(value: float | None) -> str:
    """Three digits that count, more where the number is whole and long."""
    if value is None:
        return NOTHING
    if abs(value) >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
