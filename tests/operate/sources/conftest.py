"""Real servers for the watches' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.operate.moto import Moto, moto_server, use


@pytest.fixture(scope="session")
def moto_process() -> Iterator[Moto]:
    """One server for all tests; `moto` hands it out empty."""
    with moto_server() as moto:
        yield moto


@pytest.fixture
def moto(moto_process: Moto, monkeypatch: pytest.MonkeyPatch) -> Moto:
    """Boto3 finds it by the environment."""
    return use(moto_process, monkeypatch)
