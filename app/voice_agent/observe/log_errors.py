"""Errors in log lines: what was raised where, without what it says.

The message of an exception of an agent, an ear, a voice or a tool may quote the caller, or hold a secret. So a line
says of each its type and the places that it came through; only where somebody develops does it say all. Of an error of
the system, as of a connection that is refused, the name of its number stands behind its type, and of a library's line
on an exception nothing that it has made of it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from errno import errorcode
from traceback import StackSummary, walk_tb

import structlog
from structlog.typing import EventDict, WrappedLogger

MAX_FRAMES = 40
"""Of one exception, the innermost: stops an endless recursion from filling the log."""
MAX_EXCEPTIONS = 10
"""Of causes, contexts and groups together."""
_QUOTING = frozenset({"asyncio"})
"""Loggers that put exceptions into their messages, behind the first line of these."""


def told_in_full(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """A processor, for development: exceptions with what they say."""
    event = structlog.processors.format_exc_info(logger, method, event)
    return {name: _in_full(value) if isinstance(value, BaseException) else value for name, value in event.items()}


def told_by_place(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """A processor: exceptions, `exc_info` among them, by their type and where they were raised."""
    if error := _error(event.pop("exc_info", None)):
        event["exception"] = "\n".join(_lines(error))
        record = event.get("_record")
        if record is not None and record.name in _QUOTING:
            event["event"] = str(event["event"]).partition("\n")[0]
    return {name: type_of(value) if isinstance(value, BaseException) else value for name, value in event.items()}


def type_of(error: BaseException) -> str:
    """Module and name of its type, and of an error of the system what that is."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    number = error.errno if isinstance(error, OSError) else None
    return name if number not in errorcode else f"{name} ({errorcode[number or 0]})"


def _in_full(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _error(exc_info: object) -> BaseException | None:
    """What `logging` and structlog take for it."""
    if isinstance(exc_info, tuple):
        exc_info = exc_info[1]
    elif exc_info and not isinstance(exc_info, BaseException):
        exc_info = sys.exception()
    return exc_info if isinstance(exc_info, BaseException) else None


def _lines(error: BaseException) -> Iterator[str]:
    """Each exception behind its traceback; those that it came of first, as Python prints them."""
    for number, (how, one) in enumerate(_together(error, set())):
        if number == MAX_EXCEPTIONS:
            yield "and others"
            return
        for frame in StackSummary.extract(walk_tb(one.__traceback__), limit=-MAX_FRAMES, lookup_lines=False):
            yield f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}'
        yield type_of(one) + how


def _together(error: BaseException, seen: set[int]) -> Iterator[tuple[str, BaseException]]:
    """It and what belongs to it, with what each is to the next."""
    if id(error) in seen:
        return
    seen.add(id(error))
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        *before, (how, last) = list(_together(cause, seen)) or [("", cause)]
        yield from before
        yield how or (", which caused" if error.__cause__ else ", during which came"), last
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from ((how or ", one of", each) for how, each in _together(one, seen))
    yield "", error
