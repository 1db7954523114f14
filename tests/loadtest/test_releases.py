"""Another release's sources, and what a turn costs it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from loadtest.peers.releasing import TurnCost, release_costs, sources_of
from loadtest.releases import ROOT, unpacked


def test_a_checkout_is_taken_as_it_stands(tmp_path: Path) -> None:
    """Changes that were not committed are in it."""
    assert unpacked(str(ROOT), tmp_path) == ROOT
    with sources_of(str(ROOT)) as sources:
        assert sources == ROOT / "app"


def test_what_is_neither_checkout_nor_revision_is_refused_by_name(tmp_path: Path) -> None:
    """In one line."""
    with pytest.raises(ValueError, match="^no-such-release: neither a checkout nor a revision") as raised:
        unpacked("no-such-release", tmp_path)
    assert "\n" not in str(raised.value).strip()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="CPU of other processes is read as Linux tells it")
async def test_a_release_costs_about_as_much_as_itself() -> None:
    """Both pods answer, and neither is measured as nothing."""
    found = await release_costs(ROOT / "app", calls=10, rounds=1, seconds=4, tell=lambda _: None)
    assert isinstance(found.ratio, TurnCost)
    assert 0.9 < found.ratio.store_bytes < 1.1
    assert 0.5 < found.ratio.cpu_ms < 2
    assert found.this.store_bytes > 100_000
