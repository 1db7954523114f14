"""Logs: one line an event, as JSON or for a terminal, and nothing in them that opens a call.

Everything goes through the same processors, the lines of libraries too. Redaction works
on names (a field called `…token` is starred out) and on text (queries of URLs and
credentials are cut off), and never shows raw bytes.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from voice_agent.observe.log_errors import told_by_place, told_in_full
from voice_agent.observe.log_queue import QueuedLines, ReadyLines

SECRET_NAME = re.compile(
    r"(token|secret|password|authorization|audio|cookie|(^|_)key$|(^|_)keys$|api_?key|call_?key)", re.IGNORECASE
)
QUERY = re.compile(r"""(?<=[\w/)\]%.-])\?[\w%.~-]+=[^\s"'<>]*""")
CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")
BEARER = re.compile(r"\b(Bearer\s+|openai-insecure-api-key\.)[^\s\"',]+", re.IGNORECASE)
STARS = "***"
MAX_DEPTH = 6
MAX_NAMES = 1024
"""Names of fields whose meaning is remembered."""


def configure_logs(
    *,
    form: str,
    level: str,
    pod: str,
    color: str,
    stream: TextIO | None = None,
    forks: bool = False,
    is_development: bool = False,
) -> None:
    """Send all logs of this process to `stream` (None: standard error). `form` is ``json`` or ``console``.

    No logging call waits for the reader of the log: see `log_queue`. `forks`: the process must have no thread.
    `is_development`, and on a console: what exceptions say is shown, which may quote callers (see `log_errors`).
    Safe to call again; the last call counts.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _Bound(pod=pod, color=color),
        told_in_full if is_development or form == "console" else told_by_place,
        redact,
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=(stream or sys.stderr).isatty())
        if form == "console"
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = ReadyLines(stream or sys.stderr) if forks else QueuedLines(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    for old in root.handlers:
        if isinstance(old, QueuedLines):
            old.close()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    _quieten_libraries()


def dropped_lines() -> int:
    """How many log lines were dropped because they were not read in time, since the logs were configured."""
    return sum(it.dropped for it in logging.getLogger().handlers if isinstance(it, QueuedLines))


def _quieten_libraries() -> None:
    """Libraries speak from warnings up, whatever the level.

    At `info` uvicorn prints the query of every WebSocket's URL, tokens and all; at
    `debug` websockets prints headers and frames.
    """
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi", "websockets", "httpx", "httpcore", "redis", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()
    access.propagate = False
    access.disabled = True


class _Bound:
    """Adds what is the same in every line of a process."""

    def __init__(self, **fields: str) -> None:
        self._fields = fields

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        for name, value in self._fields.items():
            event.setdefault(name, value)
        return event


def redact(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Star out what must not be read in a log."""
    return {name: _clean(str(name), value, 0) for name, value in event.items()}


def _clean(name: str, value: Any, depth: int) -> Any:
    if name.startswith("_") or value is None or isinstance(value, bool | int | float):
        return value
    if _is_secret(name):
        return STARS
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if depth >= MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {key: _clean(str(key), inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean("", inner, depth + 1) for inner in value]
    return clean_text(str(value))


@lru_cache(MAX_NAMES)
def _is_secret(name: str) -> bool:
    return SECRET_NAME.search(name) is not None


def clean_text(text: str) -> str:
    """`text` without queries of URLs, credentials in URLs, and bearer tokens."""
    if "?" in text:
        text = QUERY.sub("?" + STARS, text)
    if "://" in text:
        text = CREDENTIALS.sub(STARS + "@", text)
    lowered = text.lower()
    if "bearer" in lowered or "openai" in lowered:  # Looking for these costs a fifth of what the expression does.
        text = BEARER.sub(r"\g<1>" + STARS, text)
    return text
