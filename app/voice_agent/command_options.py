"""A command's options as one object: a dataclass is the table of them, and is read once.

Each field is an option, as a parameter of a typer command would be; a field that is a dataclass itself is a group,
whose options stand in its place::

    @dataclass(frozen=True, slots=True)
    class Server:
        url: Annotated[str | None, typer.Option(metavar="URL", help="Where calls go.")] = None

    @with_options(Server)
    def smoke(server: Server) -> None: ...
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

import typer

Word = TypeVar("Word", bound=str)
T = TypeVar("T")


def with_options(table: type[T]) -> Callable[[Callable[[T], None]], Callable[..., None]]:
    """Decorates a command that takes all its options as one object of the dataclass `table`.

    typer reads the options of a command from a function's signature: this makes a function with that signature.
    """

    def decorate(command: Callable[[T], None]) -> Callable[..., None]:
        def run(**given: Any) -> None:
            command(_made(table, given))

        parameters = list(_parameters(table))
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what inspect looks for
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def _parameters(table: type) -> Iterator[inspect.Parameter]:
    """One for each option, in the order of the fields."""
    hints = get_type_hints(table, include_extras=True)
    for field in fields(table):
        if is_dataclass(hints[field.name]):
            yield from _parameters(hints[field.name])
        else:
            default = inspect.Parameter.empty if field.default is MISSING else field.default
            yield inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[field.name]
            )


def _made(table: type[T], given: Mapping[str, Any]) -> T:
    hints: dict[str, Any] = get_type_hints(table)
    return table(
        **{
            name: _made(hints[name], given) if is_dataclass(hints[name]) else given[name]
            for name in (field.name for field in fields(table))  # type: ignore[arg-type]  # it is a dataclass
        }
    )


def one_of(*choices: Word) -> Callable[[str], Word]:
    """Makes an option's `parser` that takes these words only, and names them when it gets another."""

    def choose(given: str) -> Word:
        for choice in choices:
            if choice == given:
                return choice
        raise typer.BadParameter(f"{given!r} is none of: {', '.join(choices)}")

    return choose
