"""How a store URL becomes connections.

=====================================================  ==========================================================
``redis://``, ``rediss://``, ``unix://``               one server, as redis-py reads such URLs
``redis+sentinel://host:port,host:port/service/db``    the master that the sentinels name (`stores.redis_sentinels`)
``redis+cluster://host:port,host:port``                a cluster, found from any of its nodes (`stores.redis_cluster`)
=====================================================  ==========================================================

``rediss+sentinel://`` and ``rediss+cluster://`` are the same with TLS. `Tuning` says which
parameters all of them take in their query.

A question is asked once on a connection: whether to ask again is for the asker, who knows
if it may take effect twice.
"""

from __future__ import annotations

import math
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlunsplit

import redis.asyncio as redis
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from voice_agent.errors import SettingsError
from voice_agent.stores.redis_errors import InvalidUrl, parts_of, unusable

TLS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")

AT_AFTER_HOST = "an @ after the host; percent-encode special characters in the user name and password"


@dataclass(frozen=True, slots=True)
class Tuning:
    """Parameters of a store URL's query, with their defaults."""

    timeout_s: float = 2.0
    """How long an answer, a connection, or a free place in the pool may take."""
    health_check_s: float = 15.0
    """A connection idle for longer is tried with a PING before it is used."""
    connections: int = 16
    """At most so many to one server."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a URL of several hosts says."""

    nodes: tuple[tuple[str, int], ...]
    path: tuple[str, ...]
    credentials: Mapping[str, str]
    """``username`` and ``password``, where given."""
    tls: Mapping[str, Any]
    """``ssl`` and its options; empty without TLS."""
    query: Mapping[str, str]
    """What is left of the query."""
    tuning: Tuning


def tuning_of(url: str) -> tuple[str, Tuning]:
    """The URL without the parameters that are ours, and those. Raises `SettingsError`."""
    parts = parts_of(url)
    ours: dict[str, Any] = {}
    others = []
    known = {field.name: int if field.name == "connections" else float for field in fields(Tuning)}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            others.append((name, value))
            continue
        try:
            ours[name] = known[name](value)
        except ValueError:
            ours[name] = 0
        if not 0 < ours[name] < math.inf:
            raise SettingsError(unusable(url, InvalidUrl(f"{name} must be a number above 0")))
    if not ours:
        return url, Tuning()
    return urlunsplit(parts._replace(query=urlencode(others))), Tuning(**ours)


def options(tuning: Tuning) -> dict[str, Any]:
    """What every connection to a server has in common."""
    return {
        "socket_timeout": tuning.timeout_s,
        "socket_connect_timeout": tuning.timeout_s,
        "health_check_interval": tuning.health_check_s,
        "retry": Retry(NoBackoff(), 0),
        "redis_connect_func": _forgetful,
    }


def one_server(url: str) -> tuple[redis.Redis, Tuning]:
    """A client of one server, not connected yet. Raises `SettingsError`."""
    try:
        parts = parts_of(url)
        if parts.scheme.lower() != "unix" and "@" in parts.path + parts.query + parts.fragment:
            raise InvalidUrl(AT_AFTER_HOST)
        if parts.scheme.lower() != "unix" and not parts.path.strip("/").isdecimal() and parts.path.strip("/"):
            raise InvalidUrl("the database is not a number")
        plain, tuning = tuning_of(url)
        pool = redis.BlockingConnectionPool.from_url(
            plain, max_connections=tuning.connections, timeout=tuning.timeout_s, **options(tuning)
        )
        # Parameters of the query are looked at only when a connection is made: make one now, unconnected.
        pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError, exceptions.RedisError) as error:
        raise SettingsError(unusable(url, error)) from None
    return redis.Redis(connection_pool=pool), tuning


def read_place(url: str, *, own: tuple[str, ...] = ()) -> Place:
    """Read a URL of several hosts; `own` are parameters that its kind takes. Raises `SettingsError`."""
    try:
        plain, tuning = tuning_of(url)
        parts = parts_of(plain)
        credentials, _, hosts = parts.netloc.rpartition("@")
        if "@" in parts.path + parts.query + parts.fragment:
            raise InvalidUrl(AT_AFTER_HOST)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        unknown = sorted(set(query) - {*own, *TLS})
        if unknown:
            raise InvalidUrl(f"unknown parameter {unknown[0]!r}")
        nodes = tuple(_node(host) for host in hosts.split(","))
    except ValueError as error:
        raise SettingsError(unusable(url, error)) from None
    username, _, password = credentials.partition(":")
    given = {"username": unquote(username), "password": unquote(password)}
    tls: dict[str, Any] = {"ssl": True} if parts.scheme.lower().startswith("rediss") else {}
    for name in TLS:
        if name in query:
            tls[name] = query.pop(name)
    if "ssl_check_hostname" in tls:
        tls["ssl_check_hostname"] = tls["ssl_check_hostname"].lower() in ("1", "true", "yes")
    if tls and "ssl" not in tls:
        raise SettingsError(unusable(url, InvalidUrl("TLS options need a rediss+… scheme")))
    path = tuple(unquote(part) for part in parts.path.split("/") if part)
    return Place(nodes, path, {k: v for k, v in given.items() if v}, tls, query, tuning)


def _node(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host.strip("[]") or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise InvalidUrl("each host is written host:port")
    return host.strip("[]"), int(port)


async def _forgetful(connection: Any) -> None:
    """Have a connection that is given up forget what it has not sent.

    Else a question asked into a broken network would arrive when that heals, long after its asker
    was told that there is no answer, and a claim could take a call from the pod that has it by then.
    """
    endpoint = connection._writer.get_extra_info("socket")  # noqa: SLF001 - redis-py offers no other way to it
    if endpoint.family != socket.AF_UNIX:
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await connection.on_connect()
