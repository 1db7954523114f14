"""One word for one idea: what is called alike is the same."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "app" / "voice_agent"

FORMER_IDENTIFIERS = {
    "InvalidEvent": "Misspoke ProtocolMistake",
    "SideEffect": "Deed",
    "OnceBegun, OnceDone": "SideEffectBegun SideEffectDone",
    "EventDone": "ResponsePlanned ResponseFinished",
    "EventFailed": "ResponseFailed",
    "ToolAsked": "ResponseFunctionCall",
    "DeliverEvents, InterruptAgent": "StartResponse StopResponse",
    "Identity.mirror": "has_engine",
    "_drop_locally, is_fenced": "abandon_ship superseded_by_other",
    "pause_writes, resume_writes, writes_paused": "let_go is_held",
    "is_backlogged": "has_no_room",
    "release_unsaved, requeue_whole": "give_up_write lost_in_store let_go_on",
    "sent_seq": "shown_to_caller",
    "Response, responses.py": "replying.py editing.py",
    "reading_paused": "is_deaf",
    "CLOSE_FLUSH_S, _send_close": "LAST_WORDS_S say_goodbye",
    "request_drain, DrainRequest": "wish_drain DrainWish",
    "compare_and_set": "swap_note",
    "PodCounters": "Tallies",
    "EmptyFor": "Stragglers",
    "_retry, retryable, run_to_completion": "_patiently may_pass to_its_end",
}
"""What replaced them, and the former identifiers: no words of English, so they are nowhere in the tree."""

FORMER_CLASSES = frozenset(
    "Act Board Conductor Deed Front Line Numbering Once Parts Reception Reply Scene Siblings Stragglers"
    " Talk Tallies Teller Terms Understanding Wanted Watch World".split()
)
"""Words of English as well, so only no class is called so."""

FORMER_FUNCTIONS = frozenset(
    "agree attend beat elsewhere has_no_room is_held let_go lost_in_store mistake nobody obey owes released"
    " takers wish".split()
)
"""Words of English as well, so only no function is called so, with or without an underscore in front."""

DEFINITION = re.compile(r"^ *(?:(class)|(?:async )?def) _*(\w+)", re.MULTILINE)
PLACES = ("app", "tests", "docs", "deploy", "k8s", "loadtest")
WRITTEN = {".py", ".md", ".lua", ".toml", ".yaml", ".json", ".tf", ".sh", ".cfg", ".html", ".js", ".mjs", ".jsgf"}


def test_no_two_classes_have_one_name() -> None:
    """Wherever in the package they are: a reader who meets a name need not ask which one is meant."""
    found = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(str(path.relative_to(PACKAGE)))
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def texts(pattern: str = "*") -> Iterator[tuple[str, str]]:
    """The files that people wrote, but for this one and the history, and what stands in each."""
    paths = [*ROOT.glob(pattern), *(path for place in PLACES for path in (ROOT / place).rglob(pattern))]
    for path in sorted(paths):
        is_ours = "node_modules" not in path.parts and path not in (Path(__file__), ROOT / "CHANGELOG.md")
        if is_ours and path.suffix in WRITTEN and path.is_file():
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def test_a_former_identifier_is_nowhere() -> None:
    """Neither in code nor in tests, documents, manifests or log lines. A test may be named with the words of one."""
    former = {old: name for name, olds in FORMER_IDENTIFIERS.items() for old in olds.split()}
    wanted = re.compile(rf"(?<![A-Za-z0-9])(?<![A-Za-z0-9]_)({'|'.join(map(re.escape, former))})(?![A-Za-z0-9_])")
    found = [f"{path}: {old} is called {former[old]}" for path, text in texts() for old in wanted.findall(text)]
    assert found == []


def test_no_class_or_function_has_a_former_name() -> None:
    """Of the package, its tests and the load tests; an underscore in front makes no difference."""
    found = [
        f"{path}: {name}"
        for path, text in texts("*.py")
        for is_class, name in DEFINITION.findall(text)
        if name in (FORMER_CLASSES if is_class else FORMER_FUNCTIONS)
    ]
    assert found == []


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
