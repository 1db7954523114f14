"""The agents of docs/agents.md, what callers do with them, and how such a talk is written down.

``python -m tests.e2e.documented`` writes the talks into the document: of each, a pod is killed in the middle.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.e2e.listener import AGENT, Listener, listening
from tests.e2e.pods import pods
from tests.e2e.test_takeover import colors
from tests.servers import redis_server
from voice_agent.call.audio import PCM

DOCUMENT = Path(__file__).parents[2] / "docs" / "agents.md"
EXAMPLE = re.compile(r"^`(\w+)\.py`\n\n```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
CLASS = re.compile(r"^class (\w+)", re.MULTILINE)
"""The last one of a file is its agent."""
TALK = re.compile(r"^<!-- transcript (\w+) -->\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
KILLED = ("pod", "kill -9; another one goes on")

Moment = Callable[[], Awaitable[None]]
"""Waited for at the moment of a talk at which its pod is to die."""

PUSH_TO_TALK: dict[str, Any] = {"audio": {"input": {"turn_detection": None}}}
LOOK_UP = {"type": "function", "name": "look_up", "parameters": {"type": "object", "properties": {}}}
SESSIONS: dict[str, dict[str, Any]] = {"orders": {"tools": [LOOK_UP]}}


async def counter(caller: Listener, moment: Moment) -> None:
    """Killed in the middle of the third sentence."""
    await caller.type("go on")
    await _has_said(caller, "number 3")
    await moment()
    await caller.replies(1)


async def orders(caller: Listener, moment: Moment) -> None:
    """Killed while the client looks."""
    await caller.type("where is my order")
    await caller.replies(1)
    await moment()
    await caller.give("on its way")
    await caller.replies(2)


async def tables(caller: Listener, moment: Moment) -> None:
    """Killed when the table has been booked."""
    await caller.type("a table, please")
    await _has_said(caller, "table")
    await moment()
    await caller.replies(1)
    await caller.type("and another one")
    await caller.replies(2)


async def egg(caller: Listener, moment: Moment) -> None:
    """Killed while the timer runs."""
    await caller.replies(1)
    await caller.type("it is")
    await caller.replies(2)
    await moment()
    await caller.replies(3)


async def reception(caller: Listener, moment: Moment) -> None:
    """Killed while the caller is told."""
    await caller.type("hello")
    await caller.replies(1)
    await caller.type("a person, please")
    await _has_said(caller, "putting")
    await moment()
    await caller.until(lambda: caller.has_ended)


async def durations(caller: Listener, moment: Moment) -> None:
    """Killed when it begins to answer."""
    await caller.speak(b"\1\1" * (PCM.size(1200) // 2))
    await _has_said(caller, "You")
    await moment()
    await caller.replies(1)


async def beeps(caller: Listener, moment: Moment) -> None:
    """Killed while the first sentence is said."""
    await caller.type("go on")
    await _has_said(caller, "One")
    await moment()
    await caller.replies(1)


async def questions(caller: Listener, moment: Moment) -> None:
    """Killed in the middle of the second answer."""
    await caller.replies(1)
    await caller.type("what is this")
    await caller.replies(2)
    await caller.type("and what is that")
    await _has_said(caller, "question 2")
    await moment()
    await caller.replies(3)


async def _has_said(caller: Listener, words: str) -> None:
    """Wait until the agent is saying something."""
    await caller.until(lambda: words in caller.words)
    await caller.hears(len(caller.audio) + 1)


TALKS = {each.__name__: each for each in (counter, orders, tables, egg, reception, durations, beeps, questions)}


SAME_IN_EACH_CALL = {f"agent_{name}_voice": "espeak" for name in TALKS if name != "beeps"}
"""Settings of pods. The server's natural voice says the same only within one call; `beeps` has a voice of its own."""


def examples() -> dict[str, str]:
    """The agents of the document, by the names of their files."""
    return dict(EXAMPLE.findall(DOCUMENT.read_text(encoding="utf-8")))


def written() -> dict[str, str]:
    """The talks of the document, by the names of their agents."""
    return dict(TALK.findall(DOCUMENT.read_text(encoding="utf-8")))


def agents_in(directory: Path) -> str:
    """Write the agents into files; what `--agent` names them by."""
    named = []
    for name, code in examples().items():
        file = directory / f"{name}.py"
        file.write_text(code)
        named.append(f"{file}:{CLASS.findall(code)[-1]}")
    return ",".join(named)


async def talk(name: str, url: str, moment: Moment) -> Listener:
    """One caller's talk with an agent, from its beginning to its end."""
    async with listening(url, model=name, session={**PUSH_TO_TALK, **SESSIONS.get(name, {})}) as caller:

        async def noted() -> None:
            await moment()
            caller.note(*KILLED)

        await TALKS[name](caller, noted)
        return caller


def as_text(lines: list[tuple[str, str]]) -> str:
    """A talk as the document shows it."""
    return "".join(f"{who:<7} {what.strip()}\n" for who, what in lines)


def without_the_kill(text: str) -> str:
    """The same without the line that says when the pod died: what an agent said before and after it is one line."""
    lines: list[list[str]] = []
    for line in text.splitlines():
        who, what = line[:7].strip(), line[8:]
        if (who, what) == KILLED:
            continue
        if lines and who == AGENT == lines[-1][0]:
            lines[-1][1] += f" {what}"
        else:
            lines.append([who, what])
    return "".join(f"{who:<7} {what}\n" for who, what in lines)


async def killed(name: str, store_url: str) -> str:
    """A talk whose pod is killed at its moment."""
    with TemporaryDirectory() as directory:
        async with pods(store_url) as its, AsyncExitStack() as stack:
            its.agents, its.settings = agents_in(Path(directory)), dict(SAME_IN_EACH_CALL)
            blue, green, switch = await stack.enter_async_context(colors(its))

            async def moment() -> None:
                switch.target = green.port
                blue.kill()

            return as_text((await talk(name, switch.url, moment)).lines)


async def main() -> None:
    """Write all of them anew."""
    text = DOCUMENT.read_text(encoding="utf-8")
    for name in examples():
        with redis_server() as server:
            shown = await killed(name, server.url)
        print(name, shown, sep="\n")
        block = f"<!-- transcript {name} -->\n\n```text\n{shown}```\n"
        [old] = [found[0] for found in TALK.finditer(text) if found[1] == name]
        text = text.replace(old, block)
    DOCUMENT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
