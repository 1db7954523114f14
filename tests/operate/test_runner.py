"""Cutovers, cut off at every step and gone on with, rolled back for every reason.

Tests of `changes`, `context`, `monitor`, `patience`, `ports` and `steps`, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from dataclasses import replace

import orjson
import pytest

from tests.operate.simulated import Counter, Died, SimPod, Simulation
from voice_agent.errors import StoreError, StoreFull, StoreRefused, StoreUnavailable
from voice_agent.operate.journal import LEASE, RECORD, Journal
from voice_agent.operate.judging import ErrorBudget
from voice_agent.operate.patience import StoreAway, Unfinished, waits_for_store
from voice_agent.operate.plan import CutoverProgress, Options, Step
from voice_agent.operate.ports import CutoverError, Numbers, WatchError
from voice_agent.operate.runner import CutoverRefused, NothingToDo, Runner, Stuck, forget
from voice_agent.stores.base import DrainRequest, PodCounters

OPTIONS = Options(percents=(25, 100), hold_s=4, buffer_s=6, drain_deadline_s=60, watch_deadline_s=120)
FORTH = "prepare preflight smoke shift hold shift hold alone drain watch finish".split()
BACK = "reopen return hand_back watch_back rest".split()


async def cut_over(
    its: Simulation, counter: Counter | None = None, *, to: str = "green", options: Options = OPTIONS
) -> CutoverProgress:
    return await Runner(its.context(counter or Counter()), options, ErrorBudget()).run(to)


async def cut_off(its: Simulation, counter: Counter) -> CutoverProgress | None:
    """A run that dies, unless it is told to when nobody waits for it; returns what the journal says then."""
    with contextlib.suppress(Died):
        await cut_over(its, counter)
    return await Journal(its.store, its.clock).read()


def check_done(its: Simulation, progress: CutoverProgress) -> None:
    assert progress.step is Step.DONE
    assert its.router.rules == [{"green": 100}] * 2
    assert (its.calls("blue"), its.calls("green")) == (0, 8)
    check_rest(its)


def check_rolled_back(its: Simulation, progress: CutoverProgress) -> None:
    assert progress.step in (Step.ROLLED_BACK, Step.REFUSED)
    assert its.router.rules == [{"blue": 100, "green": 0}] * 2
    assert (its.calls("blue"), its.calls("green")) == (8, 0)
    check_rest(its)


def check_rest(its: Simulation) -> None:
    """Nobody was sent to a color that drains, and no request is left behind."""
    assert its.broken == []
    assert its.store._requests == {}
    told = its.store._weights
    assert told is None or [told.weights] * 2 == its.router.rules


async def test_callers_move_step_by_step() -> None:
    """Smoke before the first weight, both weights, then green alone, then blue drains and stays empty."""
    its = Simulation()
    progress = await cut_over(its)
    check_done(its, progress)
    assert its.reporter.steps == FORTH
    assert its.smokes == ["green"]
    assert progress.drain.seconds is not None
    assert 0 < progress.drain.seconds < 30
    assert its.router.retired == []


async def test_there_and_back() -> None:
    """The way back is a cutover like the one there; a third to where all are already does nothing."""
    its = Simulation()
    await cut_over(its)
    progress = await cut_over(its, to="blue")
    assert progress.step is Step.DONE
    assert its.router.rules == [{"blue": 100}] * 2
    assert (its.calls("blue"), its.calls("green")) == (8, 0)
    check_rest(its)
    with pytest.raises(NothingToDo, match="blue alone serves all callers"):
        await cut_over(its, to="blue")


async def test_delete_retires_the_old_color_last() -> None:
    """Only once it was empty for the whole buffer."""
    its = Simulation()
    await cut_over(its, options=Options(hold_s=1, buffer_s=6, drain_deadline_s=60, delete=True))
    assert its.router.retired == ["blue"]
    assert its.reporter.steps.index("finish") > its.reporter.steps.index("watch")


@pytest.mark.parametrize("after", [False, True])
async def test_a_run_that_dies_anywhere_is_gone_on_with(after: bool) -> None:
    """Before or after each of the tool's requests: the next run ends as the first would have."""
    whole = Counter()
    await cut_over(Simulation(), whole)
    assert whole.calls > 80
    for die_at in range(1, whole.calls + 1):
        its = Simulation()
        left = await cut_off(its, Counter(die_at=die_at, after=after))
        check_done(its, await cut_over(its) if left is None or not left.is_over else left)


