"""An agent that yields sentences: its callers are told everything, and nothing twice, whatever becomes of the pod."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.listener import Listener, listening
from tests.e2e.pods import PodProcess, pods
from tests.e2e.test_own_agent import install
from tests.e2e.test_takeover import Switch, colors
from tests.e2e.varying import heard_words, written_words

COUNTER = """\
from voice_agent import Scripted

class Counter(Scripted):
    name = "counter"

    async def answer(self, turn):
        for n in range(1, 7):
            yield f"This is sentence number {n}. "
"""
WORDS = "".join(f"This is sentence number {n}. " for n in range(1, 7))
FAST = {"audio": {"output": {"speed": 1.5}}}
"""What a caller wants who has not all day."""
VARYING = f"{Path(__file__).with_name('varying.py')}:Varying"


async def spread(stack: AsyncExitStack, switch: Switch, number: int, whole_bytes: int) -> list[Listener]:
    """Callers who are at moments of a reply that lie evenly between its beginning and its end.

    `whole_bytes`: how long its audio is, about. Each calls when the first has heard one part of it more.
    """
    callers: list[Listener] = []
    for _ in range(number):
        if callers:
            await callers[0].hears(whole_bytes * len(callers) // (number + 1))
        caller = await stack.enter_async_context(listening(switch.url, session=FAST))
        await caller.type("go on")
        await caller.hears(1)
        callers.append(caller)
    return callers


async def whole_reply(pod: PodProcess) -> Listener:
    """A caller of the same agent whose pod lives."""
    async with listening(pod.url, session=FAST) as caller:
        await caller.type("go on")
        await caller.replies(1)
        return caller


MOMENTS = [pytest.param(3, id="3"), pytest.param(20, id="20", marks=pytest.mark.slow)]


@pytest.mark.parametrize("moments", MOMENTS)
@pytest.mark.parametrize("by", ["file", pytest.param("package", marks=pytest.mark.slow)])
async def test_twelve_lines_survive_kill_9(redis_url: str, tmp_path: Path, by: str, moments: int) -> None:
    """The words and the audio are those of a call whose pod lives, at whatever moment of the reply it dies."""
    install(tmp_path, COUNTER, "counter", "my_package:Counter")
    async with pods(redis_url) as its, AsyncExitStack() as stack:
        its.agents = "counter" if by == "package" else f"{tmp_path / 'my_package.py'}:Counter"
        its.packages = [tmp_path] if by == "package" else []
        its.settings = {"agent_counter_voice": "espeak"}  # It says the same in each call; hibari only within one.
        blue, green, switch = await stack.enter_async_context(colors(its))
        whole = await whole_reply(blue)
        assert whole.words == WORDS
        callers = await spread(stack, switch, moments, len(whole.audio))
        switch.target = green.port
        blue.kill()
        for caller in callers:
            await caller.replies(1)
            assert caller.words == WORDS
            assert caller.audio == whole.audio
            assert caller.statuses == ["completed"]
            assert len(caller.breaks_at) == 1
            caller.check_numbers()


@pytest.mark.parametrize("moments", MOMENTS)
async def test_a_text_and_a_voice_that_vary_say_nothing_twice_and_leave_nothing_out(
    redis_url: str, moments: int
) -> None:
    """Each sentence is said once; the sound breaks at a word, of which nothing is missing."""
    async with pods(redis_url) as its, AsyncExitStack() as stack:
        its.agents = VARYING
        blue, green, switch = await stack.enter_async_context(colors(its))
        whole = await whole_reply(blue)
        assert heard_words(whole.audio) == written_words(whole.words)
        callers = await spread(stack, switch, moments, len(whole.audio))
        switch.target = green.port
        under_way = sum(not caller.statuses for caller in callers)  # The first may have been told a shorter one.
        blue.kill()
        for caller in callers:
            await caller.replies(1)
            assert [number for number, _ in groupby(re.findall(r"(\d)\d\d", caller.words))] == list("123456")
            assert re.findall(r"(\d)00", caller.words) == list("123456")
            assert heard_words(caller.audio) == written_words(caller.words)
            assert caller.words != whole.words
            caller.check_numbers()
        metrics = await green.metrics()
        # Where the pod died before a word was durable, nothing differs from anything.
        assert metrics['voice_agent_faults_total{kind="other_text"}'] in (under_way - 1, under_way)


@pytest.mark.parametrize("how", ["kill", pytest.param("term", marks=pytest.mark.slow)])
async def test_two_versions_of_an_agent_take_calls_from_each_other(redis_url: str, tmp_path: Path, how: str) -> None:
    """Blue has one and green the next: no sentence is said twice or left out, and the difference is counted."""
    files: dict[str, Any] = {}
    for color in ("blue", "green"):
        files[color] = tmp_path / f"{color}.py"
        files[color].write_text(COUNTER.replace("This is sentence", f"{color.title()} says sentence"))
    async with pods(redis_url) as its, AsyncExitStack() as stack:
        blue = await its.start("blue", agent=f"{files['blue']}:Counter")
        green = await its.start("green", agent=f"{files['green']}:Counter")
        await its.route(blue=50, green=50)
        switch = Switch(blue.port)
        await switch.serve(stack)
        [caller] = await spread(stack, switch, 1, 0)
        await caller.until(lambda: "number 2" in caller.words)
        switch.target = green.port
        if how == "kill":
            blue.kill()
        else:
            blue.terminate()
        await caller.replies(1)
        assert re.findall(r"number (\d)", caller.words) == list("123456")
        if how == "kill":
            said = re.findall(r"(Blue|Green) says", caller.words)
            assert said == sorted(said)
            assert set(said) == {"Blue", "Green"}
            assert (await green.metrics())['voice_agent_faults_total{kind="other_text"}'] == 1
        await caller.until(lambda: caller.breaks_at)
        await caller.type("go on")
        await caller.replies(2)
        assert caller.words.endswith("Green says sentence number 6. ")
        caller.check_numbers()
