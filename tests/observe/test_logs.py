"""Logs: their shape, and what must never be in them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from voice_agent.observe.logs import clean_text, configure_logs


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def lines() -> io.StringIO:
    """JSON logs of a pod go here."""
    stream = io.StringIO()
    configure_logs(form="json", level="debug", pod="pod-a", color="green", stream=stream)
    return stream


def written(stream: io.StringIO) -> str:
    """Everything so far; a thread writes it."""
    for handler in logging.getLogger().handlers:
        handler.flush()
    return stream.getvalue()


def logged(stream: io.StringIO) -> list[dict[str, Any]]:
    """Every line so far."""
    return [json.loads(line) for line in written(stream).splitlines()]


def test_a_line_says_where_and_which_call(lines: io.StringIO) -> None:
    """Every line carries pod and color, and the call that its author bound."""
    structlog.get_logger("voice_agent.web").bind(call_id="call_x").info("upgraded", epoch=2)
    (line,) = logged(lines)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "upgraded",
        "epoch": 2,
        "call_id": "call_x",
        "pod": "pod-a",
        "color": "green",
        "level": "info",
    }


@pytest.mark.parametrize(
    "name",
    ["resume_token", "api_key", "call_key", "key", "secret", "VOICE_SECRET", "authorization", "Authorization", "audio"],
)
def test_a_secret_field_is_starred_out(lines: io.StringIO, name: str) -> None:
    """Names that mean secrets or speech hide their value, at any depth."""
    structlog.get_logger().warning("seen", **{name: "tell-nobody"}, inside={name: ["tell-nobody"]})
    assert "tell-nobody" not in written(lines)
    assert logged(lines)[0]["inside"][name] == "***"


def test_fields_that_only_look_alike_are_shown(lines: io.StringIO) -> None:
    """A key's position is no secret."""
    structlog.get_logger().info("seen", keyboard="qwerty", monkey="rhesus")
    assert logged(lines)[0]["keyboard"] == "qwerty"


def test_raw_bytes_are_never_shown(lines: io.StringIO) -> None:
    """Bytes are speech more often than not."""
    structlog.get_logger().info("seen", payload=b"tell-nobody")
    assert logged(lines)[0]["payload"] == "<11 bytes>"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("GET /realtime?call_key=abc&x=1 HTTP/1.1", "GET /realtime?*** HTTP/1.1"),
        ('"WebSocket /realtime/call_x?resume_token=abc" [accepted]', '"WebSocket /realtime/call_x?***" [accepted]'),
        ("cannot reach redis://user:hunter2@host:6379/0", "cannot reach redis://***@host:6379/0"),
        ("Authorization: Bearer sk-abc", "Authorization: Bearer ***"),
        ("realtime, openai-insecure-api-key.sk-abc", "realtime, openai-insecure-api-key.***"),
        ("is it there? yes=1", "is it there? yes=1"),
    ],
)
def test_text_loses_what_opens_calls(text: str, clean: str) -> None:
    """Queries of URLs, credentials in them and bearer tokens are cut off wherever they stand."""
    assert clean_text(text) == clean


def test_a_traceback_is_one_line_and_clean(lines: io.StringIO) -> None:
    """What an error says is not told, nor is any local variable."""
    resume_token = "tell-nobody"
    try:
        raise ValueError(f"bad url /realtime?resume_token={resume_token}")
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = logged(lines)
    assert line["exception"].endswith("ValueError")
    assert "tell-nobody" not in written(lines)


def test_lines_of_libraries_take_the_same_way(lines: io.StringIO) -> None:
    """uvicorn's own warnings come out as JSON, redacted; its lines with URLs do not come at all."""
    logging.getLogger("uvicorn.error").info('%s - "WebSocket %s" [accepted]', "127.0.0.1:1", "/realtime?call_key=abc")
    logging.getLogger("uvicorn.access").warning("GET /realtime?call_key=abc")
    logging.getLogger("websockets.server").debug("> GET /realtime?call_key=abc")
    logging.getLogger("uvicorn.error").warning("strange request /x?call_key=%s", "abc")
    (line,) = logged(lines)
    assert line["event"] == "strange request /x?***"
    assert line["pod"] == "pod-a"


def test_the_level_is_kept() -> None:
    """Lines below the level are not written."""
    stream = io.StringIO()
    configure_logs(form="json", level="warning", pod="p", color="c", stream=stream)
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    assert [line["event"] for line in logged(stream)] == ["loud"]


def test_console_lines_are_for_people() -> None:
    """With `console` a line is text with the fields after it, redacted too."""
    stream = io.StringIO()
    configure_logs(form="console", level="info", pod="pod-a", color="blue", stream=stream)
    structlog.get_logger().info("upgraded", call_id="call_x", resume_token="tell-nobody")
    line = written(stream)
    assert "upgraded" in line
    assert "call_id=call_x" in line
    assert "tell-nobody" not in line
