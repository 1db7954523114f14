"""Cutovers as an operator runs them: real pods, two a color, behind HAProxy, and what becomes of callers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from tests.waiting import PATIENCE_S
from voice_agent.rehearse.cutovers import cut_over
from voice_agent.rehearse.environment import RehearsalEnvironment
from voice_agent.runtime.clock import SystemClock

DRAIN_DEADLINE_S = 5


@pytest.mark.slow
async def test_a_caller_who_cannot_resume_and_is_cut_off_is_told_as_lost(tmp_path: Path) -> None:
    """Who just listens on blue is cut off at the deadline: exit 3 and the number; preflight said so before.

    The way back loses nobody, and exits with 0.
    """
    stage = RehearsalEnvironment(tmp_path, SystemClock(), DRAIN_DEADLINE_S)
    lines: list[dict[str, Any]] = []
    try:
        await stage.open()
        async with connect(f"{stage.balancer.calls}?model=echo") as call:
            await call.recv()
            outcome = await cut_over(stage, "green", DRAIN_DEADLINE_S, tmp_path / "log", lines.append, smoke=False)
            await asyncio.wait_for(call.wait_closed(), PATIENCE_S)
            assert call.close_code == 1012
        assert (outcome.status, outcome.ok) == (3, False)
        assert (lines[-1]["step"], lines[-1]["lost"], lines[-1]["exit"]) == ("done", 1, 3)
        assert lines[-1]["why_lost"] == ["1 on blue: cut off at the drain's deadline, and cannot resume"]
        said = [line["text"] for line in lines if line["event"] == "said"]
        assert "blue has 1 call: it cannot resume, and is lost unless ended within 5 s of the drain" in said
        back = await cut_over(stage, "blue", DRAIN_DEADLINE_S, tmp_path / "log", lines.append, smoke=False)
        assert (back.status, back.ok) == (0, True)
    finally:
        await stage.close()
