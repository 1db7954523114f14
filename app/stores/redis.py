"""Call state in Redis or Valkey: `redis://`, `rediss://`, `unix://`.

All keys of a call share one hash slot, and each write is one script: fenced, atomic,
and one element of a pipeline, so that a whole pod's changes cost one round trip. The
scripts are in `lua/`, one a file, each with a table of its keys and arguments.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any, TypeVar
from urllib.parse import urlsplit

import orjson
import redis.asyncio as redis
from redis import exceptions
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from app.call.changes import CallWrite, OutboxEntry, Snapshot, SpeechEntry
from app.errors import SettingsError
from app.stores.base import Claim, Claimed, DrainWish, NotClaimed, PodBeat, Store, WriteOutcome
from app.stores.redis_errors import meaning, unusable

ANSWER_S = 2.0
HEALTH_CHECK_S = 15
CONNECTIONS = 16
PODS_KEY = "pods"
"""Sorted set of pod names by the time of their last beat, so that listing them needs no scan."""
KEPT_POD_MS = 3_600_000

Answer = TypeVar("Answer")


class RedisStore(Store):
    """One pool of connections; every method is at most one round trip, but where a script has to be loaded."""

    def __init__(self, url: str, *, ttl_s: int) -> None:
        super().__init__(ttl_s=ttl_s)
        self._url = url
        self._scripts = {name: Script(name) for name in ("commit", "claim", "load", "bind_call_key")}
        self._redis: redis.Redis = redis.Redis(connection_pool=_pool(url))

    @property
    def kind(self) -> str:
        """``redis``."""
        return "redis"

    async def open(self) -> None:
        """Check that the server answers and runs scripts."""
        await self.ping()

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def ping(self) -> None:
        """One round trip."""
        await self._ask(self._redis.ping)

    # --- calls ----------------------------------------------------------------

    async def commit(self, writes: Sequence[CallWrite]) -> list[WriteOutcome]:
        """One pipeline, one script per write; in front of them the keys that whole writes bind."""
        runs = [(call_keys(write.call_id), _arguments(write, self.ttl_s)) for write in writes]
        keys = [(f"callkey:{write.call_key_hash}", write.call_id) for write in writes if write.call_key_hash]
        outcomes = await self._ask(lambda: self._run_all(self._scripts["commit"], runs, bind=keys))
        return [WriteOutcome(outcome.decode()) for outcome in outcomes]

    async def claim(self, claim: Claim) -> Claimed | NotClaimed:
        """One script."""
        arguments = [
            claim.owner,
            claim.color,
            claim.now_ms,
            self.ttl_s,
            int(claim.api_key_hash is not None),
            claim.api_key_hash or "",
            claim.name,
        ]
        outcome, *more = await self._run("claim", call_keys(claim.call_id), arguments)
        if outcome != b"claimed":
            return NotClaimed(outcome.decode())
        epoch, owner, status, color, *held = more
        return Claimed(epoch, _snapshot(*held), owner.decode(), status.decode(), color.decode())

    async def load(self, call_id: str) -> Snapshot | None:
        """One script."""
        held = await self._run("load", call_keys(call_id), [])
        return _snapshot(*held) if held[0] else None

    async def bind_call_key(self, key_hash: str, call_id: str, *, instead_of: str | None = None) -> str:
        """One script."""
        bound: bytes = await self._run(
            "bind_call_key", [f"callkey:{key_hash}"], [call_id, self.ttl_s, instead_of or ""]
        )
        return bound.decode()

    async def find_call_key(self, key_hash: str) -> str | None:
        """One GETEX."""
        bound: Any = await self._ask(lambda: self._redis.getex(f"callkey:{key_hash}", ex=self.ttl_s))
        return None if bound is None else bound.decode()

    # --- the fleet --------------------------------------------------------------

    async def beat(self, beat: PodBeat, *, ttl_s: int) -> DrainWish | None:
        """One pipeline."""
        fields: dict[Any, Any] = {name: str(getattr(beat, name)) for name in PodBeat.__dataclass_fields__}

        async def run() -> list[Any]:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hset(f"pod:{beat.name}", mapping=fields)
                pipe.expire(f"pod:{beat.name}", ttl_s)
                pipe.zadd(PODS_KEY, {beat.name: beat.beat_at_ms})
                pipe.zremrangebyscore(PODS_KEY, "-inf", beat.beat_at_ms - KEPT_POD_MS)
                pipe.hget(f"color:{beat.color}", "drain")
                return await _answers(pipe)

        answers = await self._ask(run)
        return _wish(answers[-1])

    async def retire(self, pod: str) -> None:
        """One pipeline."""

        async def run() -> None:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.delete(f"pod:{pod}")
                pipe.zrem(PODS_KEY, pod)
                await _answers(pipe)

        await self._ask(run)

    async def pods(self) -> list[PodBeat]:
        """Two round trips: the names, then their beats."""

        async def run() -> list[Any]:
            kept: Any = await self._redis.zrange(PODS_KEY, 0, -1)
            names = [name.decode() for name in kept]
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.hgetall(f"pod:{name}")
                return await _answers(pipe) if names else []

        beats = [_beat(fields) for fields in await self._ask(run) if fields]
        return sorted(beats, key=lambda beat: beat.name)

    async def wish_drain(self, color: str, wish: DrainWish | None) -> None:
        """One command."""
        key = f"color:{color}"
        if wish is None:
            await self._ask(lambda: self._redis.hdel(key, "drain"))
            return
        value = orjson.dumps(wish)
        await self._ask(lambda: self._redis.hset(key, "drain", value))

    async def drain_wish(self, color: str) -> DrainWish | None:
        """One command."""
        packed: Any = await self._ask(lambda: self._redis.hget(f"color:{color}", "drain"))
        return _wish(packed)

    async def agree(self, name: str, proposal: bytes) -> bytes:
        """SET NX, then GET."""

        async def run() -> bytes:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.set(f"agreed:{name}", proposal, nx=True)
                pipe.get(f"agreed:{name}")
                agreed: bytes = (await _answers(pipe))[1]
                return agreed

        return await self._ask(run)

    # --- talking to the server ----------------------------------------------------

    async def _run(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        return (await self._ask(lambda: self._run_all(self._scripts[name], [(keys, arguments)])))[0]

    async def _run_all(
        self,
        script: Script,
        runs: Sequence[tuple[Sequence[str], Sequence[Any]]],
        *,
        bind: Sequence[tuple[str, str]] = (),
    ) -> list[Any]:
        """Run a script several times in one pipeline; load it first if the server does not know it."""
        answers = await self._pipeline(script, runs, bind)
        missing = [at for at, answer in enumerate(answers) if isinstance(answer, exceptions.NoScriptError)]
        if missing:
            await self._redis.script_load(script.text)
            again = await self._pipeline(script, [runs[at] for at in missing], ())
            for at, answer in zip(missing, again, strict=True):
                answers[at] = answer
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    async def _pipeline(
        self,
        script: Script,
        runs: Iterable[tuple[Sequence[str], Sequence[Any]]],
        bind: Sequence[tuple[str, str]],
    ) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for key, call_id in bind:
                pipe.set(key, call_id, nx=True, ex=self.ttl_s)
            for keys, arguments in runs:
                pipe.evalsha(script.sha, len(keys), *keys, *arguments)
            return (await pipe.execute(raise_on_error=False))[len(bind) :]

    async def _ask(self, question: Callable[[], Awaitable[Answer]]) -> Answer:
        try:
            return await question()
        except (exceptions.RedisError, OSError, TimeoutError) as error:
            if isinstance(error, exceptions.ReadOnlyError):
                # After a failover the same name may lead to another server; the connections do not follow it.
                await self._redis.connection_pool.disconnect(inuse_connections=False)
            raise meaning(error, self._url) from error


class Script:
    """A Lua script of ours and the SHA-1 that the server knows it by."""

    def __init__(self, name: str) -> None:
        self.text = files("app.stores").joinpath("lua", f"{name}.lua").read_text()
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


def call_keys(call_id: str) -> list[str]:
    """The four keys of a call, all in one hash slot."""
    slot = f"call:{{{call_id}}}"
    return [slot, f"{slot}:items", f"{slot}:out", f"{slot}:in"]


def _pool(url: str) -> redis.BlockingConnectionPool:
    """A question is asked once: whether to ask again is for the asker, who knows if it may take effect twice."""
    try:
        parts = urlsplit(url)
        if parts.scheme.lower() != "unix" and "@" in parts.path + parts.query + parts.fragment:
            raise ValueError("an @ after the host")
        if parts.scheme.lower() != "unix" and not parts.path.strip("/").isdecimal() and parts.path.strip("/"):
            raise ValueError("the database is not a number")
        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=ANSWER_S,
            socket_timeout=ANSWER_S,
            socket_connect_timeout=ANSWER_S,
            health_check_interval=HEALTH_CHECK_S,
            retry=Retry(NoBackoff(), 0),
        )
        # Parameters of the query are looked at only when a connection is made: make one now, unconnected.
        pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError, exceptions.RedisError) as error:
        raise SettingsError(unusable(url, error)) from None
    return pool


async def _answers(pipe: Pipeline) -> list[Any]:
    """What a pipeline's commands gave. The first error is raised bare: redis-py's own would quote the command."""
    answers: list[Any] = await pipe.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


def _arguments(write: CallWrite, ttl_s: int) -> list[Any]:
    arguments: list[Any] = [
        write.epoch,
        ttl_s,
        int(write.whole),
        write.keep_events_from,
        write.keep_speech_from,
        write.revision,
        write.claim,
        write.doubted,
        len(write.fields),
    ]
    for pair in write.fields.items():
        arguments += pair
    arguments.append(len(write.items))
    for pair in write.items.items():
        arguments += pair
    arguments.append(len(write.dropped_items))
    arguments += write.dropped_items
    arguments.append(len(write.events))
    for event in write.events:
        arguments += event
    arguments.append(len(write.speech))
    for piece in write.speech:
        arguments += piece
    return arguments


def _pairs(flat: Sequence[bytes] | Mapping[bytes, bytes]) -> dict[str, bytes]:
    """A hash as the server sends it: a map with RESP3, a flat list with RESP2."""
    if isinstance(flat, Mapping):
        return {name.decode(): value for name, value in flat.items()}
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def _snapshot(record: Any, items: Any, outbox: Any, speech: Any) -> Snapshot:
    out = [(_number(entry_id), _pairs(fields)) for entry_id, fields in outbox]
    said = [(_number(entry_id), _pairs(fields)) for entry_id, fields in speech]
    return Snapshot(
        _pairs(record),
        _pairs(items),
        [OutboxEntry(n, fields["h"], fields.get("a", b"")) for n, fields in out],
        [SpeechEntry(n, fields["i"].decode(), fields["a"]) for n, fields in said],
    )


def _number(entry_id: bytes) -> int:
    return int(entry_id.partition(b"-")[0])


def _wish(packed: bytes | None) -> DrainWish | None:
    """A wish written by a newer version may hold more than this one knows."""
    if not packed:
        return None
    wish = orjson.loads(packed)
    return DrainWish(wish["mode"], wish["deadline_s"], wish["requested_at_ms"])


def _beat(fields: Mapping[bytes, bytes]) -> PodBeat:
    texts = {name.decode(): value.decode() for name, value in fields.items()}
    return PodBeat(
        name=texts["name"],
        color=texts["color"],
        version=texts["version"],
        status=texts["status"],
        active_calls=int(texts["active_calls"]),
        parked_calls=int(texts["parked_calls"]),
        capacity=int(texts["capacity"]),
        started_at_ms=int(texts["started_at_ms"]),
        beat_at_ms=int(texts["beat_at_ms"]),
    )
