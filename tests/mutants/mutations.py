"""One-line changes of a source, each of which a test ought to notice.

What is changed: a condition is turned round, half of an `and` or `or` goes, a comparison is off by one, a statement
that does something (a call, an `await`, an assignment to an attribute, a `raise`, an early `return`) goes, the body of
a function that returns nothing goes, a lock or a limit around a block goes, a number is one more, a flag is the other
one, `min` is `max`.

What is not: texts, for they are for people; log lines; assertions, which only narrow types; what a module does when it
is imported, and numbers above one that are the defaults of a class, for limits have names, by which the tests call them
too; what a constructor sets, without which nothing works.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

NEGATED: dict[type[ast.cmpop], str] = {
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
EXACT = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn)
"""Comparisons of which the change above is the opposite: their condition need not be turned round as well."""
SWAPPED = {"min": "max", "max": "min", "any": "all", "all": "any"}
ARITHMETIC: dict[type[ast.operator], str] = {ast.Add: "-", ast.Sub: "+", ast.Mult: "//", ast.FloorDiv: "*"}
UNWATCHED = ("log", "warnings")
"""What is said to people and changes nothing."""
LONGEST = 100
"""Characters of a piece of code in a mutation's name."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change. `key` names it as long as its function says the same, wherever that stands."""

    file: str
    scope: str
    """The function or class it is in, as ``Class.method``; "" is the module."""
    change: str
    lines: tuple[int, int]
    """First and last of the lines of which one runs in every test that might notice."""
    span: tuple[int, int]
    """Bytes of the source that are replaced."""
    put: bytes
    is_default: bool = False
    """Whether it is a field's default, which no line runs."""
    nth: int = 1
    """Of several that read the same in one scope."""

    @property
    def key(self) -> str:
        return f"{self.file}::{self.scope} | {self.change}" + (f" | {self.nth}" if self.nth > 1 else "")

    def apply(self, source: bytes) -> bytes:
        """The source with the change."""
        start, end = self.span
        return source[:start] + self.put + source[end:]


def mutants_of(file: str, source: bytes) -> list[Mutant]:
    """All changes of a file, in the order of its lines."""
    found = list(_Finder(file, source).module())
    found.sort(key=lambda mutant: mutant.span)
    met: Counter[str] = Counter()
    numbered = []
    for mutant in found:
        met[mutant.key] += 1
        numbered.append(replace(mutant, nth=met[mutant.key]))
    return numbered