@pytest.mark.parametrize("after", [False, True])
async def test_a_rollback_that_dies_anywhere_is_gone_on_with(after: bool) -> None:
    """Green drops a call once blue drains; the run that undoes it dies, and the next one undoes it."""
    whole = Counter()
    check_rolled_back(its := _dropping(), await cut_over(its, whole))
    gone_on_with = 0
    for die_at in range(whole.asked.index("smoke"), whole.calls + 1):
        its = _dropping()
        left = await cut_off(its, Counter(die_at=die_at, after=after))
        assert left is not None
        if not left.is_over and left.is_rolling_back:
            gone_on_with += 1
            left = await cut_over(its)
        if left.is_over:
            assert left.reason == "green: 1 dropped calls (limit 0)"
            check_rolled_back(its, left)
    assert gone_on_with > 20


def _dropping() -> Simulation:
    """A simulation in which green loses a call as soon as blue drains."""
    its = Simulation()

    def lose(simulation: Simulation) -> None:
        if any(pod.draining for pod in simulation.of("blue")):
            simulation.of("green")[0].counters = PodCounters(ended=1, dropped=1)

    its.per_second = lose
    return its


async def test_a_smoke_call_that_fails_moves_nobody() -> None:
    """Nothing has been changed, so nothing is undone; the reason is the smoke call's."""
    its = Simulation()
    its.smoke_fails = "green answered after 3.1 s (limit 2 s)"
    progress = await cut_over(its)
    check_rolled_back(its, progress)
    assert progress.reason == its.smoke_fails
    assert its.reporter.steps == ["prepare", "preflight", "smoke"]


def _failing(simulation: Simulation) -> None:
    simulation.of("green")[0].counters = PodCounters(ended=10, failed=4)


def _slow(simulation: Simulation) -> None:
    simulation.of("green")[1].counters = PodCounters(turns={"0.5": 1, "5.0": 40, "inf": 40})


def _losing(simulation: Simulation) -> None:
    simulation.of("green")[1].counters = PodCounters(dropped=2)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (_failing, r"green: 4 of 1[0-9] calls failed"),
        (_slow, r"green: 95 % of 40 turns took up to 4\.\d\d s \(limit 2 s\)"),
        (_losing, r"green: 2 dropped calls \(limit 0\)"),
    ],
)
@pytest.mark.parametrize("step", ["hold", "watch"])
async def test_a_limit_that_is_passed_rolls_back(harm: Callable[[Simulation], None], reason: str, step: str) -> None:
    """In a hold and while blue drains, for errors, for latency and for dropped calls."""
    its = Simulation()
    its.per_second = lambda simulation: (
        harm(simulation) if simulation.reporter.steps and simulation.reporter.steps[-1] == step else None
    )
    progress = await cut_over(its)
    check_rolled_back(its, progress)
    assert re.search(reason, progress.reason), progress.reason
    assert its.reporter.steps[-5:] == BACK


async def test_what_green_did_before_is_not_held_against_it() -> None:
    """Only what is counted after the first shift."""
    its = Simulation()
    for harm in (_failing, _losing):
        harm(its)
    check_done(its, await cut_over(its))


async def test_an_interrupt_at_any_moment_rolls_back() -> None:
    """Ctrl-C at each of the tool's requests: callers and calls are where they were, or the cutover was through."""
    whole = Counter()
    await cut_over(Simulation(), whole)
    outcomes: set[Step] = set()
    for act_at in range(1, whole.calls + 1):
        its = Simulation()
        counter = Counter(act_at=act_at)
        runner = Runner(its.context(counter), OPTIONS, ErrorBudget())
        counter.act = runner.interrupt
        progress = await runner.run("green")
        outcomes.add(progress.step)
        if progress.step is Step.DONE:
            assert progress.drain.drained_at_ms is not None
            check_done(its, progress)
        else:
            assert progress.reason == "interrupted"
            check_rolled_back(its, progress)
    assert outcomes == {Step.DONE, Step.ROLLED_BACK}


