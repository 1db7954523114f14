"""Places: who gets one, and what a pod that is full or overloaded still takes."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from functools import partial

import pytest
from structlog.testing import capture_logs

from voice_agent.errors import ConnectionRefused, StoreError, StoreFull, StoreRefused, StoreUnavailable
from voice_agent.runtime.pod.admission import Admission, new_call_id, store_failed
from voice_agent.runtime.pod.quota import KeyQuota

KEY = "a" * 64


def admission(capacity: int = 8, *, active: int = 0) -> Admission:
    """With so many places taken, and no quota."""
    made = Admission(capacity, KeyQuota(0))
    made.active = active
    return made


def refused(made: Admission) -> tuple[str | None, str | None]:
    """Codes with which a new call and a resume are refused; None for what is taken."""
    return _code(made, partial(made.take_new, KEY)), _code(made, made.take_resume)


def _code(made: Admission, take: Callable[[], None]) -> str | None:
    active = made.active
    try:
        take()
    except ConnectionRefused as refusal:
        return refusal.code
    finally:
        made.active = active
    return None


def test_calls_that_come_back_find_places_beyond_the_capacity() -> None:
    """A quarter more, of any capacity at least one."""
    assert refused(admission(8, active=7)) == (None, None)
    assert refused(admission(8, active=8)) == ("at_capacity", None)
    assert refused(admission(8, active=9)) == ("at_capacity", None)
    assert refused(admission(8, active=10)) == ("at_capacity", "at_capacity")
    assert refused(admission(1, active=1)) == ("at_capacity", None)
    assert refused(admission(1, active=2)) == ("at_capacity", "at_capacity")


def test_an_overloaded_pod_takes_calls_that_come_back() -> None:
    """And no new ones."""
    made = admission()
    made.overloaded = True
    assert refused(made) == ("overloaded", None)


def test_a_draining_pod_takes_nothing() -> None:
    """That is the reason told, whatever else there is."""
    made = admission(8, active=10)
    made.overloaded = made.draining = True
    assert refused(made) == ("draining", "draining")


def test_a_pod_that_recovers_from_overload_takes_new_calls_with_care() -> None:
    """One of those beyond what it bore, then it is overloaded to the others; a place taken already is no call more."""
    made = admission(100, active=40)
    made.second_is_over(late=True, overloaded=True)
    made.second_is_over(late=False, overloaded=False)
    made.take_resume()
    made.check_new(KEY)
    assert refused(made) == ("overloaded", None)
    made.active = 35
    made.take_resume()
    made.check_new(KEY)
    assert refused(made) == ("overloaded", None)


def test_the_place_of_the_caller_who_asks_does_not_count_against_it() -> None:
    """Who came with a call key has a place before it is known whether its call is new."""
    made = admission(2, active=1)
    made.take_resume()
    made.check_new(KEY)
    made.take_resume()
    with pytest.raises(ConnectionRefused):
        made.check_new(KEY)


def test_who_has_no_place_yet_is_told_what_a_new_call_would_be_refused_with() -> None:
    """Before the handshake, by whoever it is; asking takes no place."""
    made = admission(2, active=1)
    assert made.refusal_of_new_calls() is None
    assert made.active == 1
    made.active = 2
    refusal = made.refusal_of_new_calls()
    assert refusal is not None
    assert (refusal.status, refusal.code) == (503, "at_capacity")
    assert made.is_full


def test_a_place_that_was_taken_for_a_call_that_is_new_after_all_is_no_call_under_way() -> None:
    """After an overload, neither for whether one more may be taken nor for how many may still be."""
    made = admission(100, active=40)
    made.second_is_over(late=True, overloaded=True)
    made.second_is_over(late=False, overloaded=False)
    made.active = 36  # 90 % of the 40, with the place of the one that asks.
    made.check_new(KEY)
    made.take_new(KEY)
    made.active = 36
    assert refused(made) == ("overloaded", None)
    made.check_new(KEY)


def test_calls_have_ids_that_nobody_guesses() -> None:
    """26 characters of base32 and no two alike."""
    ids = {new_call_id(secrets.token_bytes) for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch("call_[a-z2-7]{26}", call_id) for call_id in ids)


@pytest.mark.parametrize(
    ("error", "code", "is_logged"),
    [
        (StoreUnavailable("away"), "store_unavailable", False),
        (StoreFull("no memory"), "store_full", False),
        (StoreRefused("NOPERM"), "store_refused", True),
    ],
)
def test_callers_are_told_how_the_store_failed_and_the_log_why_it_refuses(
    error: StoreError, code: str, is_logged: bool
) -> None:
    """A store that is away or full is told where calls are written, not once for each caller."""
    with capture_logs() as logs:
        refusal = store_failed(error)
    assert (refusal.status, refusal.code) == (503, code)
    assert [line["error"] for line in logs] == ([str(error)] if is_logged else [])