class _Finder:
    def __init__(self, file: str, source: bytes) -> None:
        self._file = file
        self._source = source
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._scope: list[str] = []
        self._lines = (0, 0)
        """Of the class around, while no function is."""
        self._is_in_function = False
        self._is_tuple = False
        """Whether the class around is a named tuple, whose defaults cannot be changed once it is made."""

    def module(self) -> Iterator[Mutant]:
        for statement in ast.parse(self._source).body:
            if isinstance(statement, ast.ClassDef | Function):
                yield from self._statement(statement)

    # --- statements -------------------------------------------------------------

    def _statement(self, node: ast.stmt) -> Iterator[Mutant]:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from self._function(node)
            case ast.ClassDef():
                yield from self._class(node)
            case ast.Assert() | ast.Import() | ast.ImportFrom() | ast.Expr(ast.Constant()):
                return
            case ast.Expr(ast.Call(func=ast.Attribute(value=ast.Name(id=name)))) if name in UNWATCHED:
                return
            case ast.Expr(ast.Call(func=ast.Name(id="assert_never"))):
                return
            case _ if self._is_in_function:
                if self._does_something(node):
                    yield self._mutant(node, node, f"drop {_text(node)}", b"pass")
                if isinstance(node, ast.With | ast.AsyncWith):
                    yield from self._without(node)
                yield from self._parts(node)
            case ast.AnnAssign(value=ast.expr() as value) if not self._is_tuple:
                yield from self._default(value)

    def _class(self, node: ast.ClassDef) -> Iterator[Mutant]:
        self._scope.append(node.name)
        before, self._lines = self._lines, (node.lineno, node.end_lineno or node.lineno)
        self._is_tuple = any(_text(base) == "NamedTuple" for base in node.bases)
        for statement in node.body:
            yield from self._statement(statement)
        self._lines, self._is_tuple = before, False
        self._scope.pop()

    def _default(self, value: ast.expr) -> Iterator[Mutant]:
        """Of a field of a dataclass."""
        if isinstance(value, ast.Constant) and value.value in (0, 1) and not isinstance(value.value, float):
            for mutant in self._expression(value, value):
                yield replace(mutant, lines=self._lines, is_default=True)

    def _function(self, node: Function) -> Iterator[Mutant]:
        if any(_text(decorator) == "overload" for decorator in node.decorator_list):
            return
        self._scope.append(node.name)
        before, self._is_in_function = self._is_in_function, True
        body = node.body[ast.get_docstring(node, clean=False) is not None :]
        lines = (node.lineno, node.end_lineno or node.lineno)
        if len(body) > 1 and _returns_nothing(node) and node.name != "__init__":
            span = (self._at(body[0])[0], self._at(body[-1])[1])
            yield self._made("do nothing", (body[0].lineno, body[0].lineno), span, b"return")
        for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
            for mutant in self._expression(default, default):
                yield replace(mutant, lines=lines)
        for statement in body:
            yield from self._statement(statement)
        self._is_in_function = before
        self._scope.pop()

    def _does_something(self, node: ast.stmt) -> bool:
        match node:
            case ast.Expr(ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id="super"))))):
                return False
            case ast.Expr(ast.Call() | ast.Await()):
                return True
            case ast.Assign(targets=targets):
                is_kept = all(isinstance(target, ast.Attribute | ast.Subscript) for target in targets)
                return is_kept and self._scope[-1] != "__init__"
            case ast.AugAssign() | ast.Delete() | ast.Raise() | ast.Continue() | ast.Break():
                return True
            case ast.Return():
                return node.value is None
            case _:
                return False

    def _without(self, node: ast.With | ast.AsyncWith) -> Iterator[Mutant]:
        if any(item.optional_vars for item in node.items):
            return
        last = node.items[-1].context_expr
        end = self._source.index(b":", self._at(last)[1])
        change = "without " + ", ".join(_text(item.context_expr) for item in node.items)
        yield self._made(change, (node.lineno, node.body[0].lineno), (self._at(node)[0], end), b"if True")

    # --- expressions ------------------------------------------------------------

    def _parts(self, node: ast.stmt) -> Iterator[Mutant]:
        """What can be changed within a statement, and in the statements it holds."""
        holds_statements = hasattr(node, "body") or hasattr(node, "cases")
        for name, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                match child:
                    case ast.stmt():
                        yield from self._statement(child)
                    case ast.expr() if name == "test":
                        yield from self._condition(child, child)
                        yield from self._expression(child, child)
                    case ast.expr() if name != "annotation":
                        yield from self._expression(child, child if holds_statements else node)
                    case ast.ExceptHandler():
                        yield from self._parts_of(child.body)
                    case ast.match_case(guard=guard):
                        if guard is not None:
                            yield from self._condition(guard, guard)
                            yield from self._expression(guard, guard)
                        yield from self._parts_of(child.body)
                    case ast.withitem():
                        yield from self._expression(child.context_expr, child.context_expr)

    def _parts_of(self, body: list[ast.stmt]) -> Iterator[Mutant]:
        for statement in body:
            yield from self._statement(statement)

    def _condition(self, test: ast.expr, where: ast.stmt | ast.expr) -> Iterator[Mutant]:
        match test:
            case ast.Compare(ops=[op]) if isinstance(op, EXACT):
                return  # `_expression` makes it its opposite.
            case ast.Constant() | ast.UnaryOp(op=ast.Not()):
                return
        yield self._mutant(test, where, f"not ({_text(test)})", b"not " + self._code(test))

    def _expression(self, top: ast.expr, where: ast.stmt | ast.expr) -> Iterator[Mutant]:
        for node in _walk(top):
            match node:
                case ast.Compare(left=left, ops=[op], comparators=[right]):
                    yield self._joined(node, where, left, NEGATED[type(op)], right)
                case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                    yield self._joined(node, where, left, ARITHMETIC[type(op)], right)
                case ast.BoolOp(op=op, values=values):
                    word = b" and " if isinstance(op, ast.And) else b" or "
                    for value in values:
                        put = word.join(self._code(other) for other in values if other is not value)
                        yield self._mutant(node, where, f"{_text(node)} without {_text(value)}", put)
                case ast.UnaryOp(op=ast.Not(), operand=operand):
                    yield self._mutant(node, where, f"{_text(node)} -> {_text(operand)}", self._code(operand))
                case ast.IfExp(test=test):
                    yield from self._condition(test, where)
                case ast.comprehension(ifs=ifs):
                    for test in ifs:
                        yield from self._condition(test, where)
                case ast.Call(func=ast.Name(id=name) as func) if name in SWAPPED:
                    yield self._mutant(func, where, f"{_text(node)} -> {SWAPPED[name]}", SWAPPED[name].encode())
                case ast.Constant(value=bool() as value):
                    yield self._mutant(node, where, f"{value} -> {not value}", str(not value).encode())
                case ast.Constant(value=int() | float() as value):
                    yield self._mutant(node, where, f"{value} -> {value + 1}", str(value + 1).encode())

    def _joined(self, node: ast.expr, where: ast.stmt | ast.expr, left: ast.expr, sign: str, right: ast.expr) -> Mutant:
        put = b" ".join([self._code(left), sign.encode(), self._code(right)])
        return self._mutant(node, where, f"{_text(node)} -> {sign}", put)

    # --- making one ---------------------------------------------------------------

    def _mutant(self, node: ast.stmt | ast.expr, where: ast.stmt | ast.expr, change: str, put: bytes) -> Mutant:
        return self._made(change, (where.lineno, where.end_lineno or where.lineno), self._at(node), put)

    def _made(self, change: str, lines: tuple[int, int], span: tuple[int, int], put: bytes) -> Mutant:
        return Mutant(self._file, ".".join(self._scope), change, lines, span, put)

    def _at(self, node: ast.stmt | ast.expr) -> tuple[int, int]:
        """Where a piece of code stands, in bytes."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._starts[node.lineno - 1] + node.col_offset, self._starts[node.end_lineno - 1] + node.end_col_offset

    def _code(self, node: ast.expr) -> bytes:
        start, end = self._at(node)
        return b"(" + self._source[start:end] + b")"


def _walk(top: ast.AST) -> Iterator[ast.AST]:
    """As `ast.walk`, from left to right, and not into texts: before Python 3.12 nodes in them have no place.

    Nor into the `strict` of a `zip`, which is an assertion.
    """
    yield top
    match top:
        case ast.JoinedStr() | ast.keyword(arg="strict"):
            return
    for child in ast.iter_child_nodes(top):
        yield from _walk(child)


def _text(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 2] + " …"


def _returns_nothing(node: Function) -> bool:
    return isinstance(node.returns, ast.Constant) and node.returns.value is None
