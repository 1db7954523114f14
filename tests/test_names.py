"""One word for one idea: what is called alike is the same."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "app" / "voice_agent"


def test_no_two_classes_have_one_name() -> None:
    """Wherever in the package they are: a reader who meets a name need not ask which one is meant."""
    found = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(str(path.relative_to(PACKAGE)))
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def constants(folder: Path) -> Iterator[tuple[str, object]]:
    """Every literal in the code of a folder and the file it stands in, docstrings left out."""
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and id(node) not in prose:
                yield path.relative_to(ROOT).as_posix(), node.value


def test_close_codes_and_event_ids_stand_in_one_place() -> None:
    """No module but one knows a close code's number, and no module but one how an event's id is written.

    The programs of `loadtest/peers/servers` stand alone. 1000 is looked for nowhere: it is a thousand, too.
    """
    found = [*constants(PACKAGE), *constants(ROOT / "loadtest")]
    codes = {path for path, it in found if type(it) is int and (1001 <= it <= 1015 or 4400 <= it < 4500)}
    ids = {path for path, it in found if "evt_" in str(it) and not path.startswith("loadtest/peers/servers/")}
    assert codes == {"app/voice_agent/call/closing.py"}
    assert ids == {"app/voice_agent/call/event_ids.py"}
