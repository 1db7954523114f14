"""``python -m tests.house``: how large files, functions and classes are, and what is too large."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.house import imports
from tests.house.measures import APP, ROOT, TESTS, Measures, Size, lines_below, measure
from tests.house.rules import (
    ATTRIBUTES,
    BEING_CUT,
    FILE_LINES,
    FUNCTION_LINES,
    FUNCTION_P99_LINES,
    METHODS,
    PARAMETERS,
    Finding,
    judge,
    too_large,
)

PIPED_COLUMNS = 120
"""Where nobody says how wide the terminal is."""


def main() -> int:
    """Exit status 0 if all rules hold, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.house",
        description="Measure app/: code lines of files and functions, parameters, methods and attributes of classes.",
        epilog="example: python -m tests.house --json; `make docs` puts the drawing of --imports into ARCHITECTURE.md",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--imports", action="store_true", help="print only the drawing of who imports whom")
    asked = parser.parse_args()
    if asked.imports:
        print(imports.drawing())
        return 0
    found = measure(APP)
    findings = judge(found)
    per_line = round(lines_below(TESTS) / found.lines, 2)
    if asked.json:
        print(json.dumps(_as_json(found, per_line, findings), indent=2))
    else:
        _show(found, per_line, findings)
    return 1 if findings else 0


def _as_json(found: Measures, per_line: float, findings: list[Finding]) -> dict[str, object]:
    return {
        "lines": found.lines,
        "test_lines_per_line": per_line,
        "files": [asdict(one) for one in found.files if one.size > FILE_LINES] or [asdict(found.files[0])],
        "function_p99": found.function_p99,
        "functions": [asdict(one) for one in found.functions if one.size > FUNCTION_LINES]
        or [asdict(found.functions[0])],
        "parameters": [asdict(one) for one in found.parameters if one.size > PARAMETERS],
        "methods": [asdict(one) for one in found.methods if one.size > METHODS],
        "attributes": [asdict(one) for one in found.attributes if one.size > ATTRIBUTES],
        "environment": found.environment,
        "findings": [str(finding) for finding in findings],
    }


def _show(found: Measures, per_line: float, findings: list[Finding]) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = PIPED_COLUMNS
    table = Table("", "largest", "at most", "over it", "where", title=str(APP.relative_to(ROOT)), title_justify="left")
    for name, sizes, most in (
        ("code lines of a file", found.files, FILE_LINES),
        ("code lines of a function", found.functions, FUNCTION_LINES),
        ("parameters", found.parameters, PARAMETERS),
        ("methods of a class", found.methods, METHODS),
        ("attributes of a class", found.attributes, ATTRIBUTES),
    ):
        over = [one for one in sizes if one.size > most]
        table.add_row(name, str(sizes[0].size), str(most), str(len(over)), _places(over or sizes[:1]))
    table.add_row("code lines of a function, p99", str(found.function_p99), str(FUNCTION_P99_LINES))
    table.add_row("files that read the environment", str(len(found.environment)), "1", "", "\n".join(found.environment))
    table.add_row("test lines per source line", f"{per_line:g}")
    console.print(table)
    for finding in findings:
        console.print(f"[red]✗[/] {escape(str(finding))}", highlight=False)
    if gone := sorted(BEING_CUT - too_large(found)):
        console.print(f"to be taken out of BEING_CUT, for they are gone: {', '.join(gone)}", style="yellow")
    if not findings:
        console.print("✓ every rule of tests/house/rules.py holds", style="green")


def _places(sizes: list[Size]) -> str:
    return "\n".join(escape(f"{one.size} {one.place.removeprefix('app/voice_agent/')}") for one in sizes)


if __name__ == "__main__":
    raise SystemExit(main())
