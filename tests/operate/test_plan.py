"""The tables of a cutover, and its record."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from voice_agent.operate.plan import (
    FINAL,
    NEXT,
    ROLLS_BACK_TO,
    CutoverProgress,
    DrainTimes,
    Options,
    Step,
    advanced,
    as_json,
    from_json,
    rolled_back,
)
from voice_agent.operate.ports import Routing

PROGRESS = CutoverProgress(
    cutover_id="cut_1",
    old="blue",
    new="green",
    router="two rules",
    before=Routing({"blue": 100, "green": 0}),
    options=Options(percents=(5, 25, 100)),
    started_at_ms=1000,
)


def test_every_way_through_the_tables_ends() -> None:
    """From each step, by success alone or with one failure, a final step is reached, and each is in a table."""
    for step in Step:
        reached = step
        for _ in Step:
            reached = NEXT.get(reached, reached)
        assert reached in FINAL
    assert set(NEXT) | FINAL == set(Step)
    assert set(ROLLS_BACK_TO) == set(list(Step)[: list(Step).index(Step.FINISH)])
    assert all(NEXT.get(to, Step.ROLLED_BACK) is not Step.DONE for to in ROLLS_BACK_TO.values())


def test_weights_grow_one_by_one() -> None:
    """Each is set, then held; after the last the new color is alone."""
    progress = replace(PROGRESS, step=Step.SHIFT)
    seen: list[str] = []
    while progress.step in (Step.SHIFT, Step.HOLD):
        seen.append(f"{progress.step.value}: {progress.routing}")
        progress = advanced(progress, 2000)
    assert seen == [
        f"{what}: blue {100 - percent} green {percent}" for percent in (5, 25, 100) for what in ("shift", "hold")
    ]
    assert str(progress.routing) == "green 100 alone"
    assert progress.drain.shifted_at_ms == 2000


def test_the_way_back_leads_past_cookies() -> None:
    """The old color alone gets callers until the new one is empty; then it is as it was."""
    progress = rolled_back(replace(PROGRESS, step=Step.DRAIN), "too slow", 3000)
    seen: list[str] = []
    while not progress.is_over:
        seen.append(f"{progress.step.value}: {progress.routing}")
        progress = advanced(progress, 4000)
    back = "reopen return hand_back watch_back".split()
    assert seen == [*(f"{step}: blue 100 alone" for step in back), "rest: blue 100 green 0"]
    assert progress.step is Step.ROLLED_BACK


@pytest.mark.parametrize("before", [Routing({"blue": 60, "green": 40}), Routing({"blue": 100}, differing=("rule 2",))])
def test_a_rollback_ends_with_the_old_color_alone_where_it_did_not_serve_alone_before(before: Routing) -> None:
    """Half a change of somebody else's is not what anybody wants back."""
    assert replace(PROGRESS, before=before).original == Routing({"blue": 100})


def test_a_record_survives_the_journal() -> None:
    """Every field, and fields of a newer version are passed over."""
    progress = replace(
        rolled_back(replace(PROGRESS, step=Step.HOLD, stage=1), "slow", 5), drain=DrainTimes(3, 7), remarks=("one",)
    )
    said = orjson.loads(orjson.dumps({**as_json(progress), "newer": 1}))
    said["terms"]["newer"] = 2
    assert from_json(said) == progress


@pytest.mark.parametrize("percents", [(), (100, 5), (5, 5, 100), (5, 25), (0, 100), (100, 101)])
def test_weights_that_do_not_lead_to_100_are_refused(percents: tuple[int, ...]) -> None:
    """With what they should look like."""
    with pytest.raises(ValueError, match="must grow and end with 100"):
        Options(percents=percents)


def test_a_wait_that_cannot_end_is_refused() -> None:
    """An empty color must be empty for longer than anybody waits."""
    with pytest.raises(ValueError, match="must be longer"):
        Options(buffer_s=300, watch_deadline_s=300)


@pytest.mark.parametrize("weights", [{}, {"blue": 50}, {"blue": -1, "green": 101}, {"blue": 100, "green": 1}])
def test_weights_are_percents(weights: dict[str, int]) -> None:
    """They add up to 100."""
    with pytest.raises(ValueError, match="add up to 100"):
        Routing(weights)
