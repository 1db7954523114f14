"""``python -m tests.documents``: write the parts of the documents that are made from the code.

Each part stands between a line that names this command and `END`; the rest of a document is written by people.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence

from pydantic_settings import BaseSettings

from tests.house.imports import drawing
from tests.house.measures import ROOT
from tests.protocol.taken_fields import rows as taken_fields
from voice_agent.edge_settings import EdgeSettings
from voice_agent.invalid_settings import allowed_values
from voice_agent.observe.metric_table import POD_LABELS, TABLE, Kind
from voice_agent.settings import EDGE_PREFIX, PREFIX, SECRETS, Settings

BEGIN, END = "<!-- made by `make docs` -->", "<!-- end of what `make docs` makes -->"
MADE = re.compile(f"{re.escape(BEGIN)}\n.*?{re.escape(END)}", re.DOTALL)


def settings() -> str:
    """The table of settings."""
    return settings_of(Settings, PREFIX)


def edge_settings() -> str:
    """The table of an edge's settings."""
    return settings_of(EdgeSettings, EDGE_PREFIX)


def settings_of(declared: type[BaseSettings], prefix: str) -> str:
    """A table of settings."""
    rows = [("variable", "default", "allowed", "meaning")]
    for name, field in declared.model_fields.items():
        unset = field.is_required() or field.default_factory is not None or field.default in (None, (), "")
        default = "" if unset else f"`{field.default}`"
        variable = PREFIX + name.upper() if field.validation_alias else prefix + name.upper()
        from_file = " (or `…_FILE`)" if declared is Settings and name in SECRETS else ""
        rows.append((f"`{variable}`{from_file}", default, allowed_values(name, declared), field.description or ""))
    return table(rows)


def metrics() -> str:
    """The table of metrics."""
    rows = [("metric", "kind", "labels", "values from the start", "meaning")]
    for spec in TABLE:
        kind = spec.kind.value
        if spec.kind is Kind.SAMPLED:
            kind = "counter" if spec.name.endswith("_total") else "gauge"
        labels = ", ".join(f"`{label}`" for label in spec.labels[len(POD_LABELS) :])
        rows.append((f"`{spec.name}`", kind, labels, ", ".join(f"`{value}`" for value in spec.known), spec.text))
    return table(rows)


def protocol() -> str:
    """The table of what clients may send."""
    return table([("event", "field", "", ""), *taken_fields()])


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """In Markdown; the first row is the heading."""
    lines = [f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |") for cells in rows]
    return "\n".join([lines[0], f"| {' | '.join('---' for _ in rows[0])} |", *lines[1:]])


PARTS: dict[str, Callable[[], str]] = {
    "ARCHITECTURE.md": drawing,
    "docs/metrics.md": metrics,
    "docs/protocol.md": protocol,
    "docs/settings.md": settings,
    "docs/edge.md": edge_settings,
}
"""What is made for which document."""


def made(document: str) -> str:
    """A document as it should be. Raises `ValueError` if it has no place for what is made."""
    text = (ROOT / document).read_text(encoding="utf-8")
    if len(MADE.findall(text)) != 1:
        raise ValueError(f"{document} needs one line {BEGIN} and, below it, one line {END}")
    return MADE.sub(lambda _: f"{BEGIN}\n{PARTS[document]()}\n{END}", text)


def write(document: str) -> bool:
    """Put into a document what is made for it; whether that changed it."""
    text = made(document)
    if (ROOT / document).read_text(encoding="utf-8") == text:
        return False
    (ROOT / document).write_text(text, encoding="utf-8")
    return True


def main() -> None:
    """Write all of them."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.documents",
        description=f"Write what is made from the code into {', '.join(PARTS)}.",
        epilog="example: python -m tests.documents; tests/test_documents.py fails while it has something to do",
    )
    parser.parse_args()
    for document in PARTS:
        print(f"{document}: {'written' if write(document) else 'as it was'}")


if __name__ == "__main__":
    main()
