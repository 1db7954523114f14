"""Weights of any scale become percents, and nobody is rounded away."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.operate.ports import Routing
from voice_agent.operate.routers.weights import percents, same_split

WEIGHTS = st.dictionaries(st.sampled_from(["blue", "green", "red"]), st.integers(0, 999), min_size=1).filter(
    lambda weights: sum(weights.values()) > 0
)


@given(WEIGHTS)
def test_percents_make_a_routing(weights: dict[str, int]) -> None:
    """They add up to 100; 0 stays 0 and nothing else becomes 0."""
    found = Routing(percents(weights)).weights
    assert {color for color, share in found.items() if share} == {color for color, share in weights.items() if share}


@given(WEIGHTS, st.integers(1, 50))
def test_the_scale_does_not_matter(weights: dict[str, int], scale: int) -> None:
    """Twice the weights are the same split."""
    assert same_split(weights, {color: weight * scale for color, weight in weights.items()})


@pytest.mark.parametrize("weights", [{"blue": 0}, {"blue": 0, "green": 0}, {"blue": -1, "green": 5}])
def test_weights_without_a_sum_are_no_split(weights: dict[str, int]) -> None:
    """They say nothing about who gets what."""
    with pytest.raises(ValueError, match="must not be negative"):
        percents(weights)


def test_a_color_of_no_weight_is_not_a_color_that_is_missing() -> None:
    """A cookie reaches the one and not the other."""
    assert not same_split({"blue": 100}, {"blue": 100, "green": 0})
