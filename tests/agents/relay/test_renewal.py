"""When a session is followed by the next one. Tests of `renewal`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from voice_agent.agents.relay.renewal import SHORTEST_S, SessionTimes, session_times

SECONDS = st.floats(0.1, 100_000)


@given(SECONDS, st.none() | st.floats(-1_000, 100_000), st.none() | SECONDS, st.none() | SECONDS)
def test_the_next_session_is_opened_before_a_reply_leaves_and_that_before_the_end(
    opened_at: float, left_s: float | None, limit_s: float | None, before_s: float | None
) -> None:
    """Whatever the upstream and the settings say."""
    times = session_times(opened_at, left_s=left_s, limit_s=limit_s, usual_s=3600, renew_before_s=before_s)
    assert opened_at < times.renew_at <= times.leave_at < times.ends_at


def test_the_shortest_of_what_is_known_counts() -> None:
    """What the upstream says, what the settings say; without both, what is usual."""

    def ends_at(left_s: float | None, limit_s: float | None) -> float:
        return session_times(100, left_s=left_s, limit_s=limit_s, usual_s=3600, renew_before_s=None).ends_at

    assert ends_at(10, None) == 110
    assert ends_at(10, 5) == 105
    assert ends_at(10, 50) == 110
    assert ends_at(None, None) == 3700


def test_a_session_that_is_over_as_it_begins_has_another_clock() -> None:
    """Its word is not taken, or it would be renewed without end."""
    for left_s in (-30.0, 0.0, SHORTEST_S / 2):
        assert session_times(0, left_s=left_s, limit_s=None, usual_s=3600, renew_before_s=None).ends_at == 3600


def test_the_usual_hour_is_renewed_a_minute_before_its_end() -> None:
    """And ten seconds are renewed after eight."""
    hour = session_times(0, left_s=3600, limit_s=None, usual_s=3600, renew_before_s=None)
    assert hour == SessionTimes(3540, 3595, 3600)
    assert session_times(0, left_s=10, limit_s=None, usual_s=3600, renew_before_s=None) == SessionTimes(8, 9, 10)
