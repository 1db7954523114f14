"""Changing functions of modules that are loaded: what tests have imported is changed with them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]


def module_of(file: str) -> str:
    """The name of the module in a file of the project."""
    return file.removeprefix("app/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def patch(file: str, source: bytes) -> int:
    """Have the functions of a loaded module do what they do in another source of it; how many do something else.

    Raises `ValueError` where a function cannot be changed in place: it would refer to other variables around it.
    """
    name = module_of(file)
    loaded = sys.modules[name]
    other = ModuleType(name)
    other.__file__ = str(ROOT / file)
    other.__package__ = loaded.__package__
    exec(compile(source, other.__file__, "exec"), other.__dict__)  # noqa: S102 - the project's own source, changed
    changed = 0
    theirs = dict(_functions(other, name))
    for path, function in _functions(loaded, name):
        new = theirs[path]
        if _behaviour(new) == _behaviour(function):
            continue
        code, function.__defaults__, function.__kwdefaults__ = _behaviour(new)
        if function.__closure__ and not code.co_freevars:
            # It calls `super()` no more; a function takes code only that refers to as much around it as before.
            code = code.replace(co_freevars=function.__code__.co_freevars)
        function.__code__ = code
        changed += 1
    return changed


def _behaviour(function: FunctionType) -> tuple[Any, Any, Any]:
    return function.__code__, function.__defaults__, function.__kwdefaults__


def _functions(holder: object, module: str, path: str = "") -> Iterator[tuple[str, FunctionType]]:
    """The functions of a module or class, by path."""
    for name, value in vars(holder).items():
        if isinstance(value, type):
            if value.__module__ == module:
                yield from _functions(value, module, f"{path}{name}.")
        else:
            for part, function in enumerate(_unwrapped(value)):
                if function.__module__ == module:
                    yield f"{path}{name}/{part}", function


def _unwrapped(value: object) -> Iterator[FunctionType]:
    """The functions behind a name: a property has several, a decorator hides one."""
    match value:
        case property():
            parts: list[object] = [value.fget, value.fset]
        case staticmethod() | classmethod():
            parts = [value.__func__]
        case functools.cached_property():
            parts = [value.func]
        case _:
            parts = [value, getattr(value, "__wrapped__", None)]
    for part in parts:
        if isinstance(part, FunctionType):
            yield part