async def test_an_interrupt_waits_for_a_write_that_is_on_its_way() -> None:
    """A router's answer takes its time, and a request that nobody waits for arrives all the same: after the undoing."""
    whole = Counter()
    await cut_over(Simulation(), whole)
    for act_at in (at + 1 for at, asked in enumerate(whole.asked) if asked == "write"):
        its = Simulation()
        counter = Counter(act_at=act_at)
        runner = Runner(its.context(counter), OPTIONS, ErrorBudget())

        def interrupt(its: Simulation = its, runner: Runner = runner) -> None:
            its.router.slow = 10_000
            runner.interrupt()

        counter.act = interrupt
        progress = await runner.run("green")
        await asyncio.gather(*its.router.writing)
        check_rolled_back(its, progress)


async def test_two_at_once_are_refused() -> None:
    """The second one says so while the first is at work, and changes nothing."""
    its = Simulation()
    first = asyncio.create_task(cut_over(its))
    while "shift" not in its.reporter.steps:
        await asyncio.sleep(0)
    with pytest.raises(CutoverError, match="another cutover is at work"):
        await cut_over(its)
    check_done(its, await first)
    assert its.reporter.steps == FORTH


async def test_an_unfinished_cutover_is_not_turned_round_by_accident() -> None:
    """`--to blue` in the middle of one to green is refused with what to do; `--rollback` undoes it."""
    whole = Counter()
    await cut_over(Simulation(), whole)
    its = Simulation()
    with pytest.raises(Died):
        await cut_over(its, Counter(die_at=whole.asked.index("write") + 1, after=True))
    assert its.reporter.steps[-1] == "shift"
    with pytest.raises(CutoverError, match=r"unfinished \(step shift\): finish it with --to green, .* --rollback"):
        await cut_over(its, to="blue")
    progress = await Runner(its.context(Counter()), OPTIONS, ErrorBudget()).roll_back()
    check_rolled_back(its, progress)
    with pytest.raises(CutoverError, match="no cutover is unfinished"):
        await Runner(its.context(Counter()), OPTIONS, ErrorBudget()).roll_back()


async def test_a_throttled_router_is_asked_again() -> None:
    """A write that changed one rule of two is repeated until both agree."""
    its = Simulation()
    its.router.fails = 5
    check_done(its, await cut_over(its))
    assert "the second rule was not changed: throttled; trying again" in its.reporter.said_lines


async def test_a_router_that_stays_away_is_rolled_back_or_said() -> None:
    """When it cannot even be put back, that is said, with the command to give once it can."""
    its = Simulation()
    its.router.fails = 10_000
    with pytest.raises(Stuck, match=r"the rollback stopped at return: .*go on with --rollback"):
        await cut_over(its)
    its.router.fails = 0
    check_rolled_back(its, await Runner(its.context(Counter()), OPTIONS, ErrorBudget()).roll_back())


async def test_missing_data_never_counts_as_drained() -> None:
    """All blue pods die in the drain: nobody says 0, so the wait ends at its deadline, and green goes on serving."""
    its = Simulation()

    def die(simulation: Simulation) -> None:
        for pod in simulation.of("blue"):
            if pod.draining:
                pod.alive = False

    its.per_second = die
    with pytest.raises(Unfinished, match="how many calls it has is not known.*nothing was deleted"):
        await cut_over(its)
    assert its.router.rules == [{"green": 100}] * 2
    assert its.router.retired == []


def cutting(at_most_s: float = 20.0) -> Simulation:
    """A simulation in which blue has a call that cannot resume, and cuts it off some time after its drain began."""
    its = Simulation()
    blue = its.of("blue")[0]
    blue.not_resumable = 1
    began: list[float] = []

    def cut(simulation: Simulation) -> None:
        if blue.draining:
            began.append(simulation.clock.now_s)
        if blue.not_resumable and began and simulation.clock.now_s - began[0] > at_most_s:
            blue.calls, blue.not_resumable = blue.calls - 1, 0
            blue.counters = PodCounters(dropped=1, causes={"drain": 1})

    its.per_second = cut
    return its


LOST = ("1 on blue: cut off at the drain's deadline, and cannot resume",)


async def test_a_caller_lost_on_the_old_color_is_a_loss() -> None:
    """Green serves all callers but one: preflight says so before, the outcome and the record say it after."""
    its = cutting()
    progress = await cut_over(its)
    assert (progress.step, progress.exit, progress.lost, progress.why_lost) == (Step.DONE, 3, 1, LOST)
    assert (
        "blue has 8 calls: 1 cannot resume, and is lost unless ended within 60 s of the drain"
        in its.reporter.said_lines
    )
    kept = await its.store.get(RECORD)
    assert kept is not None
    assert (orjson.loads(kept)["lost"], tuple(orjson.loads(kept)["why_lost"])) == (1, LOST)
    check_rest(its)


