"""What the documents say of limits, settings and tests is so."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import orjson
import pytest

from tests import documents
from tests.call.records import recorded
from voice_agent.call.codec import KNOWN_FIELDS
from voice_agent.call.response_chunks import KINDS
from voice_agent.call.schema import SCHEMA
from voice_agent.edge_settings import EdgeSettings
from voice_agent.settings import CALLERS_KEY, EDGE_PREFIX, PREFIX, ROUTERS_KEY, Settings
from voice_agent.stores.redis_fleet_format import DRAIN_FIELDS, HEARTBEAT_FIELDS, WEIGHTS_FIELDS

ROOT = Path(__file__).parents[1]
LIMITS, SECURITY, FIELD, PROTOCOL = "docs/limits.md", "SECURITY.md", "docs/field.md", "docs/protocol.md"
CONTINUITY, STORE = "docs/continuity.md", "docs/store.md"
CLIENTS = "tests/clients/programs"
NAMED_IN_CODE = re.compile(r'(?:\b(?:limit_)?reached\(\s*|\blimit=|\bCountLimit\(\s*)"(\w+)"')
TEST = re.compile(r"(tests/[\w/]+\.py)(?:::(\w+))?")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def counted_in_code() -> set[str]:
    """Names that ``voice_limits_total`` can have."""
    return {name for path in (ROOT / "app").rglob("*.py") for name in NAMED_IN_CODE.findall(path.read_text())}


def counted_in_table() -> set[str]:
    """Names that the column "counted as" has."""
    rows = [line.strip("|").split("|") for line in text(LIMITS).splitlines() if line.startswith("|")]
    column = [cell.strip() for cell in rows[0]].index("counted as")
    assert {len(row) for row in rows} == {len(rows[0])}
    return {name for row in rows for name in re.findall(r"`(\w+)`", row[column])}


@cache
def functions(path: str) -> set[str]:
    """Names of a file's functions; none if there is no such file."""
    if not (ROOT / path).is_file():
        return set()
    parsed = ast.walk(ast.parse(text(path)))
    return {node.name for node in parsed if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("document", documents.PARTS)
def test_what_is_made_from_the_code_is_of_today(document: str) -> None:
    """Settings, metrics, who imports whom; `make docs` writes them."""
    assert text(document) == documents.made(document)


def test_a_table_has_a_heading_and_every_cell() -> None:
    """Those with nothing in them, too."""
    assert documents.table([("a", "b", "c"), ("1", "", ""), ("", "", "2")]).splitlines() == [
        "| a | b | c |",
        "| --- | --- | --- |",
        "| 1 | | |",
        "| | | 2 |",
    ]


def test_every_limit_that_is_counted_stands_in_the_table() -> None:
    """And the table names none that nothing counts."""
    assert counted_in_code()
    assert counted_in_table() == counted_in_code()


@pytest.mark.parametrize("name", [LIMITS, SECURITY, FIELD])
def test_every_test_that_is_named_exists(name: str) -> None:
    """A promise whose test was renamed would look as if it were kept."""
    named = TEST.findall(text(name))
    assert named
    assert [f"{path}::{test}" for path, test in named if test and test not in functions(path)] == []
    assert [path for path, _ in named if not (ROOT / path).is_file()] == []


def test_every_test_of_the_contract_exists() -> None:
    """The table of promises names tests without their files."""
    named = set(re.findall(r"`(test_\w+)", text("docs/continuity.md")))
    contracts = (ROOT / "app/voice_agent/testing").glob("*.py")
    files = [str(path.relative_to(ROOT)) for path in (*(ROOT / "tests").rglob("test_*.py"), *contracts)]
    assert named
    assert sorted(named - {name for path in files for name in functions(path)}) == []


@pytest.mark.parametrize("name", [LIMITS, SECURITY, "docs/store.md", "docs/runbook.md"])
def test_every_setting_that_is_named_exists(name: str) -> None:
    """In these documents."""
    known = {PREFIX + field.upper() for field in Settings.model_fields} | {CALLERS_KEY, ROUTERS_KEY}
    known |= {EDGE_PREFIX + field.upper() for field in EdgeSettings.model_fields}
    named = {found.removesuffix("_FILE") for found in re.findall(rf"\b{PREFIX}[A-Z_]+[A-Z]\b", text(name))}
    assert named <= known


@cache
def members() -> dict[str, set[str]]:
    """What each module and each class of the package has, by their last names."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "app").rglob("*.py"):
        parsed = ast.parse(path.read_text(encoding="utf-8"))
        found.setdefault(path.stem, set()).update(names_in(parsed.body))
        for node in ast.walk(parsed):
            if isinstance(node, ast.ClassDef):
                stored = (
                    each
                    for each in ast.walk(node)
                    if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store)
                )
                kept = {each.attr for each in stored if ast.unparse(each.value) == "self"}
                found[node.name] = names_in(node.body) | kept
    return found


def names_in(body: list[ast.stmt]) -> set[str]:
    """What the statements of a module or a class define."""
    found = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


CODE = re.compile(r"`(?:\w+\.)*(\w+)\.((?!py\b|lua\b|md\b)\w+)(?:\(\))?`")
FILE = re.compile(r"[\w./-]+\.(?:py|lua)\b")
PROSE = ["ARCHITECTURE.md", "CONTRIBUTING.md", CONTINUITY, FIELD, LIMITS, SECURITY, "docs/store.md", "docs/closing.md"]


@pytest.mark.parametrize("name", PROSE)
def test_every_file_and_method_that_is_named_exists(name: str) -> None:
    """Of a class, wherever it is named; of a module, in the map and in the table of promises."""
    lines = text(name).splitlines()
    files = {file for line in lines for tick in re.findall(r"`[^`]+`", line) for file in FILE.findall(tick)}
    roots = (ROOT, ROOT / "app/voice_agent")
    beside = {path.name for path in ROOT.glob("app/**/*") if path.suffix in {".py", ".lua"}}
    assert [file for file in files if file not in beside and not any((root / file).exists() for root in roots)] == []
    named = {pair for line in lines for pair in CODE.findall(line) if pair[0][0].isupper()}
    if name in {"ARCHITECTURE.md", CONTINUITY}:
        rows = [line.split("|")[2] for line in lines if line.startswith(("| **", "| a resume", "| handoff"))]
        named |= {pair for row in rows for pair in CODE.findall(row)}
    assert [f"{owner}.{member}" for owner, member in sorted(named) if member not in members().get(owner, set())] == []


def test_every_report_has_its_kind_and_a_test() -> None:
    """A row without one would be a fault that may come back."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text(FIELD).splitlines() if line[:1] == "|"
    ]
    reports = [row for row in rows if row[0] != "what people met" and set(row[0]) != {"-"}]
    assert reports
    named = [TEST.fullmatch(row[-1].strip("`")) for row in reports]
    assert [row for row, test in zip(reports, named, strict=True) if len(row) != 3 or not row[1] or test is None] == []


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_every_row_stands_in_a_table(path: Path) -> None:
    """After a blank line rows are shown as text: a table begins with a heading and a line under it."""
    lines = ["", *path.read_text(encoding="utf-8").splitlines(), ""]
    begins = [at for at in range(1, len(lines)) if lines[at][:1] == "|" and lines[at - 1][:1] != "|"]
    assert [lines[at] for at in begins if not re.fullmatch(r"\|[-:| ]+\|", lines[at + 1])] == []


