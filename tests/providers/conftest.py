"""What tests of providers share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from voice_agent.kit.agent import Kit
from voice_agent.providers.client import ProviderClient


@pytest.fixture
async def client() -> AsyncIterator[ProviderClient]:
    """One with a pool of its own, as a pod has it."""
    kit = Kit()
    yield kit.shared(ProviderClient)
    await kit.close()
