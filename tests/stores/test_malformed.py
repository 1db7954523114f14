"""What stands in a server and this version did not write: passed over one by one, named once, and hiding nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from voice_agent.stores.base import DrainRequest, PodHeartbeat
from voice_agent.stores.redis import RedisStore
from voice_agent.stores.redis_fleet_format import MAX_HASH_BYTES, MAX_PODS, heartbeat_fields

HEARTBEAT = PodHeartbeat("pod-a", "blue", "1", "ok", 1, 0, 10, 1, 1)
GOOD = heartbeat_fields(HEARTBEAT) | {"name": "odd"}
REQUEST = {"mode": "finish", "deadline_s": 5, "requested_at_ms": 7}


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    """With one pod in its fleet."""
    made = RedisStore(redis_url, ttl_s=10)
    await made.heartbeat(HEARTBEAT, ttl_s=5)
    yield made
    await made.close()


def without(name: str) -> dict[Any, Any]:
    """A heartbeat that lacks a field."""
    return {field: value for field, value in GOOD.items() if field != name}


HASHES: dict[str, Mapping[Any, Any]] = {
    "without a color": without("color"),
    "without a count": without("active_calls"),
    "of another name": GOOD | {"name": "pod-a"},
    "not UTF-8": GOOD | {"color": b"\xff\xfe"},
    "with a name that is not UTF-8": {b"\xff": b"\xff"} | without("status"),
    "of no label": GOOD | {"status": "\x1b[2J"},
    "of a long label": GOOD | {"version": "1" * 1000},
    "of a word where a number is": GOOD | {"capacity": "many"},
    "of less than nothing": GOOD | {"active_calls": "-1"},
    "of a number of five thousand digits": GOOD | {"active_calls": "9" * 5000},
    "huge": GOOD | {"counters": b"x" * (MAX_HASH_BYTES + 1)},
}


@pytest.mark.parametrize("kind", HASHES)
async def test_a_malformed_heartbeat_hides_no_other(store: RedisStore, kind: str) -> None:
    """It is named in the log, once for as long as it stands there, and again when it is odd again."""
    await store._redis.hset("voice:pod:odd", mapping=dict(HASHES[kind]))
    await store._redis.zadd("voice:pods", {"odd": 1})
    with capture_logs() as lines:
        for _ in range(3):
            assert [heartbeat.name for heartbeat in await store.pods()] == ["pod-a"]
    assert [line["entry"] for line in lines] == ["voice:pod:odd"]
    await store._redis.delete("voice:pod:odd")
    await store._redis.hset("voice:pod:odd", mapping=GOOD)
    assert [heartbeat.name for heartbeat in await store.pods()] == ["odd", "pod-a"]


async def test_what_is_no_heartbeat_hides_none(store: RedisStore) -> None:
    """Another type, a name that is no text, and more names than there are pods."""
    now_ms = time.time() * 1000
    await store._redis.set("voice:pod:odd", "x")
    names: dict[Any, float] = {b"\xff\xfe": now_ms - 2000, "odd": now_ms - 2000}
    await store._redis.zadd("voice:pods", names | {f"old-{n}": now_ms - 1000 for n in range(MAX_PODS)})
    await store.heartbeat(HEARTBEAT, ttl_s=5)
    with capture_logs() as lines:
        assert [heartbeat.name for heartbeat in await store.pods()] == ["pod-a"]
    assert lines == []
    await store._redis.zremrangebyscore("voice:pods", now_ms - 1000, now_ms - 1000)
    with capture_logs() as lines:
        assert [heartbeat.name for heartbeat in await store.pods()] == ["pod-a"]
    assert [("WRONGTYPE" in line["why"], line["entry"]) for line in lines] == [(True, "voice:pod:odd")]


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("counters", b"{"),
        ("counters", b"[1]"),
        ("counters", b'{"ended":"many"}'),
        ("counters", b'{"turns":{"soon":1}}'),
        ("counters", b'{"turns":3}'),
        ("keys", b"\xff"),
        ("keys", b"[]"),
        ("keys", b'{"key":{"calls":1}}'),
    ],
)
async def test_a_pod_is_seen_though_a_part_of_its_heartbeat_is_not(store: RedisStore, part: str, value: bytes) -> None:
    """Without that part."""
    await store._redis.hset("voice:pod:pod-a", part, value)
    with capture_logs() as lines:
        [heartbeat] = await store.pods()
    assert (heartbeat.name, heartbeat.active_calls, heartbeat.counters, heartbeat.keys) == ("pod-a", 1, None, {})
    assert [line["why"].partition(":")[0] for line in lines] == [f"its {part}"]


@pytest.mark.parametrize(
    "drain",
    [
        b"",
        b"drain!",
        b"\xff",
        b"[]",
        b"7",
        orjson.dumps(REQUEST | {"mode": 1}),
        orjson.dumps(REQUEST | {"deadline_s": "soon"}),
        orjson.dumps(REQUEST | {"deadline_s": -1}),
        orjson.dumps(REQUEST | {"deadline_s": 1e300}),
        orjson.dumps({"mode": "finish"}),
        b"x" * (MAX_HASH_BYTES + 1),
        None,
    ],
)
async def test_a_malformed_drain_request_is_none_and_can_be_replaced(store: RedisStore, drain: bytes | None) -> None:
    """Heartbeats are taken all the same. None: something else stands there, which no request replaces."""
    if drain is None:
        await store._redis.set("voice:color:blue", "x")
    else:
        await store._redis.hset("voice:color:blue", "drain", drain)
    with capture_logs() as lines:
        assert await store.heartbeat(HEARTBEAT, ttl_s=5) is None
        assert await store.drain_request("blue") is None
        await store.drain_request("green")
        assert await store.drain_request("blue") is None
    assert [line["entry"] for line in lines] == ["voice:color:blue"]
    await store.request_drain("blue", None)
    if drain is not None:
        await store.request_drain("blue", DrainRequest("finish", 5, 7))
        assert await store.drain_request("blue") == DrainRequest("finish", 5, 7)


@pytest.mark.parametrize(
    "weights", [b"", b"\xff", b"[]", b'{"blue":"all"}', b'{"blue":-1}', b"x" * (MAX_HASH_BYTES + 1), None]
)
async def test_malformed_weights_are_never_told(store: RedisStore, weights: bytes | None) -> None:
    """A drain goes on as where nothing is known. None: something else stands there."""
    if weights is None:
        await store._redis.set("voice:routing", "x")
    else:
        await store._redis.hset("voice:routing", mapping={"weights": weights, "told_at_ms": 1})
    with capture_logs() as lines:
        for _ in range(2):
            assert await store.weights() is None
    assert [line["entry"] for line in lines] == ["voice:routing"]


@pytest.mark.parametrize("bound", [b"", b"\xff\xfe", b"}", b"x" * 1000, b'{"call_id":"call_a"}'])
async def test_a_call_key_bound_to_nonsense_is_bound_to_nothing(store: RedisStore, bound: bytes) -> None:
    """The first call that comes with it gets it."""
    await store._redis.set("voice:callkey:k", bound)
    with capture_logs() as lines:
        assert await store.find_call_key("k") is None
    assert [line["entry"] for line in lines] == ["voice:callkey:k"]
    assert await store.bind_call_key("k", "call_a") == "call_a"
    assert await store.find_call_key("k") == "call_a"
    assert await store.bind_call_key("k", "call_b") == "call_a"
