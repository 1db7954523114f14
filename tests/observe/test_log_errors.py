"""What a line of the log says of an exception: nothing that its message may quote."""

from __future__ import annotations

import ast
import asyncio
import base64
import gc
import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

import voice_agent
from tests.runtime.rig import ANSWER, TYPED, AnsweringAgent, rig
from tests.waiting import until
from voice_agent.call.audio import PCM
from voice_agent.kit.call import Call
from voice_agent.kit.clip import Clip, VoicedAudio
from voice_agent.kit.ear import Ear
from voice_agent.kit.events import Asked
from voice_agent.kit.voice import Utterance, Voice
from voice_agent.observe.logs import configure_logs

SAID = "my card is 4929"
"""What a caller said, in the message of an exception."""
AUTHORS = ("runtime/engine", "runtime/calls", "agents", "kit", "providers")
"""Where code of authors, of their providers and tools, raises."""


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """JSON logs go here."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    configure_logs(form="json", level="debug", pod="pod-a", color="green", stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def written(stream: io.StringIO) -> str:
    """Everything so far; a thread writes it."""
    for handler in logging.getLogger().handlers:
        handler.flush()
    return stream.getvalue()


def raise_group() -> None:
    try:
        try:
            raise ConnectionRefusedError(111, SAID)
        except OSError as error:
            error.add_note(SAID)
            raise KeyError(SAID) from error
    except KeyError:
        raise ExceptionGroup(SAID, [ValueError(SAID), LookupError(SAID)])  # noqa: B904 during which it came


def test_an_exception_is_told_by_type_and_place(lines: io.StringIO) -> None:
    """Also what caused it, what it came amid, and each of a group."""
    try:
        raise_group()
    except ExceptionGroup as error:
        structlog.get_logger().exception("failed", error=error)
    line = json.loads(written(lines))
    assert SAID not in written(lines)
    assert line["error"] == "ExceptionGroup"
    said = line["exception"].splitlines()
    types = [text for text in said if not text.startswith(" ")]
    assert types == [
        "ConnectionRefusedError (ECONNREFUSED), which caused",
        "KeyError, during which came",
        "ValueError, one of",
        "LookupError, one of",
        "ExceptionGroup",
    ]
    assert all(f'File "{__file__}", line ' in text for text in said if text.startswith(" "))
    assert said[-2].endswith(", in raise_group")


def test_whoever_develops_is_told_all() -> None:
    """On a console, and with agents that are loaded anew when they are saved."""
    for given in ({"form": "console"}, {"form": "json", "is_development": True}):
        stream = io.StringIO()
        configure_logs(level="debug", pod="p", color="c", stream=stream, **given)
        try:
            raise ValueError(SAID)
        except ValueError as error:
            structlog.get_logger().exception("failed", error=error)
        assert f"ValueError: {SAID}" in written(stream)
    structlog.reset_defaults()


def test_an_endless_recursion_is_cut(lines: io.StringIO) -> None:
    """The innermost places are told."""

    def endless() -> None:
        endless()

    try:
        endless()
    except RecursionError:
        logging.getLogger("of.an.author").exception("failed")
    assert json.loads(written(lines))["exception"].count("\n") <= 40


async def _fails(*_: object) -> Any:
    raise ValueError(SAID)


class FailingEar(Ear):
    """Raises for every turn, or when what it yields is closed."""

    def __init__(self, place: str) -> None:
        self.place = place

    async def transcribe(self, clip: Clip) -> str | None:
        if self.place == "ear":
            raise ValueError(SAID)
        return "hello"


class FailingVoice(Voice):
    """Raises at once, after some audio, or when it is closed."""

    name = "failing"

    def __init__(self, place: str) -> None:
        self.place = place

    def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        if self.place == "voice at once":
            raise ValueError(SAID)
        return self._pieces()

    async def _pieces(self) -> AsyncIterator[VoicedAudio]:
        try:
            yield VoicedAudio(bytes(PCM.size(100)), PCM)
            if self.place == "voice later":
                raise ValueError(SAID)
            if self.place == "voice closed":
                yield VoicedAudio(b"\0", PCM)  # Half a sample: nobody wants more.
        finally:
            if self.place == "voice closed":
                raise ValueError(SAID)


class FailingAgent(AnsweringAgent):
    """Raises in one place."""

    name = "failing"

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place
        self.ear = FailingEar(place)
        self.voice = FailingVoice(place)

    async def answer(self, call: Call, asked: Asked) -> None:
        if self.place == "agent":
            raise ValueError(SAID)
        if self.place == "side effect":
            await call.once("effect", _fails)
        if self.place == "task of nobody":
            asyncio.create_task(_fails())  # noqa: RUF006 nobody waits for it
            await asyncio.sleep(0)
            gc.collect()
        if self.place == "group":
            raise ExceptionGroup(SAID, [ValueError(SAID)])
        async with call.speak() as speech:
            await speech.text("Hello.")


PLACES = ["agent", "side effect", "group", "task of nobody", "ear", "voice at once", "voice later", "voice closed"]


@pytest.mark.parametrize("place", PLACES)
async def test_what_raises_does_not_quote_the_caller(place: str, lines: io.StringIO) -> None:
    """Wherever it does, one line tells the type of what was raised and where, and none what it says."""
    async with rig(None, FailingAgent(place)) as its:
        pod = await its.pod()
        caller = await its.start(pod, "failing")
        if place == "ear":
            audio = base64.b64encode(bytes(PCM.size(300))).decode()
            caller.transport.say({"type": "input_audio_buffer.append", "audio": audio})
            caller.transport.say({"type": "input_audio_buffer.commit"})
        else:
            caller.transport.say(TYPED)
        caller.transport.say(ANSWER)
        await caller.transport.event("response.done")
        await until(lambda: "ValueError" in written(lines))
    assert SAID not in written(lines)
    told = [json.loads(line) for line in written(lines).splitlines()]
    assert any(
        "ValueError" in line["exception"] and ", in " in line["exception"] for line in told if "exception" in line
    )


KNOWN = ["outcome.py"]
"""What is wrong with a tool's result is said in words of its own."""


def test_no_line_makes_text_of_an_exception() -> None:
    """It is given as it is, or not at all, where code of authors raises."""
    ours = Path(voice_agent.__file__).parent
    found = [
        path.name
        for folder in AUTHORS
        for path in (ours / folder).rglob("*.py")
        for handler in ast.walk(ast.parse(path.read_text()))
        if isinstance(handler, ast.ExceptHandler) and handler.name
        for call in ast.walk(handler)
        if isinstance(call, ast.Call) and _logs(call.func) and _quotes(call, handler.name)
    ]
    assert found == KNOWN


def _logs(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "log"


def _quotes(call: ast.Call, error: str) -> bool:
    """Whether text is made in it of an exception, but for the name of its type."""
    makes = (each for each in ast.walk(call) if isinstance(each, ast.FormattedValue | ast.Call) and each is not call)
    return any(error in ast.unparse(each).replace(f"type({error})", "") for each in makes)
