from __future__ import annotations

import pytest

from loadtest.peers.ratios import best_ratios, in_turn, median_ratios, medians


def test_a_machine_that_slows_down_changes_no_ratio() -> None:
    """Each round is divided by its own baseline: when both get twice as dear, the ratio stays."""
    rounds = [{"bare": 50.0, "ours": 20.0}, {"bare": 100.0, "ours": 40.0}, {"bare": 75.0, "ours": 30.0}]
    assert median_ratios(rounds, "bare") == {"bare": 1.0, "ours": pytest.approx(0.4)}


def test_one_disturbed_round_does_not_move_the_median() -> None:
    """A neighbour in one round out of three is not in the figure."""
    rounds = [{"bare": 50.0, "ours": 20.0}, {"bare": 50.0, "ours": 95.0}, {"bare": 50.0, "ours": 21.0}]
    assert median_ratios(rounds, "bare")["ours"] == pytest.approx(0.42)
    assert medians(rounds)["ours"] == 21.0


def test_rounds_without_a_baseline_say_nothing() -> None:
    """A value with nothing beside it cannot be a ratio, and neither can one by zero."""
    rounds = [{"ours": 20.0}, {"bare": 0.0, "ours": 20.0}, {"bare": 40.0, "ours": 20.0}]
    assert median_ratios(rounds, "bare") == {"bare": 1.0, "ours": 0.5}
    assert median_ratios([], "bare") == {}


def test_a_contender_that_failed_a_round_is_judged_by_the_others() -> None:
    """Absent is not zero."""
    rounds = [{"bare": 50.0}, {"bare": 50.0, "ours": 25.0}]
    assert median_ratios(rounds, "bare")["ours"] == 0.5


def test_every_second_round_goes_backwards() -> None:
    """Nobody is always measured last."""
    names = ["a", "b", "c"]
    assert [in_turn(names, number) for number in range(3)] == [["a", "b", "c"], ["c", "b", "a"], ["a", "b", "c"]]


def test_the_best_of_each_side_is_compared() -> None:
    """Also where they were seen in different rounds; without a baseline nothing is said."""
    rounds = [{"bare": 50.0, "ours": 30.0}, {"bare": 40.0, "ours": 90.0}, {"ours": 20.0}]
    assert best_ratios(rounds, "bare") == {"bare": 1.0, "ours": 0.5}
    assert best_ratios([{"ours": 1.0}], "bare") == {}