@pytest.mark.parametrize("after", [False, True])
async def test_a_loss_is_told_whichever_run_ends_it(after: bool) -> None:
    """The tool dies at each of its requests, and the next one goes on."""
    whole = Counter()
    await cut_over(cutting(), whole)
    for die_at in range(1, whole.calls + 1):
        its = cutting()
        left = await cut_off(its, Counter(die_at=die_at, after=after))
        progress = await cut_over(its) if left is None or not left.is_over else left
        assert (progress.step, progress.exit, progress.why_lost) == (Step.DONE, 3, LOST), die_at


async def test_a_pod_that_dies_with_calls_is_named_and_what_it_loses_counts() -> None:
    """Its resumable calls go on elsewhere; those that are not are lost with it, though no counter says so."""
    its = Simulation()
    victim = its.of("blue")[1]
    victim.not_resumable = 2

    def kill(simulation: Simulation) -> None:
        if "hold" in simulation.reporter.steps and victim.alive:
            victim.alive = False

    its.per_second = kill
    progress = await cut_over(its, options=replace(OPTIONS, watch_deadline_s=300))
    assert (progress.step, progress.exit, progress.lost) == (Step.DONE, 3, 2)
    assert progress.why_lost == ("2 on blue-1 (blue): it fell silent, and they cannot resume",)
    told = "blue-1 (blue) has fallen silent: it had 4 calls, 2 of which cannot resume"
    assert its.reporter.said_lines.count(told) == 1


async def test_silent_pods_are_named_when_nobody_can_say_how_green_does() -> None:
    """All of green dies in the hold with a call each: the reason says which pods they were."""
    its = Simulation()
    for pod in its.of("green"):
        pod.calls = 1

    def die(simulation: Simulation) -> None:
        for pod in simulation.of("green") if simulation.reporter.looks > 3 else []:
            pod.alive = False

    its.per_second = die
    progress = await cut_over(its)
    assert progress.reason == "for 30 s nobody could say how green does (green-0, green-1 fell silent)"
    assert progress.exit == 1


def _away(its: Simulation, seconds: float) -> Callable[[], None]:
    """Begins an outage of the store."""

    def begin() -> None:
        ends_s = its.clock.now_s + seconds
        its.store.is_away = True
        its.per_second = lambda simulation: setattr(simulation.store, "is_away", simulation.clock.now_s < ends_s)

    return begin


async def test_a_store_that_is_away_for_75_seconds_is_waited_for() -> None:
    """Whenever that begins: nothing is undone and nobody is lost; where callers are is said meanwhile."""
    whole = Counter()
    await cut_over(Simulation(), whole)
    for act_at in range(whole.asked.index("drain_request") + 1, whole.calls):
        its = Simulation()
        counter = Counter(act_at=act_at)
        counter.act = _away(its, 75)
        progress = await cut_over(its, counter, options=replace(OPTIONS, watch_deadline_s=300))
        assert progress.step is Step.DONE, (act_at, whole.asked[act_at - 1], progress.reason)
        check_done(its, progress)
        assert progress.exit == 0


@pytest.mark.parametrize("back", [False, True])
async def test_no_deadline_runs_while_the_store_is_away(back: bool) -> None:
    """Neither that for an empty old color, nor that for a new one to be handed back: pods are told nothing then."""
    its = Simulation()
    its.of("green" if back else "blue")[0].not_resumable = 1
    step = "watch_back" if back else "watch"
    began: list[float] = []

    def pass_by(simulation: Simulation) -> None:
        if "hold" in simulation.reporter.steps and back and not began:
            simulation.of("green")[0].counters = PodCounters(ended=1, dropped=1)
        if step in simulation.reporter.steps and not began:
            began.append(simulation.clock.now_s)
            simulation.of("green" if back else "blue")[0].calls += 1
        if began:
            away_s = simulation.clock.now_s - began[0]
            simulation.store.is_away = 1 < away_s < 200
            if away_s > 215:
                for pod in simulation.pods:
                    pod.calls, pod.not_resumable = pod.calls - pod.not_resumable, 0

    its.per_second = pass_by
    progress = await cut_over(its)
    assert progress.step is (Step.ROLLED_BACK if back else Step.DONE)
    assert progress.remarks == ()


