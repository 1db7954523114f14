"""Fixtures shared by all tests, and what is the same for all property tests."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import hypothesis
import pytest
import redis

from tests.servers import RedisServer, redis_server

# No test fails because the machine is slow or busy; the blob repeats on one machine what failed on another.
hypothesis.settings.register_profile(
    "any machine", deadline=None, print_blob=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")

# For `make mutants`: the same examples each time, and no time lost on making a failure small.
hypothesis.settings.register_profile(
    "mutants",
    parent=hypothesis.settings.get_profile("any machine"),
    derandomize=True,
    database=None,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)

# What a shell starts in the background ignores Ctrl+C, and so would all processes that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Tests start hundreds of processes. Where Python is told to keep nothing that it compiled, as in many images, each of
# them would compile all that it imports: most of its start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """One real server for the whole run; use `redis_url`, which hands it out empty."""
    with redis_server() as server:
        yield server


@pytest.fixture
def redis_url(shared_redis: RedisServer) -> str:
    """The address of a real, empty server."""
    with redis.Redis.from_url(shared_redis.url) as client:
        client.flushall()
    return shared_redis.url
