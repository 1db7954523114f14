"""What tests of ears and voices over HTTP share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.doubles.provider import Provider
from tests.doubles.serving import Served, served
from voice_agent.kit.agent import Kit
from voice_agent.providers.client import ProviderClient


@pytest.fixture
async def client() -> AsyncIterator[ProviderClient]:
    """One with a pool of its own, as a pod has it."""
    kit = Kit()
    yield kit.shared(ProviderClient)
    await kit.close()


@pytest.fixture(scope="module")
def first() -> Iterator[Served]:
    """A provider."""
    with served(Provider(key="first")) as double:
        yield double


@pytest.fixture(scope="module")
def second() -> Iterator[Served]:
    """Another one."""
    with served(Provider(key="second")) as double:
        yield double


@pytest.fixture(autouse=True)
def _well(request: pytest.FixtureRequest) -> None:
    """Faults of one test are not another's."""
    for name in ("first", "second"):
        if name in request.fixturenames:
            double: Served = request.getfixturevalue(name)
            double.provider.faults.clear()
            double.provider.log.clear()
