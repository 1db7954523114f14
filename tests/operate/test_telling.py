"""What people and scripts see of a cutover.

Tests of `lines` and `screen`, too.
"""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from tests.operate.simulated import Counter, Simulation
from tests.operate.test_runner import BACK, FORTH, LOST, OPTIONS, cut_off, cut_over, cutting
from voice_agent.operate.context import Reporter
from voice_agent.operate.journal import Journal
from voice_agent.operate.judging import ErrorBudget
from voice_agent.operate.lines import CutoverLines
from voice_agent.operate.losses import PodCount
from voice_agent.operate.patience import Unfinished
from voice_agent.operate.plan import CutoverProgress, Step, rolled_back_on_request
from voice_agent.operate.runner import Runner
from voice_agent.operate.screen import CutoverScreen


class Both:
    """Tells two."""

    def __init__(self, first: Reporter, second: Reporter) -> None:
        self._both = (first, second)

    def __getattr__(self, name: str) -> Any:
        def tell(*args: Any, **more: Any) -> None:
            for reporter in self._both:
                getattr(reporter, name)(*args, **more)

        return tell


async def told(its: Simulation, reporter: Reporter) -> CutoverProgress:
    """A whole cutover, shown by this reporter."""
    context = replace(its.context(Counter()), reporter=Both(its.reporter, reporter))
    return await Runner(context, OPTIONS, ErrorBudget()).run("green")


async def test_json_lines_say_all_that_a_script_may_want() -> None:
    """Steps in order with their weights, looks with both colors' calls, and a last line with the outcome."""
    its, out = Simulation(), io.StringIO()
    await told(its, CutoverLines(out, its.clock))
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["step"] for line in lines if line["event"] == "step"] == FORTH
    assert all("at_ms" in line for line in lines)
    looks = [line for line in lines if line["event"] == "look" and line["active_calls"]["blue"] is not None]
    assert looks[0]["active_calls"] == {"blue": 8, "green": 0}
    assert looks[-1]["active_calls"] == {"blue": 0, "green": 8}
    assert looks[-1]["weights"] == {"green": 100}
    over = lines[-1]
    assert (over["event"], over["ok"], over["reason"], over["step"]) == ("over", True, "", "done")
    assert over["drain_seconds"] > 0
    assert (over["exit"], over["lost"], over["why_lost"]) == (0, 0, [])


async def test_a_lost_caller_is_told_to_scripts_and_to_people() -> None:
    """It was done, and that is not all: the number, why, and an exit status of its own."""
    its, out = cutting(), io.StringIO()
    await told(its, CutoverLines(out, its.clock))
    over = json.loads(out.getvalue().splitlines()[-1])
    assert (over["ok"], over["exit"], over["step"], over["lost"], over["why_lost"]) == (False, 3, "done", 1, list(LOST))
    its, out = cutting(), io.StringIO()
    with CutoverScreen(Console(file=out, width=100), its.clock) as screen:
        await told(its, screen)
    *_, lost, serves = out.getvalue().splitlines()
    assert lost.endswith("1 caller was lost: 1 on blue: cut off at the drain's deadline, and cannot resume")
    assert "green serves all callers" in serves


async def test_a_run_that_ends_before_its_end_tells_and_keeps_who_was_lost() -> None:
    """In the middle of the watch: in the record as soon as it is seen, and in the last line."""
    whole = Counter()
    await cut_over(cutting(), whole)
    last_look = len(whole.asked) - whole.asked[::-1].index("drain_request")
    left = await cut_off(cutting(), Counter(die_at=last_look))
    assert left is not None
    assert (left.step, left.lost, left.why_lost) == (Step.WATCH, 1, LOST)

    its, out = cutting(), io.StringIO()
    lines = CutoverLines(out, its.clock)
    context = replace(its.context(Counter()), reporter=Both(its.reporter, lines))
    with pytest.raises(Unfinished) as unfinished:
        await Runner(context, replace(OPTIONS, watch_deadline_s=24), ErrorBudget()).run("green")
    lines.stopped(str(unfinished.value), unfinished.value.exit_status)
    over = json.loads(out.getvalue().splitlines()[-1])
    assert (over["event"], over["exit"], over["lost"], over["why_lost"]) == ("over", 1, 1, list(LOST))
    kept = await Journal(its.store, its.clock).read()
    assert kept is not None
    assert (kept.step, kept.why_lost) == (Step.WATCH, LOST)


