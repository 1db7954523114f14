"""How large files, functions and classes are.

A *code line* is a line that holds code: no blank line, no comment, no docstring.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
APP = ROOT / "app"
TESTS = ROOT / "tests"
SILENT = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
)
"""Tokens that make no code line."""
BOUND = frozenset({"self", "cls", "mcs"})
"""Parameters that nobody passes."""
ENVIRONMENT = frozenset({"environ", "getenv", "environb", "putenv"})

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Size:
    """What something measures. `place`: a path from the root, and ``::name`` of what is in the file."""

    place: str
    size: int


@dataclass(slots=True)
class Measures:
    """Of all source files below a folder; each list begins with the largest."""

    files: list[Size] = field(default_factory=list)
    """In code lines."""
    functions: list[Size] = field(default_factory=list)
    """In code lines, those of functions inside included."""
    parameters: list[Size] = field(default_factory=list)
    """Of each function, without ``self``."""
    methods: list[Size] = field(default_factory=list)
    """Of each class, its own."""
    attributes: list[Size] = field(default_factory=list)
    """Of each class: names that its body declares or its methods assign to ``self``."""
    environment: list[str] = field(default_factory=list)
    """Files that read the environment."""

    @property
    def lines(self) -> int:
        """Code lines of all files."""
        return sum(file.size for file in self.files)

    @property
    def function_p99(self) -> int:
        """One function of a hundred is longer."""
        return self.functions[len(self.functions) // 100].size if self.functions else 0


def measure(folder: Path, root: Path = ROOT) -> Measures:
    """All Python files below `folder`; places are told from `root`."""
    found = Measures()
    for path in sorted(folder.rglob("*.py")):
        _add(found, str(path.relative_to(root)), path.read_text(encoding="utf-8"))
    for sizes in (found.files, found.functions, found.parameters, found.methods, found.attributes):
        sizes.sort(key=lambda one: (-one.size, one.place))
    return found


def lines_below(folder: Path) -> int:
    """Code lines of all Python files below it."""
    sources = [path.read_text(encoding="utf-8") for path in folder.rglob("*.py")]
    return sum(len(code_lines(source, ast.parse(source))) for source in sources)


def _add(found: Measures, path: str, source: str) -> None:
    tree = ast.parse(source)
    lines = code_lines(source, tree)
    found.files.append(Size(path, len(lines)))
    for name, node in _definitions(tree):
        place = f"{path}::{name}"
        if isinstance(node, ast.ClassDef):
            found.methods.append(Size(place, sum(isinstance(child, Function) for child in node.body)))
            found.attributes.append(Size(place, len(_attributes(node))))
        else:
            inside = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            found.functions.append(Size(place, len(lines.intersection(inside))))
            found.parameters.append(Size(place, _parameters(node)))
    if any(_reads_environment(node) for node in ast.walk(tree)):
        found.environment.append(path)


def code_lines(source: str, tree: ast.Module) -> set[int]:
    """Numbers of the lines that hold code."""
    used: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SILENT:
            used.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            used.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return used


def _definitions(node: ast.AST, inside: str = "") -> Iterator[tuple[str, Function | ast.ClassDef]]:
    """Functions and classes with their names from the module on, as ``Class.method``."""
    for child in ast.iter_child_nodes(node):
        name = inside
        if isinstance(child, Function | ast.ClassDef):
            name = f"{inside}.{child.name}" if inside else child.name
            yield name, child
        yield from _definitions(child, name)


def _parameters(node: Function) -> int:
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return sum(argument.arg not in BOUND for argument in given)


def _attributes(node: ast.ClassDef) -> set[str]:
    declared = {
        child.target.id
        for child in node.body
        if isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name)
    }
    return declared | {
        part.attr
        for method in node.body
        if isinstance(method, Function)
        for part in ast.walk(method)
        if isinstance(part, ast.Attribute)
        and isinstance(part.ctx, ast.Store)
        and isinstance(part.value, ast.Name)
        and part.value.id == "self"
    }


def _reads_environment(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == "os" and any(alias.name in ENVIRONMENT for alias in node.names)
    return (
        isinstance(node, ast.Attribute)
        and node.attr in ENVIRONMENT
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    )
