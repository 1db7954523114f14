"""Finding the master through Sentinels: `redis+sentinel://`.

All sentinels are asked at once, and the newest configuration counts that a majority knows
of: one that is cut off with an old master still names that one, and one that does not answer
must not hold up the others. Where no majority answers in time, those are believed that do:
then it is for `min-replicas-to-write` to keep an old master from taking writes. Each new
connection asks; open ones stay with their server until `RedisStore` gives them up.

redis-py's own `discover_master` asks one sentinel after the other, so that each that does not answer costs a timeout,
and believes the first that names a master that is up, however old that one's configuration is.
"""

from __future__ import annotations

import asyncio
from typing import Any

import redis.asyncio as redis
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from voice_agent.errors import SettingsError
from voice_agent.stores.redis_connections import Tuning, options, read_place
from voice_agent.stores.redis_errors import FAILURES, FINAL, InvalidUrl, unusable

SENTINEL_ANSWER_S = 0.5
"""A sentinel that does not answer sooner is not waited for."""


def sentinel_master(url: str) -> tuple[redis.Redis, Tuning]:
    """A client of the master that the sentinels name, not connected yet. Raises `SettingsError`."""
    place = read_place(url, own=("sentinel_username", "sentinel_password"))
    try:
        service, *rest = place.path
        database = int(rest[0]) if rest else 0
        if len(rest) > 1 or database < 0:
            raise ValueError
    except ValueError:
        raise SettingsError(
            unusable(url, InvalidUrl("after the sentinels comes /<service> and maybe /<database number>"))
        ) from None
    secrets = {name.removeprefix("sentinel_"): value for name, value in place.query.items()}
    asking = {
        **place.tls,
        **secrets,
        "socket_timeout": SENTINEL_ANSWER_S,
        "socket_connect_timeout": SENTINEL_ANSWER_S,
        "retry": Retry(NoBackoff(), 0),
    }
    try:
        pool = _MasterPool(
            service,
            Sentinels(place.nodes, sentinel_kwargs=asking),  # type: ignore[no-untyped-call]
            db=database,
            max_connections=place.tuning.connections,
            timeout=place.tuning.timeout_s,
            **place.tls,
            **place.credentials,
            **options(place.tuning),
        )
        # TLS options are looked at only when a connection is made: make one now, unconnected.
        pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError, exceptions.RedisError) as error:
        raise SettingsError(unusable(url, error)) from None
    return redis.Redis(connection_pool=pool), place.tuning


class _MasterPool(SentinelConnectionPool, redis.BlockingConnectionPool):
    """Waits for a free connection to the master instead of failing."""

    def __init__(self, service: str, sentinels: Sentinels, **kwargs: Any) -> None:
        super().__init__(service, sentinels, **kwargs)  # type: ignore[no-untyped-call]


class Sentinels(Sentinel):
    """The sentinels of a URL.

    Nothing changes their order: redis-py's moves the one that answered to the front, and loses others from its list
    when several connections ask at once.
    """

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Address of the master. Raises `MasterNotFoundError`, or why all of them refuse to answer."""
        questions = [asyncio.create_task(self._state(sentinel, service_name)) for sentinel in self.sentinels]
        heard: list[dict[str, Any]] = []
        refusals: list[Exception] = []
        try:
            for question in asyncio.as_completed(questions):
                try:
                    heard.append(await question)
                except FAILURES as error:
                    refusals.append(error)
                if 2 * len(heard) > len(questions) and (master := self._newest(heard, service_name)) is not None:
                    return master
        finally:
            for task in questions:
                task.cancel()
            await asyncio.gather(*questions, return_exceptions=True)
        if len(refusals) == len(questions) and isinstance(refusals[0], FINAL):
            raise refusals[0]
        if (master := self._newest(heard, service_name)) is not None:
            return master
        raise MasterNotFoundError(
            f"{len(heard)} of {len(questions)} sentinels answered, and none of them knows a master for {service_name!r}"
        )

    async def _state(self, sentinel: redis.Redis, service_name: str) -> dict[str, Any]:
        """What a sentinel knows of the service; empty if it watches none of that name."""
        try:
            state: Any = await sentinel.sentinel_master(service_name)
        except exceptions.ResponseError as error:
            if "No such master" not in str(error):
                raise
            return {}
        return dict(state)

    def _newest(self, heard: list[dict[str, Any]], service_name: str) -> tuple[str, int] | None:
        known = [state for state in heard if "config-epoch" in state]
        newest = max((state["config-epoch"] for state in known), default=None)
        for state in known:
            if state["config-epoch"] == newest and self.check_master_state(state, service_name):
                return state["ip"], state["port"]
        return None