async def test_json_lines_of_a_rollback_end_with_its_reason() -> None:
    """`ok` is false."""
    its, out = Simulation(), io.StringIO()
    its.smoke_fails = "nobody answers"
    await told(its, CutoverLines(out, its.clock))
    over = json.loads(out.getvalue().splitlines()[-1])
    assert (over["ok"], over["reason"], over["step"]) == (False, "nobody answers", "rolled_back")
    assert over["exit"] == 1


@pytest.mark.parametrize("asked", ["tell_weights", "healthy_targets", "smoke", "write"])
async def test_a_rollback_that_was_asked_for_has_done_what_it_should(asked: str) -> None:
    """Whichever step it undoes; the last line and the process end with the same status."""
    its, out = Simulation(), io.StringIO()
    whole = Counter()
    await cut_over(Simulation(), whole)
    left = await cut_off(its, Counter(die_at=whole.asked.index(asked) + 1))
    assert left is not None
    context = replace(its.context(Counter()), reporter=Both(its.reporter, CutoverLines(out, its.clock)))
    undone = await Runner(context, OPTIONS, ErrorBudget()).roll_back()
    over = json.loads(out.getvalue().splitlines()[-1])
    assert (undone.exit, over["exit"], over["ok"]) == (0, 0, True)
    assert (over["step"], over["reason"]) == ("rolled_back", "rollback asked for")


async def test_a_rollback_that_loses_callers_says_so() -> None:
    """3, from the command that asked for it; from one that goes on to cut over to that color: 1, it does not serve."""
    lost = {"green-9 1": PodCount("green-9", "green", dropped={"drain": 1})}
    for asked_again, status in ((True, 3), (False, 1)):
        its = Simulation()
        left = await cut_off(its, Counter(die_at=60))
        assert left is not None
        back = replace(rolled_back_on_request(left, "rollback asked for", 0), rollback_asked=True, counts=lost)
        journal = Journal(its.store, its.clock)
        await journal.read()
        await journal.save(back)
        runner = Runner(its.context(Counter()), OPTIONS, ErrorBudget())
        undone = await (runner.roll_back() if asked_again else runner.run("green"))
        assert (undone.step, undone.exit, undone.lost) == (Step.ROLLED_BACK, status, 1)


async def test_a_file_gets_a_line_a_step() -> None:
    """Without a terminal nothing is drawn over; the reason of a rollback stands where it happened and at the end."""
    its = Simulation()
    its.per_second = lambda context: setattr(
        context.of("green")[0],
        "counters",
        replace(context.of("green")[0].counters, dropped=int("watch" in its.reporter.steps)),
    )
    out = io.StringIO()
    with CutoverScreen(Console(file=out, width=100), its.clock) as screen:
        progress = await told(its, screen)
    assert progress.step is Step.ROLLED_BACK
    assert its.reporter.steps[-5:] == BACK
    text = out.getvalue()
    assert "blue → green over two rules, now: blue 100 green 0" in text
    assert "shifting: blue 75 green 25" in text
    assert "green answers" in text
    assert text.count("green: 1 dropped calls (limit 0)") == 2
    assert text.rstrip().endswith("rolled back: green: 1 dropped calls (limit 0)")
    assert "\x1b" not in text


async def test_a_terminal_is_shown_weights_and_calls() -> None:
    """The table under the log: weights, calls by color, what is waited for; an unknown number is a question mark."""
    its, out = Simulation(), io.StringIO()
    with CutoverScreen(Console(file=out, width=100, force_terminal=True), its.clock) as screen:
        progress = await told(its, screen)
        numbers = await its.watch.look(["blue", "green"])
        drawn = Console(file=io.StringIO(), width=100, record=True)
        drawn.print(screen._drawn(progress, numbers, "blue to be empty"))
        drawn.print(screen._drawn(progress, None, "the store to answer"))
    text = drawn.export_text()
    assert "active calls" in text
    assert "100 %" in text
    assert "waits for blue to be empty" in text
    assert "?" in text
    assert "green serves all callers" in out.getvalue()


@pytest.mark.parametrize("step", list(Step))
async def test_every_step_has_a_title(step: Step) -> None:
    """Nobody reads an enum's name at night."""
    its, out = Simulation(), io.StringIO()
    progress = await told(its, CutoverScreen(Console(file=io.StringIO()), its.clock))
    CutoverScreen(Console(file=out, width=100), its.clock).step(replace(progress, step=step))
    assert "{" not in out.getvalue()
    assert len(out.getvalue().split("s  ", 1)[1].strip()) > 3
