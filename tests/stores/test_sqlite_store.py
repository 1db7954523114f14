"""The example of a store of one's own keeps the contract, as every store does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.stores.sqlite_store import make
from voice_agent import Store
from voice_agent.testing import StoreContract


class TestSqlite(StoreContract):
    """It shares nothing with the stores on Redis."""

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        """In a file of its own."""
        store = make(f"sqlite://{tmp_path}/calls", ttl_s=100)
        await store.open()
        yield store
        await store.close()
