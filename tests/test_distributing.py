"""The tests are shared out among processes as their marks say."""

from __future__ import annotations

import pytest


@pytest.mark.xdist_group("together")
def test_tests_of_a_group_go_to_one_process(request: pytest.FixtureRequest) -> None:
    """Else each process starts the servers that they share; nothing else would tell."""
    assert request.node.nodeid.endswith("@together") or not request.config.getoption("loadgroup", False)
