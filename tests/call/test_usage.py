"""Sums of what was used."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from voice_agent.call.usage import UNITS, ResponseUsage, Settled, UsageLedger, settled_since

FIGURES = st.dictionaries(st.sampled_from(UNITS), st.integers(0, 1000))


@given(st.lists(st.tuples(st.sampled_from("ab"), FIGURES)), st.integers(0, 20))
def test_what_was_counted_and_what_came_since_are_all(told: list[tuple[str, dict[str, int]]], at: int) -> None:
    """Wherever the requests are parted."""
    ledger = UsageLedger()
    for n, (pair, figures) in enumerate(told[:at]):
        ledger.settle(str(n), pair, figures)
    before = ledger.settled()
    for n, (pair, figures) in enumerate(told[at:]):
        ledger.settle(str(n), pair, figures)
    for pair, now in ledger.settled().items():
        was = before.get(pair, Settled(0, 0, {}))
        more = dict(settled_since(before, ledger.settled())).get(pair, Settled(0, 0, {}))
        assert (was.known + more.known, was.unknown + more.unknown) == (now.known, now.unknown)
        units = now.figures.keys()
        assert {unit: was.figures.get(unit, 0) + more.figures.get(unit, 0) for unit in units} == now.figures


def test_sums_that_were_handed_on_do_not_change() -> None:
    """They are compared with later ones."""
    ledger = UsageLedger()
    ledger.settle("a", "x/y", {"input_tokens": 1})
    before = ledger.settled()
    ledger.settle("b", "x/y", {"input_tokens": 1})
    assert before == {"x/y": Settled(1, 0, {"input_tokens": 1})}


@given(st.lists(FIGURES))
def test_a_sum_of_a_response_is_known_if_all_of_it_is(told: list[dict[str, int]]) -> None:
    """Else it is not known, whatever the order; never is it 0 because nobody told it."""
    used = ResponseUsage()
    for figures in told:
        used.add(figures)
    counted = [one for one in told if not one or any(unit.endswith("tokens") for unit in one)]
    for unit in (unit for unit in UNITS if unit.endswith("tokens")):
        figures_of_all = [one.get(unit) for one in counted]
        is_known = bool(counted) and None not in figures_of_all
        assert used.known(unit) == (sum(one for one in figures_of_all if one is not None) if is_known else None)