def test_the_versions_of_clients_are_those_that_are_locked() -> None:
    """What is said to work with a client was tried with that version."""
    python = dict(re.findall(r"^([\w-]+)==([\w.]+)", text(f"{CLIENTS}/requirements.lock"), re.MULTILINE))
    node = {
        name.removeprefix("node_modules/"): package.get("version")
        for name, package in json.loads(text(f"{CLIENTS}/package-lock.json"))["packages"].items()
    }
    table = text(PROTOCOL).partition("## Clients held against it")[2]
    rows = re.findall(r"^\| `([^`]+)`([^|]*)\| ([\d.]+) \|", table, re.MULTILINE)
    assert len(rows) == len(list((ROOT / CLIENTS).glob("*_*.*")))
    for name, more, version in rows:
        locked = node if name.startswith("@") or "Node" in more else python
        assert locked[name] == version, name


LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
DOCUMENTS = sorted(path for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")))


NOT_IN_THE_RECORD = {"alignment:N", "out_of_band:N", "erased"}
"""Fields that only other calls have: with an earlier sentence, a reply outside the conversation, an erasure."""
NOT_IN_THE_RECORD |= {"caller", "pieces_size", "pieces:N", "agent_events", "acts", "act:N", "timers", "later", "usage"}
NOT_IN_THE_RECORD |= {"transfer", "clip_said", "onset"}
"""And those that came after the first release of the schema."""


def stored_under(key: str) -> set[str]:
    """The names that docs/store.md has for what stands under a key, in the column "what stands there"."""
    [row] = [line for line in text(STORE).splitlines() if line.startswith(f"| `{key}` |")]
    return {name for names in re.findall(r"`([^`]+)`", row.split("|")[2]) for name in names.split()}


def numbered(names: Iterable[str]) -> set[str]:
    """Names that differ in their number alone as one."""
    return {re.sub(r":\d+$", ":N", name) for name in names}


def test_what_is_said_to_be_stored_of_a_call_is_what_is_stored() -> None:
    """Every field of the record that is kept for later releases, and of its items; none that no release has written."""
    held = recorded(f"schema-{SCHEMA}")
    assert stored_under("call:{<id>}") == numbered(held.fields) | NOT_IN_THE_RECORD
    of_items = {name for item in held.items.values() for name in orjson.loads(item)}
    assert stored_under(":items") == of_items | {"check"}
    known = numbered(f"{kind.name}0" for kind in KINDS) | KNOWN_FIELDS | {"seen:N", "act:N"}
    assert stored_under("call:{<id>}") == known | {"erased"}


def test_what_is_said_to_be_stored_of_the_fleet_is_what_is_stored() -> None:
    """Each field by its name."""
    assert stored_under("voice:pod:<name>") == set(HEARTBEAT_FIELDS)
    assert stored_under("voice:color:<name>") == set(DRAIN_FIELDS)
    assert stored_under("voice:routing") == set(WEIGHTS_FIELDS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    """From where the document is."""
    targets = LINK.findall(document.read_text(encoding="utf-8"))
    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_the_first_page_is_short() -> None:
    """Whoever comes for the first time reads all of it."""
    assert len(text("README.md").splitlines()) <= 120


def test_the_map_of_the_house_is_read_at_a_sitting() -> None:
    """`ARCHITECTURE.md` has at most 250 lines."""
    assert len((ROOT / "ARCHITECTURE.md").read_text().splitlines()) <= 250
