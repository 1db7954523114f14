"""Names of agents, and of their settings."""

from __future__ import annotations

import pytest

from voice_agent.kit.naming import MAX_NAME_CHARS, is_name, settings_prefix


@pytest.mark.parametrize("name", ["a", "7", "front-desk", "acme.desk_2", "A" * MAX_NAME_CHARS])
def test_a_label_is_a_name(name: str) -> None:
    """It may stand in a URL as it is."""
    assert is_name(name)


@pytest.mark.parametrize("name", ["", "-a", "two words", "a/b", "a\n", "é", None, 7, "A" * (MAX_NAME_CHARS + 1)])
def test_anything_else_is_none(name: object) -> None:
    """A provider stands before a slash."""
    assert not is_name(name)


def test_settings_are_called_as_their_agent_in_capitals() -> None:
    """What no variable may hold is an underscore there."""
    assert settings_prefix("Front-desk.v2_x") == "VOICE_AGENT_FRONT_DESK_V2_X_"
