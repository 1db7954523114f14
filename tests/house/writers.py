"""Who changes a call without an input: found in the source, by what an expression is called.

A call is reached as ``call`` or ``….call`` (``live.call``), and so are its parts (``call.outbox``). Outside the package
`call` nothing may be assigned there, no method called that may change something, and no function of the package be
used that takes a call and is not known to read only.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.house.rules import Finding
from voice_agent.call.record import CallRecord

HOLDERS = {"CallRecord", *re.findall(r"\w+", " ".join(CallRecord.__annotations__.values()))} - {"Any", *dir(builtins)}
"""Types that are a call, or what one holds."""
READS = frozenset(
    """begin encode_seen step refusal resume is_quiet is_saved kept_audio_bytes ending is_next_claim is_surely_newest
    resume_kind settings_of emitted_after pieces_of played request_of bytes_to_checkpoint""".split()
)
"""Functions that take a call, or make one, and change nothing; and `step`, which is for that."""
READING_METHODS = frozenset("after described get is_resent items settled to_store under".split())
"""Methods of a call and of its parts that only tell something."""
CHANGING_METHODS = frozenset(
    """add append appendleft clear difference_update discard extend insert move_to_end pop popitem popleft remove
    setdefault sort update""".split()
)
"""Of lists, dictionaries, sets and deques."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the package `call` has that changes a call."""

    functions: frozenset[str]
    """With their modules, as ``machine.step``."""
    methods: frozenset[str]


def rules_of(package: Path) -> Rules:
    """Every function one parameter of which is a call or a part of one, and every method of these; readers excepted."""
    functions: set[str] = set()
    methods: set[str] = set(CHANGING_METHODS)
    for file in package.rglob("*.py"):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name not in READS:
                given = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
                if any(_names(one.annotation) & HOLDERS for one in given):
                    functions.add(f"{file.stem}.{node.name}")
            elif isinstance(node, ast.ClassDef) and node.name in HOLDERS:
                methods |= {one.name for one in node.body if isinstance(one, ast.FunctionDef) and not _is_property(one)}
    return Rules(frozenset(functions), frozenset(methods - READING_METHODS))


def writers(file: Path, rules: Rules) -> Iterator[Finding]:
    """Every place of a file that may change a call."""
    for node in ast.walk(ast.parse(file.read_text())):
        for words in _changes(node, rules):
            yield Finding(f"{file.name}:{getattr(node, 'lineno', 0)}", words)


def _changes(node: ast.AST, rules: Rules) -> Iterator[str]:
    match node:
        case ast.Attribute(value, _, ast.Store() | ast.Del()) | ast.Subscript(value, _, ast.Store() | ast.Del()):
            if _is_of_a_call(value):
                yield f"assigns to {ast.unparse(node)}"
        case ast.Call(ast.Name("setattr") | ast.Attribute(ast.Name("object"), "__setattr__"), [changed, *_]):
            if _is_of_a_call(changed):
                yield f"sets an attribute of {ast.unparse(changed)}"
        case ast.Call(ast.Attribute(value, name) as called):
            if f"{ast.unparse(value)}.{name}" in rules.functions or (name in rules.methods and _is_of_a_call(value)):
                yield f"calls {ast.unparse(called)}"
        case ast.ImportFrom(str(module), names) if module.startswith("voice_agent.call."):
            stem = module.rpartition(".")[2]
            yield from (f"imports {one.name}" for one in names if f"{stem}.{one.name}" in rules.functions)
        case _:
            pass


def _is_property(method: ast.FunctionDef) -> bool:
    return any(isinstance(one, ast.Name) and one.id == "property" for one in method.decorator_list)


def _is_of_a_call(node: ast.expr) -> bool:
    """Whether an expression is a call, or something that a call holds."""
    while True:
        if isinstance(node, ast.Attribute):
            if node.attr in {"call", "_call"}:
                return True
            node = node.value
        elif isinstance(node, ast.Subscript | ast.Call):
            node = node.value if isinstance(node, ast.Subscript) else node.func
        else:
            return isinstance(node, ast.Name) and node.id == "call"


def _names(annotation: ast.expr | None) -> set[str]:
    return {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)} if annotation is not None else set()
