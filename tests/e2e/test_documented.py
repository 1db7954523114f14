"""Each agent of docs/agents.md runs as it stands there, and its talk is the one that stands there, though its pod dies.

Tests of `documented`, too.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from tests.e2e.documented import SAME_IN_EACH_CALL, TALKS, agents_in, as_text, examples, talk, without_the_kill, written
from tests.e2e.pods import pods
from tests.e2e.test_takeover import colors


def test_every_agent_of_the_document_has_a_talk_and_every_talk_an_agent() -> None:
    """None is left out."""
    assert set(examples()) == set(written()) == set(TALKS)


def test_where_the_pod_died_makes_no_difference_to_what_was_said() -> None:
    """What was said before and after is one line."""
    text = "caller  hi\nagent   One.\npod     kill -9; another one goes on\nagent   Two.\n"
    assert without_the_kill(text) == "caller  hi\nagent   One. Two.\n"


async def test_the_agents_of_the_document_run_and_survive_kill_9(redis_url: str, tmp_path: Path) -> None:
    """All of them at once, each at its own moment; another caller of each has a pod that lives, and the same talk."""
    async with pods(redis_url) as its, AsyncExitStack() as stack:
        its.agents, its.settings = agents_in(tmp_path), dict(SAME_IN_EACH_CALL)
        blue, green, switch = await stack.enter_async_context(colors(its))
        moments = asyncio.Barrier(len(TALKS))

        async def killed() -> None:
            switch.target = green.port
            if await moments.wait() == 0:
                blue.kill()

        async def lives() -> None:
            """This pod does not die."""

        talks = [talk(name, switch.url, killed) for name in TALKS] + [talk(name, green.url, lives) for name in TALKS]
        callers = await asyncio.gather(*talks)
        for name, broken, whole in zip(TALKS, callers, callers[len(TALKS) :], strict=False):
            expected = without_the_kill(written()[name])
            assert without_the_kill(as_text(broken.lines)) == expected
            assert without_the_kill(as_text(whole.lines)) == expected
            assert broken.audio == whole.audio
            broken.check_numbers()
