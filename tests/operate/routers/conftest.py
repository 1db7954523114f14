"""Real servers for the routers' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.operate.moto import Balancer, Moto, moto_server, use
from tests.operate.routers.fake_kubernetes import FakeKubernetes, fake_kubernetes


@pytest.fixture(scope="session")
def moto_process() -> Iterator[Moto]:
    """One server for all tests; `balancer` hands it out with nothing but an ALB in it."""
    with moto_server() as moto:
        yield moto


@pytest.fixture
def balancer(moto_process: Moto, monkeypatch: pytest.MonkeyPatch) -> Balancer:
    """An ALB as Terraform would have made it; boto3 finds it by the environment."""
    return Balancer(use(moto_process, monkeypatch))


@pytest.fixture
def kubernetes() -> Iterator[FakeKubernetes]:
    """An empty cluster."""
    with fake_kubernetes() as fake:
        yield fake
