"""Time zones and nights in which the clocks change; tests of `desk` and `zones`, too."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.agents.frontdesk.dialogs import DeskDialog
from voice_agent.agents.frontdesk.zones import LocalTime, how_often, local, zone

MARCH = datetime(2027, 3, 24, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("day", "minutes", "name", "comes"),
    [
        ("2027-03-28", 150, "Europe/Berlin", LocalTime.SKIPPED),
        ("2026-10-25", 150, "Europe/Berlin", LocalTime.TWICE),
        ("2026-10-25", 210, "Europe/Berlin", LocalTime.ONCE),
        ("2027-03-28", 150, "UTC", LocalTime.ONCE),
    ],
)
def test_how_often_a_time_comes(day: str, minutes: int, name: str, comes: LocalTime) -> None:
    """Half past two, in nights of the change and in others."""
    assert how_often(local(day, minutes, zone(name))) is comes


def test_a_time_that_does_not_exist_is_refused_with_the_reason() -> None:
    """Half past two in the night in which the clocks go forward."""
    dialog = DeskDialog(MARCH, time_zone="Europe/Berlin")
    said = dialog.say("book an appointment on the 28th of march at half past two in the morning")
    assert said.startswith("That night the clocks go forward, and there is no such time. Would Monday")
    assert dialog.slots() == []


def test_a_time_that_comes_twice_is_the_first_and_said_to_be() -> None:
    """For a caller whose clock goes back while the desk is open elsewhere."""
    wednesday = datetime(2026, 10, 28, 10, tzinfo=UTC)
    dialog = DeskDialog(wednesday, time_zone="Pacific/Auckland", callers_zone="Africa/Cairo")
    said = dialog.say("book tomorrow at 11:30 pm")
    assert said.startswith("That night the clocks go back, and that time comes twice")
    assert "half past eleven in the evening?" in said


def test_the_day_is_the_callers() -> None:
    """An hour before midnight in London it is tomorrow in Berlin."""
    late = datetime(2026, 11, 23, 23, 30, tzinfo=UTC)
    assert "Tuesday the twenty fourth" in DeskDialog(late, time_zone="UTC").say("book tomorrow")
    assert "Wednesday the twenty fifth" in DeskDialog(late, time_zone="Europe/Berlin").say("book tomorrow")


def test_a_caller_elsewhere_is_told_the_desks_time_too() -> None:
    """Eleven in New York is five in Berlin, which is too late; nine is three."""
    dialog = DeskDialog(time_zone="Europe/Berlin", callers_zone="America/New_York")
    said = dialog.say("book an appointment tomorrow at nine in the morning")
    assert said.startswith("That is three in the afternoon our time. Shall I book Tuesday the twenty fourth")
    assert said.endswith("at nine in the morning?")
    said = dialog.say("make it eleven in the morning")
    assert "we are open from nine in the morning to five in the afternoon" in said
    assert said.endswith("Would Tuesday the twenty fourth of November at half past ten in the morning suit you?")


def test_a_zone_may_be_named() -> None:
    """Three o'clock London time is four in Berlin."""
    dialog = DeskDialog(time_zone="Europe/Berlin")
    assert dialog.say("tomorrow at three oclock london time").endswith("at four in the afternoon?")


def test_an_unknown_zone_is_no_zone() -> None:
    """It is refused with its name."""
    with pytest.raises(ValueError, match="Mars/Phobos"):
        zone("Mars/Phobos")
