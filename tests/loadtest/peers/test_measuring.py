from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from loadtest.peers import measuring
from loadtest.peers.contenders import BASELINE, Contender, chosen
from loadtest.peers.load import LAG_LIMIT_S, Load
from loadtest.peers.measuring import cost_rounds


@dataclass(frozen=True)
class NoServer:
    """Nobody asks it."""

    contender: Contender

    @property
    def name(self) -> str:
        return self.contender.name


def load(us_per_frame: float, lag_s: float) -> Load:
    return Load(
        calls=1,
        seconds=1.0,
        us_per_frame=us_per_frame,
        core=0.1,
        store_us=None,
        p99_s=0.0,
        lag_p99_s=lag_s,
        wrong=0,
        missing=0,
        lost=0,
        pss_kb=0,
    )


@pytest.mark.parametrize(("in_time_only", "expected"), [(False, [30.0, 50.0]), (True, [None, 50.0])])
async def test_a_late_generators_round_counts_only_where_it_may(
    in_time_only: bool, expected: list[float | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames that come late come together and cost less: a guard leaves such a round out, and all are told of it."""
    runs = iter([load(30.0, 2 * LAG_LIMIT_S), load(50.0, 0.0)])

    async def run(*_: Any) -> Load:
        return next(runs)

    monkeypatch.setattr(measuring, "run_load", run)
    (bare,) = chosen([BASELINE])
    server: Any = NoServer(bare)
    told: list[str] = []
    environment: Any = None
    seen = await cost_rounds(
        environment,
        [server],
        {BASELINE: 1},
        seconds=1.0,
        rounds=2,
        tell=told.append,
        tries=1,
        in_time_only=in_time_only,
    )
    assert [one.get(BASELINE) for one in seen.us] == expected
    assert "late" in seen.faults[BASELINE]
