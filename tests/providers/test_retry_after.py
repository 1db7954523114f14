"""What providers say of when to come again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.providers.retry_after import MOST_S, retry_after_s

DATE = "Thu, 26 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "1e9"}, MOST_S),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Thu, 26 Nov 2026 10:00:09 GMT", "date": DATE}, 9.0),
        ({"retry-after": "Thu, 26 Nov 2026 09:00:00 GMT", "date": DATE}, 0.0),
        ({"retry-after": "Thu, 26 Nov 2026 10:00:09 GMT"}, None),
        ({"retry-after": "Thu, 99 Nov 2026 10:00:09 GMT", "date": DATE}, None),
    ],
)
def test_seconds_milliseconds_and_dates(headers: dict[str, str], seconds: float | None) -> None:
    """A date counts from that of the same answer."""
    assert retry_after_s(headers) == seconds


@given(st.text(), st.text())
def test_whatever_is_said_is_a_time_that_can_be_waited_or_nothing(said: str, date: str) -> None:
    """Never an error."""
    found = retry_after_s({"retry-after": said, "date": date})
    assert found is None or 0 <= found <= MOST_S