async def test_a_store_that_refuses_is_not_waited_for() -> None:
    """In a hold it says nothing of the new color, and that rolls back: no later try is answered otherwise."""
    its = Simulation()
    since: list[float] = []

    def refuse(simulation: Simulation) -> None:
        if "hold" in simulation.reporter.steps and not since:
            since.append(simulation.clock.now_s)
        simulation.store.refuses_pods = bool(since) and simulation.clock.now_s - since[0] < 60

    its.per_second = refuse
    with pytest.raises(Stuck, match="It was begun because: for 30 s nobody could say how green does"):
        await cut_over(its)
    assert not [line for line in its.reporter.said_lines if line.startswith("waits up to")]


def test_what_a_full_store_keeps_from_callers_is_said() -> None:
    """Take-overs work; one that is away keeps them, and takes new calls."""
    assert "new calls are refused until it has room" in waits_for_store(StoreFull("full"), "here")
    assert "resumes on other pods are refused until it is back" in waits_for_store(StoreUnavailable("no"), "here")


async def test_where_callers_are_is_said_while_the_store_is_away() -> None:
    """At hold: how they are split, that calls go on, and what not to do; once, not every second."""
    whole = Counter()
    await cut_over(Simulation(), whole)
    its = Simulation()
    counter = Counter(act_at=whole.asked.index("look", whole.asked.index("write")) + 3)
    counter.act = _away(its, 75)
    check_done(its, await cut_over(its, counter))
    (told,) = [line for line in its.reporter.said_lines if line.startswith("waits up to 600 s for the store")]
    assert "Callers are sent to blue 75 green 25; calls under way go on where they are" in told
    assert "do not restart or drain pods" in told
    assert "the store is back" in its.reporter.said_lines


async def test_a_store_that_stays_away_stops_the_tool_with_the_next_command() -> None:
    """Nothing is done that is not known to be noted; once the store is back, the same command goes on."""
    whole = Counter()
    await cut_over(Simulation(), whole)
    for act_at in (whole.asked.index("write") + 2, whole.asked.index("request_drain"), whole.asked.index("look") + 5):
        its = Simulation()
        counter = Counter(act_at=act_at)
        counter.act = _away(its, 10_000)
        with pytest.raises(
            StoreAway, match=r"away for 60\d s\. .*[Cc]allers are sent to|was about to be set"
        ) as stopped:
            await cut_over(its, counter)
        assert "the same command goes on, and --rollback undoes it" in str(stopped.value)
        its.per_second = lambda simulation: setattr(simulation.store, "is_away", False)
        await its.clock.sleep(20)
        check_done(its, await cut_over(its))


async def test_what_is_refused_says_so_by_its_exit_status() -> None:
    """2: nobody was moved. 1: it was begun and undone, also on the first Ctrl-C."""
    its = Simulation()
    its.of("green")[0].version = "2"
    await its.clock.sleep(3)
    assert (await cut_over(its)).exit == 2
    its = Simulation()
    its.smoke_fails = "silence"
    assert (await cut_over(its)).exit == 1
    its = Simulation()
    runner = Runner(its.context(Counter()), OPTIONS, ErrorBudget())
    runner.interrupt()
    assert (await runner.run("green")).exit == 1
    its = Simulation()
    its.store.refuses = True
    its.clock.passing.clear()
    with pytest.raises(CutoverRefused, match="no such permission; nothing was changed") as refused:
        await cut_over(its)
    assert refused.value.exit_status == 2


@pytest.mark.parametrize("rollback", [False, True])
async def test_a_run_that_begins_in_a_failover_waits_for_its_end(rollback: bool) -> None:
    """What takes over an unfinished cutover would else end for good with 2, and callers be left half way."""
    for act_at in (1, 2):  # The lease, and the record.
        its = Simulation()
        whole = Counter()
        await cut_over(Simulation(), whole)
        await cut_off(its, Counter(die_at=whole.asked.index("write") + 1))
        counter = Counter(act_at=act_at)
        counter.act = _away(its, 3)
        runner = Runner(its.context(counter), OPTIONS, ErrorBudget())
        if rollback:
            check_rolled_back(its, await runner.roll_back())
        else:
            check_done(its, await runner.run("green"))
        assert any(line.startswith("waits up to 30 s for the store") for line in its.reporter.said_lines)


