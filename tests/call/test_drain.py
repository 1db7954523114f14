"""The drain plan."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from voice_agent.call.drain import HANDOFFS_PER_S, Drain, DrainingCall, DrainMode, to_move

CALLS = st.lists(
    st.builds(
        DrainingCall,
        call_id=st.uuids().map(str),
        resumable=st.booleans(),
        quiet=st.booleans(),
        spread=st.floats(0, 1),
    ),
    max_size=8,
)
QUIET = DrainingCall("quiet", True, True, 0.0)
BUSY = DrainingCall("busy", True, False, 0.0)
STUCK = DrainingCall("stuck", False, True, 0.0)


@given(CALLS, st.sampled_from(DrainMode), st.floats(1, 600), st.booleans())
def test_a_drain_always_ends(calls: list[DrainingCall], mode: DrainMode, deadline_s: float, others: bool) -> None:
    """At the deadline every call is let go of, whatever it is doing."""
    plan = Drain(mode, deadline_s)
    assert plan.to_hand_off(calls, elapsed_s=deadline_s, others_take_calls=others) == [call.call_id for call in calls]


@given(CALLS, st.floats(1, 600), st.floats(0, 0.999))
def test_a_call_that_cannot_come_back_is_left_to_finish(
    calls: list[DrainingCall], deadline_s: float, share: float
) -> None:
    """Before the deadline only resumable calls are sent away, and none by `finish`."""
    handoff = Drain(DrainMode.HANDOFF, deadline_s)
    resumable = {call.call_id for call in calls if call.resumable}
    assert set(handoff.to_hand_off(calls, elapsed_s=deadline_s * share, others_take_calls=True)) <= resumable
    finish = Drain(DrainMode.FINISH, deadline_s)
    assert finish.to_hand_off(calls, elapsed_s=deadline_s * share, others_take_calls=True) == []


def test_a_busy_call_waits_for_a_quiet_moment_until_half_the_deadline() -> None:
    """Mid-sentence is no moment for a handoff, but not for ever."""
    plan = Drain(DrainMode.HANDOFF, 600)
    assert plan.to_hand_off([QUIET, BUSY, STUCK], elapsed_s=299, others_take_calls=True) == ["quiet"]
    assert plan.to_hand_off([QUIET, BUSY, STUCK], elapsed_s=300, others_take_calls=True) == ["quiet", "busy"]


def test_nobody_is_sent_away_while_no_other_pod_takes_calls() -> None:
    """A handoff into nothing would drop the call."""
    plan = Drain(DrainMode.HANDOFF, 600)
    assert plan.to_hand_off([QUIET, BUSY], elapsed_s=599, others_take_calls=False) == []


def test_handoffs_are_spread() -> None:
    """The other color is not stampeded: calls go over the first two seconds."""
    plan = Drain(DrainMode.HANDOFF, 600)
    late = DrainingCall("late", True, True, 1.0)
    assert plan.to_hand_off([QUIET, late], elapsed_s=1.9, others_take_calls=True) == ["quiet"]
    assert plan.to_hand_off([QUIET, late], elapsed_s=2.0, others_take_calls=True) == ["quiet", "late"]


def test_handoffs_are_spread_over_a_tenth_of_a_short_deadline() -> None:
    """Else most of it would be over before the last call goes."""
    plan = Drain(DrainMode.HANDOFF, 5)
    late = DrainingCall("late", True, True, 1.0)
    assert plan.to_hand_off([QUIET, late], elapsed_s=0.49, others_take_calls=True) == ["quiet"]
    assert plan.to_hand_off([QUIET, late], elapsed_s=0.5, others_take_calls=True) == ["quiet", "late"]


def test_what_is_left_of_a_drain_is_never_less_than_nothing() -> None:
    """Clients are told of it."""
    plan = Drain(DrainMode.FINISH, 600)
    assert [plan.left_s(elapsed_s) for elapsed_s in (0, 250, 600, 601)] == [600, 350, 0, 0]


def test_a_drain_of_many_calls_takes_longer_than_two_seconds() -> None:
    """A hundred each second, so that those who take them over keep up; a short deadline goes before."""
    half = DrainingCall("half", True, True, 0.5)
    many = Drain(DrainMode.HANDOFF, 600, calls=10 * HANDOFFS_PER_S)
    assert many.to_hand_off([half], elapsed_s=4.9, others_take_calls=True) == []
    assert many.to_hand_off([half], elapsed_s=5.0, others_take_calls=True) == ["half"]
    soon = Drain(DrainMode.HANDOFF, 20, calls=10 * HANDOFFS_PER_S)
    assert soon.to_hand_off([half], elapsed_s=1.0, others_take_calls=True) == ["half"]


@given(CALLS, st.floats(1, 600), st.floats(0, 5), st.booleans())
def test_a_drain_that_closes_nobody_by_force_names_only_calls_that_go_on_elsewhere(
    calls: list[DrainingCall], deadline_s: float, share: float, others: bool
) -> None:
    """At its deadline and after it, too; from half of it on it waits for no quiet moment."""
    plan = Drain(DrainMode.HANDOFF, deadline_s, closes_rest=False)
    named = plan.to_hand_off(calls, elapsed_s=deadline_s * share, others_take_calls=others)
    resumable = [call.call_id for call in calls if call.resumable]
    assert set(named) <= set(resumable if others else [])
    if others and share >= 0.5:
        assert named == resumable


@given(CALLS, st.integers(-1, 9))
def test_a_pod_that_stays_gives_no_more_calls_than_it_is_asked_for(calls: list[DrainingCall], limit: int) -> None:
    """In the order in which they are offered, and none that would be lost or interrupted."""
    may_move = [call.call_id for call in calls if call.resumable and call.quiet]
    assert to_move(calls, limit) == may_move[: max(0, limit)]
