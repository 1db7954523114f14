"""Everything about the web layer holds for either way to read frames."""

from __future__ import annotations

from typing import get_args

import pytest

from app.settings import Settings

WAYS = get_args(Settings.model_fields["ws"].annotation)


@pytest.fixture(params=WAYS, autouse=True)
def ws(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which way this test runs."""
    way: str = request.param
    monkeypatch.setenv("VOICE_WS", way)
    return way
