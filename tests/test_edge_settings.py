"""Settings of an edge: a wrong one is told in one line that names it."""

from __future__ import annotations

import pytest

from voice_agent.edge_settings import load_edge_settings
from voice_agent.errors import SettingsError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VOICE_TRUSTED_PROXIES", "foo"),
        ("VOICE_TRUSTED_PROXIES", "10.0.0.0/8,10.0.0.0/64"),
        ("VOICE_EDGE_TO", "http://lb:8080"),
        ("VOICE_EDGE_TO", "ws://lb:x"),
        ("VOICE_EDGE_TO", "ws://lb:99999"),
        ("VOICE_EDGE_TO", "ws://lb/path"),
        ("VOICE_EDGE_TO", "ws://[lb"),
        ("VOICE_EDGE_PORT", "x"),
    ],
)
def test_a_wrong_value_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """It stops the start, instead of callers later; the line begins with the variable to be mended."""
    monkeypatch.setenv("VOICE_EDGE_TO", "ws://lb:8080")
    load_edge_settings()
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_edge_settings()
    assert str(caught.value).startswith(f"{name}: ")
    assert "\n" not in str(caught.value)