async def test_a_run_that_does_not_learn_what_was_begun_does_not_call_it_refused() -> None:
    """2 would say that nobody was moved: an earlier run may have done that."""
    its = Simulation()
    its.store.is_away = True
    with pytest.raises(StoreAway, match=r"away for 3\d s\. Whether a cutover is under way is not known") as away:
        await cut_over(its)
    assert away.value.exit_status == 1


async def test_force_leaves_a_dead_color() -> None:
    """Without a single blue pod a cutover is refused; with --force green gets everybody."""
    its = Simulation()
    for pod in its.of("blue"):
        pod.alive = False
    await its.clock.sleep(8)
    progress = await cut_over(its)
    assert (progress.step, progress.reason) == (
        Step.REFUSED,
        "there is no blue pod: deploy it, or name another color",
    )
    progress = await cut_over(its, options=Options(buffer_s=6, watch_deadline_s=60, force=True))
    assert progress.step is Step.DONE
    assert progress.remarks == ("no blue pod is left; what became of its calls is not known here",)
    assert its.router.rules == [{"green": 100}] * 2


async def test_a_source_that_falls_silent_ends_a_hold_and_not_a_wait() -> None:
    """Nobody goes on shifting blind; with everybody on green already, only the wait for blue ends."""
    for step, ends in (("hold", Step.ROLLED_BACK), ("watch", None)):
        its = Simulation()
        look = its.watch.look

        async def blind(colors: list[str], step: str = step, look: object = look, its: Simulation = its) -> object:
            if its.reporter.steps[-1] == step:
                raise WatchError("prometheus does not answer", retryable=True)
            return await look(colors)  # type: ignore[operator]

        its.watch.look = blind  # type: ignore[method-assign, assignment]
        if ends is None:
            with pytest.raises(Unfinished):
                await cut_over(its)
            assert its.router.rules == [{"green": 100}] * 2
        else:
            progress = await cut_over(its)
            assert progress.reason == "for 30 s nobody could say how green does"
            check_rolled_back(its, progress)


@pytest.mark.parametrize("failure", [StoreUnavailable("no answer"), StoreRefused("NOPERM")])
async def test_a_lease_that_could_not_be_renewed_twice_is_renewed_the_third_time(
    monkeypatch: pytest.MonkeyPatch, failure: StoreError
) -> None:
    """Whether the store was silent or said no, the steps go on as long as no other tool has the lease."""
    its = Simulation()
    swap, renewals = its.store.compare_and_set, 0

    async def failing(name: str, old: bytes | None, new: bytes | None, *, ttl_s: int) -> bool:
        nonlocal renewals
        if name == LEASE and old is not None and new is not None:
            renewals += 1
            if renewals in (1, 2):
                raise failure
        return await swap(name, old, new, ttl_s=ttl_s)

    monkeypatch.setattr(its.store, "compare_and_set", failing)
    check_done(its, await cut_over(its))
    assert renewals > 2


async def test_a_drain_that_somebody_takes_back_is_rolled_back() -> None:
    """`drain --color blue --cancel` from anywhere is a way to stop a cutover."""
    its = Simulation()

    def take_back(simulation: Simulation) -> None:
        if any(pod.draining for pod in simulation.of("blue")) and "watch" in simulation.reporter.steps:
            simulation.store._requests.pop("blue", None)

    its.per_second = take_back
    progress = await cut_over(its)
    assert progress.reason.startswith("the drain of blue was taken back")
    check_rolled_back(its, progress)


@pytest.mark.parametrize("ahead_ms", [-1, 7_200_000])
async def test_a_drain_requested_before_gives_way(ahead_ms: int) -> None:
    """Somebody once asked blue to drain, and to let its calls finish: the cutover's own request hands them off.

    Whatever time it was on the machine of whoever asked.
    """
    its = Simulation()
    await its.store.request_drain("blue", DrainRequest("finish", 9999, its.clock.wall_ms() + ahead_ms))
    requests: list[DrainRequest | None] = []
    its.per_second = lambda simulation: requests.append(simulation.store._requests.get("blue"))
    progress = await cut_over(its, options=replace(OPTIONS, force=True))
    assert progress.step is Step.DONE
    assert [request.mode for request in requests if request][-1] == "handoff"


