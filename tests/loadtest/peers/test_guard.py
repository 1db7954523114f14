from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtest.peers import guard
from loadtest.peers.guard import ATTEMPTS, Outcome, Stored, judge
from loadtest.peers.ratios import Round

STORED = Stored({"ours": 0.40}, 0.15)


def rounds(*ratios: float) -> list[Round]:
    return [{"bare": 50.0, "ours": 50.0 * ratio} for ratio in ratios]


@pytest.mark.parametrize(
    ("ratio", "outcome"), [(0.20, Outcome.HOLDS), (0.40, Outcome.HOLDS), (0.459, Outcome.HOLDS), (0.461, Outcome.AGAIN)]
)
def test_fifteen_percent_are_let_pass(ratio: float, outcome: Outcome) -> None:
    """The limit is the stored ratio and the tolerance; being quicker is never wrong."""
    assert judge([rounds(ratio)], STORED, "bare")[0] is outcome


def test_it_measures_again_before_it_cries_wolf() -> None:
    """One dear attempt asks for another; only when all rounds together say so it is worse."""
    dear = rounds(0.6, 0.6, 0.6)
    assert judge([dear], STORED, "bare")[0] is Outcome.AGAIN
    assert judge([dear] * (ATTEMPTS - 1), STORED, "bare")[0] is Outcome.AGAIN
    assert judge([dear] * ATTEMPTS, STORED, "bare")[0] is Outcome.WORSE


def test_a_disturbed_round_does_not_count() -> None:
    """The best round of all attempts does, of the contender and of the baseline each."""
    outcome, (judgement,) = judge([rounds(0.6, 0.6), rounds(0.41, 0.9)], STORED, "bare")
    assert outcome is Outcome.HOLDS
    assert judgement.ratio == pytest.approx(0.41)
    slow: list[Round] = [{"bare": 80.0, "ours": 24.0}, {"bare": 50.0, "ours": 60.0}]
    _, (judgement,) = judge([slow], STORED, "bare")
    assert judgement.ratio == pytest.approx(24 / 50)


def test_one_contender_beyond_its_limit_is_enough() -> None:
    """What keeps events may not get dearer because what keeps none got quicker."""
    stored = Stored({"ours": 0.4, "durable": 1.0}, 0.15)
    seen: list[Round] = [{"bare": 50.0, "ours": 10.0, "durable": 60.0}]
    outcome, (ours, durable) = judge([seen] * ATTEMPTS, stored, "bare")
    assert outcome is Outcome.WORSE
    assert ours.holds
    assert str(durable) == "durable: 1.200 × the bare echo's CPU a frame, stored 1.000 (+20 %), limit 1.150: WORSE"


def test_silence_is_not_success() -> None:
    """A contender that was never measured is an error, whatever the others did."""
    with pytest.raises(ValueError, match="ours was not measured"):
        judge([[{"bare": 50.0}]] * ATTEMPTS, STORED, "bare")


def test_an_attempt_in_which_no_round_counted_is_made_again() -> None:
    """The machine was too busy for that attempt; the next one may say something."""
    assert judge([[{"bare": 50.0}]], STORED, "bare")[0] is Outcome.AGAIN
    assert judge([[{}], rounds(0.4)], STORED, "bare")[0] is Outcome.HOLDS


def test_what_is_stored_can_be_read_again() -> None:
    """Written and read, it is the same; and the file of the project is a good one."""
    assert Stored.from_json(json.loads(json.dumps(STORED.as_json()))) == STORED
    of_the_project = Path(guard.__file__).with_name("guard.json")
    assert Stored.from_json(json.loads(of_the_project.read_text())).tolerance == 0.15


@pytest.mark.parametrize("data", [{}, {"ratios": {"a": 1}}, {"ratios": [], "tolerance": 0.1}, []])
def test_a_file_that_says_nothing_is_refused(data: object) -> None:
    """It would let everything pass."""
    with pytest.raises(ValueError, match=r"guard\.json"):
        Stored.from_json(data)
