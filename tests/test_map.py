"""Where the tests of a module are: in the file of its name, or in one whose docstring names it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "app" / "voice_agent"
NAMED = re.compile(r"`([\w./]+)`")


def words() -> dict[Path, set[str]]:
    """What the docstring of each file of tests names in backticks, by the folder that it stands in."""
    found: dict[Path, set[str]] = {}
    for path in TESTS.rglob("test_*.py"):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        found.setdefault(path.parent.relative_to(TESTS), set()).update(NAMED.findall(docstring))
    return found


def test_every_module_has_its_tests_where_they_are_looked_for() -> None:
    """`a/b.py` in `tests/a/test_b.py`; or a docstring beside that names `b`, or one anywhere that names `a.b`."""
    named = words()
    dotted = {word for found in named.values() for word in found if "." in word}
    missing = []
    for path in PACKAGE.rglob("*.py"):
        module = path.relative_to(PACKAGE)
        if path.stem in {"__init__", "__main__"} or (TESTS / module.parent / f"test_{path.stem}.py").exists():
            continue
        place = ".".join((".voice_agent", *module.with_suffix("").parts))
        is_named = any(place.endswith(f".{word}") for word in dotted)
        if path.stem not in named.get(module.parent, set()) and not is_named:
            missing.append(str(module))
    assert sorted(missing) == []