async def test_a_drain_that_a_second_run_asks_for_again_keeps_its_deadline() -> None:
    """It is the same request, so pods go on with the drain that they have begun."""
    whole = Counter()
    await cut_over(Simulation(), whole)
    its = Simulation()
    requests: list[DrainRequest | None] = []
    its.per_second = lambda simulation: requests.append(simulation.store._requests.get("blue"))
    await cut_off(its, Counter(die_at=whole.asked.index("request_drain") + 1, after=True))
    await its.clock.sleep(20)
    check_done(its, await cut_over(its))
    assert len({request for request in requests if request is not None}) == 1


async def test_another_router_does_not_go_on_with_a_cutover() -> None:
    """The weights to put back are those of the first."""
    whole = Counter()
    await cut_over(Simulation(), whole)
    its = Simulation()
    await cut_off(its, Counter(die_at=whole.asked.index("write") + 1))
    its.router.name = "three rules"
    with pytest.raises(CutoverError, match="begun with another router: two rules"):
        await cut_over(its)
    assert "from blue to green over two rules at step shift" in await forget(its.store, its.clock)
    with pytest.raises(CutoverError, match="no cutover is unfinished"):
        await forget(its.store, its.clock)
    check_done(its, await cut_over(its))


async def test_a_drain_that_is_still_requested_of_green_is_taken_back_first() -> None:
    """A cutover clears the drain request of the color it goes to."""
    its = Simulation()
    its.router.rules = [{"blue": 100}] * 2
    await its.store.request_drain("green", DrainRequest("handoff", 600, 1))
    await its.clock.sleep(3)
    assert its.ready_pods("green") == []
    check_done(its, await cut_over(its))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda pod: setattr(pod, "reads_schemas", (3, 4)), "reads records of schema 3 to 4 and blue of 2"),
        (lambda pod: setattr(pod, "capacity", 3), "green has room for 6 calls, and blue has 8: scale green up"),
        (lambda pod: setattr(pod, "status", "degraded"), "green-0, green-1 cannot reach the store well"),
        (lambda pod: setattr(pod, "store", "full"), "green-0, green-1 cannot write to the store, which is full: mend"),
        (lambda pod: setattr(pod, "store", "refused"), "cannot write to the store, which refuses it"),
        (lambda pod: setattr(pod, "version", pod.name), r"run different versions \(green-0, green-1\)"),
        (lambda pod: setattr(pod, "status", "failing"), "no green pod takes calls"),
        (lambda pod: setattr(pod, "alive", False), "there is no green pod"),
    ],
)
async def test_preflight_names_what_is_wrong(change: Callable[[object], None], reason: str) -> None:
    """Before anybody is called or moved."""
    its = Simulation()
    for pod in its.of("green"):
        change(pod)
    await its.clock.sleep(8)
    progress = await cut_over(its)
    assert re.search(reason, progress.reason), progress.reason
    assert its.smokes == []
    assert its.router.rules == [{"blue": 100, "green": 0}] * 2


async def test_a_pod_that_left_does_not_keep_a_cutover_from_beginning() -> None:
    """Its last heartbeat is of the version before, whose rollout is through."""
    its = Simulation()
    its.pods.append(SimPod("green-9", "green", version="0", status="left"))
    its.heartbeat()
    its.pods.pop()
    check_done(its, await cut_over(its))


async def test_counts_of_a_pod_that_leaves_stay_counted() -> None:
    """A color's counters never shrink, so no loss hides behind a restart."""
    its = Simulation()
    _losing(its)
    await its.clock.sleep(3)
    before = (await its.watch.look(["green"]))["green"]
    its.of("green")[1].alive = False
    await its.clock.sleep(8)
    after = (await its.watch.look(["green"]))["green"]
    assert isinstance(after, Numbers)
    assert (before.dropped, after.dropped) == (2, 2)


async def test_a_pod_that_falls_silent_keeps_its_calls_for_a_while() -> None:
    """It may be cut off from the store and serve on: its color is not empty because its heartbeat is missing."""
    its = Simulation()
    cut_off = its.of("blue")[1]

    def silence(simulation: Simulation) -> None:
        if cut_off.draining:
            cut_off.alive = False

    its.per_second = silence
    progress = await cut_over(its, options=replace(OPTIONS, watch_deadline_s=300))
    assert progress.step is Step.DONE
    assert progress.drain.seconds is not None
    assert progress.drain.seconds > 100
    assert cut_off.calls > 0
