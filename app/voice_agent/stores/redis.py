"""Call state in Redis or Valkey: `redis://`, `rediss://`, `unix://`, `redis+sentinel://`.

All keys of a call share one hash slot, and each write is one script: fenced, atomic,
and one element of a pipeline, so that a whole pod's changes cost one round trip. The
scripts are in `lua/`, one a file, each with a table of its keys and arguments.

What takes effect once however often it is asked (everything but a pod's writes, which
the committer asks again itself) is asked again for a second when a server is lost: with
growing pauses of random length, so that the pods do not ask in step.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import orjson
import redis.asyncio as redis
from redis import exceptions
from redis.asyncio.sentinel import SentinelConnectionPool

from voice_agent.call.changes import CallWrite, Snapshot
from voice_agent.errors import RecordUnreadable, StoreRefused, StoreUnavailable, StoreUnfit
from voice_agent.stores.base import (
    TOMBSTONE_FIELDS,
    Claim,
    Claimed,
    DrainRequest,
    NotClaimed,
    PodHeartbeat,
    RouterWeights,
    Store,
    StoreMemory,
    WriteOutcome,
)
from voice_agent.stores.redis_connections import Tuning, one_server
from voice_agent.stores.redis_errors import (
    FAILURES,
    concerns_one_run,
    is_elsewhere,
    meaning,
    outcome_of_failure,
    without_password,
)
from voice_agent.stores.redis_fitness import COMMANDS, Facts, facts_of, lack, shortcomings
from voice_agent.stores.redis_fleet import (
    CALL_ID,
    HEARTBEAT_FIELDS,
    MAX_HASH_BYTES,
    MAX_PODS,
    WEIGHTS_FIELDS,
    WISH_FIELDS,
    PassedOver,
    heartbeat_fields,
    heartbeat_of,
    request_of,
    weights_of,
)
from voice_agent.stores.redis_format import (
    STAGED_FROM_BYTES,
    Reading,
    Script,
    commit_arguments,
    parts_of,
)
from voice_agent.stores.redis_keys import Keys
from voice_agent.stores.redis_pipeline import Command, ask_all
from voice_agent.stores.redis_sentinels import sentinel_master

CLAIM_MARGIN_MS = 100
"""A claim must have arrived so long before its asker gives up: he tells the caller to try elsewhere."""
AGAIN_FOR_S = 1.0
AGAIN_PAUSE_S = 0.02
AGAIN_PAUSE_MAX_S = 0.3
SCRIPTS = tuple(
    "commit stage erase bind_call_key beat list_pod read_fields request_drain tell_weights compare_and_set".split()
)
TRIES_TO_AGREE = 5
"""What a store was told may be gone at once in a failover, and for good in one that evicts everything."""
PLAIN_KEYS = 4
"""Of a call; behind them stand those of a write that is staged."""
IN_PAGES = ("claim", "load", "read")
"""Scripts that read calls."""
KEPT_POD_MS = 3_600_000

Answer = TypeVar("Answer")
Question = tuple[Sequence[str], Sequence[Any]]
"""Keys and arguments of one run of a script."""


class RedisStore(Store):
    """One pool of connections; every method is at most one round trip, but where a script has to be loaded."""

    needs_limit = True
    """Whether the server should have a memory limit of its own."""

    def __init__(self, url: str, *, ttl_s: int, made: tuple[Any, Tuning] | None = None) -> None:
        """`made`: the client of a subclass that makes its own connections, and how those are tuned."""
        super().__init__(ttl_s=ttl_s)
        self._url = url
        self.keys = Keys()
        self._scripts = {name: Script(name) for name in SCRIPTS}
        self._scripts.update({name: Script("pages", name) for name in IN_PAGES})
        if made is None:
            made = sentinel_master(url) if "+sentinel://" in url.lower() else one_server(url)
        self._redis: redis.Redis
        self._redis, self.tuning = made
        self._passed_over = PassedOver()
        self._server_ahead_ms: float | None = None
        """The server's clock less this machine's monotonic one, as of the last heartbeat."""

    @property
    def kind(self) -> str:
        """``redis`` or ``sentinel``."""
        return "sentinel" if "+sentinel://" in self._url.lower() else "redis"

    def use_prefix(self, prefix: str) -> None:
        """Put `prefix` before all keys."""
        self.keys = Keys(prefix)

    async def open(self) -> None:
        """Check that the server answers and runs scripts."""
        await self.ping()

    async def close(self) -> None:
        """Give the connections back."""
        pool = self._redis.connection_pool
        await pool.disconnect()
        if isinstance(pool, SentinelConnectionPool):
            await pool.sentinel_manager.aclose()

    async def ping(self) -> None:
        """One round trip."""
        await self._ask(self._redis.ping)

    async def memory(self) -> StoreMemory | None:
        """One INFO."""
        info: Any = await self._ask(lambda: self._redis.info("memory"))
        return StoreMemory(int(info["used_memory"]), int(info.get("maxmemory", 0)))

    async def shortcomings(self, calls: int) -> list[str]:
        """INFO, CONFIG GET and COMMAND INFO of every server that takes writes; what is not allowed is not known."""
        found: dict[str, None] = {}
        for node in await self._servers():
            facts = await self._facts(node)
            if lacking := lack(facts):
                raise StoreUnfit(f"the store at {without_password(self._url)} cannot keep calls: {lacking}")
            found.update(dict.fromkeys(shortcomings(facts, calls, needs_limit=self.needs_limit)))
        return list(found)

    async def _facts(self, node: Any) -> Facts:
        info = await self._if_allowed(node.info)
        config = await self._if_allowed(partial(node.config_get, "maxmemory*", "save"))
        commands = await self._if_allowed(partial(node.execute_command, "COMMAND INFO", *COMMANDS))
        return facts_of(info or {}, config or {}, commands or ())

    async def _servers(self) -> list[redis.Redis]:
        """Clients of every server that takes writes."""
        return [self._redis]

    async def _if_allowed(self, question: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await self._ask(question)
        except StoreRefused:
            return None

    # --- calls ----------------------------------------------------------------

    async def commit(self, writes: Sequence[CallWrite]) -> list[WriteOutcome]:
        """One pipeline, one script per write; in front of them the keys that whole writes bind.

        Large whole writes are brought beside their calls before, part by part, and put in place by that script.
        """
        runs = [await self._in_parts(write) if self._is_large(write) else self._at_once(write) for write in writes]
        beside = [keys[PLAIN_KEYS:] for keys, _ in runs]
        keys = [(self.keys.call_key(write.call_key_hash), write.call_id) for write in writes if write.call_key_hash]
        outcomes = await self._ask(lambda: self._run_all(self._scripts["commit"], runs, bind=keys), again=False)
        told = [
            outcome_of_failure(outcome) if isinstance(outcome, Exception) else WriteOutcome(outcome.decode())
            for outcome in outcomes
        ]
        for staged, outcome in zip(beside, told, strict=True):
            if staged and outcome is not WriteOutcome.COMMITTED:
                await self._unlink(staged)
        return told

    def _is_large(self, write: CallWrite) -> bool:
        """Whether to bring a write in parts: a whole one of which something is kept."""
        return write.whole and write.size_bytes >= STAGED_FROM_BYTES and bool(self.retention_s or not write.ends)

    def _at_once(self, write: CallWrite) -> Question:
        """How a write is committed."""
        return self.keys.of_call(write.call_id), commit_arguments(write, self.ttl_s, self.retention_s)

    async def _in_parts(self, write: CallWrite) -> Question:
        """How a large write is committed, once its parts were brought."""
        keys = self.keys.of_call(write.call_id)
        # Under a name that no other write has: of two owners each brings its own.
        beside = [f"{key}:{write.claim}.{write.epoch}.{write.revision}" for key in keys[1:]]
        await self._unlink(beside)
        for part in parts_of(write):
            if not await self._stage(beside, part):
                await self._unlink(beside)
                return self._at_once(write)  # Which is told why.
        counts = [len(write.items), len(write.events), len(write.speech)]
        rest = commit_arguments(replace(write, items={}, events=[], speech=[]), self.ttl_s, self.retention_s)
        return [*keys, *beside], [*rest, *counts]

    async def _unlink(self, keys: Sequence[str]) -> None:
        await self._ask(lambda: self._redis.unlink(*keys), again=False)

    async def _stage(self, keys: Sequence[str], part: list[Any]) -> bool:
        """Whether a part could be brought. An error of this part alone is no error of other calls' writes."""
        try:
            return bool(await self._run("stage", keys, part, again=False) == b"staged")
        except StoreRefused:
            return False

    async def claim(self, claim: Claim) -> Claimed | NotClaimed:
        """One script, and one for each further page of a large call."""
        arguments = [
            claim.owner,
            claim.color,
            claim.now_ms,
            self.ttl_s,
            int(claim.api_key_hash is not None),
            claim.api_key_hash or "",
            claim.name,
            await self._server_ms() or 0,
            *(claim.schemas or ("", "")),
        ]
        # Without a name it would count once more each time it is asked.
        outcome, *more = await self._run("claim", self.keys.of_call(claim.call_id), arguments, again=bool(claim.name))
        if outcome == b"late":
            self._server_ahead_ms = None
            raise StoreUnavailable("the claim reached the store too late")
        if outcome == b"schema":
            raise RecordUnreadable(*more)
        if outcome != b"claimed":
            return NotClaimed(outcome.decode())
        epoch, owner, status, color, *held = more
        snapshot = await self._read(claim.call_id, Reading(*held), [epoch, claim.name])
        before = (word.decode(errors="backslashreplace") for word in (owner, status, color))
        return Claimed(epoch, snapshot, *before)

    async def _read(self, call_id: str, reading: Reading, owned: list[Any]) -> Snapshot:
        """What is left of a call; `owned`: under which epoch and claim it must be, or twice ""."""
        while (rest := reading.rest) is not None:
            page = await self._run("read", self.keys.of_call(call_id), [*owned, *rest])
            if page is None:
                raise StoreUnavailable("the call was claimed by another pod while it was read")
            reading.add(page)
        return reading.snapshot()

    async def erase(self, call_id: str, now_ms: int) -> bool:
        """One script."""
        arguments = [now_ms, self.ttl_s, "admin", *TOMBSTONE_FIELDS]
        return bool(await self._run("erase", self.keys.of_call(call_id), arguments))

    async def load(self, call_id: str) -> Snapshot | None:
        """One script, and one for each further page of a large call, in which changes made meanwhile may show."""
        held = await self._run("load", self.keys.of_call(call_id), [])
        return await self._read(call_id, Reading(*held), ["", ""]) if held[0] else None

    async def bind_call_key(self, key_hash: str, call_id: str, *, instead_of: str | None = None) -> str:
        """One script."""
        bound: bytes = await self._run(
            "bind_call_key", [self.keys.call_key(key_hash)], [call_id, self.ttl_s, instead_of or ""]
        )
        return bound.decode()

    async def find_call_key(self, key_hash: str) -> str | None:
        """One GETEX."""
        key = self.keys.call_key(key_hash)
        bound: Any = await self._ask(lambda: self._redis.getex(key, ex=self.ttl_s), about=key)
        is_odd = bound is not None and CALL_ID.fullmatch(bound) is None
        self._passed_over.tell("call keys", {key: "bound to no call"} if is_odd else {})
        return None if bound is None or is_odd else bound.decode()

    # --- the fleet --------------------------------------------------------------

    async def heartbeat(self, heartbeat: PodHeartbeat, *, ttl_s: int) -> DrainRequest | None:
        """Two scripts, for in a cluster their keys are not on one server, and a look at the server's clock."""
        fields = [ttl_s, *(word for pair in heartbeat_fields(heartbeat).items() for word in pair)]
        await self._ask(self._read_clock, again=False)
        await self._run("beat", [self.keys.pod(heartbeat.name)], fields, again=False)
        await self._run("list_pod", [self.keys.pods], [heartbeat.name, KEPT_POD_MS], again=False)
        return await self.drain_request(heartbeat.color)

    async def pods(self) -> list[PodHeartbeat]:
        """Two round trips: the names, then their beats. One that is odd is passed over."""
        listed: Any = await self._ask(
            lambda: self._redis.zrevrange(self.keys.pods, 0, MAX_PODS - 1), about=self.keys.pods
        )
        names = sorted(name.decode(errors="backslashreplace") for name in listed)
        runs = [([self.keys.pod(name)], [MAX_HASH_BYTES, *HEARTBEAT_FIELDS]) for name in names]
        answers = await self._ask(lambda: self._run_all(self._scripts["read_fields"], runs)) if runs else []
        odd: dict[str, str] = {}
        heartbeats = [
            heartbeat_of(name, answer, partial(odd.__setitem__, self.keys.pod(name)))
            for name, answer in zip(names, answers, strict=True)
        ]
        self._passed_over.tell("heartbeats", odd)
        return [heartbeat for heartbeat in heartbeats if heartbeat is not None]

    async def request_drain(self, color: str, wish: DrainRequest | None) -> None:
        """One script."""
        await self._run("request_drain", [self.keys.color(color)], [] if wish is None else [orjson.dumps(wish)])

    async def drain_request(self, color: str) -> DrainRequest | None:
        """One script. A wish that is odd is passed over."""
        return await self._read_fleet(self.keys.color(color), WISH_FIELDS, request_of)

    async def _read_fleet(
        self, key: str, fields: Sequence[str], read: Callable[[Any, Callable[[str], None]], Answer]
    ) -> Answer:
        """What some fields of a key say; what is odd is named."""
        question = ([key], [MAX_HASH_BYTES, *fields])
        [answer] = await self._ask(lambda: self._run_all(self._scripts["read_fields"], [question]), about=key)
        odd: dict[str, str] = {}
        found = read(answer, partial(odd.__setitem__, key))
        self._passed_over.tell(key, odd)
        return found

    async def tell_weights(self, weights: Mapping[str, int], now_ms: int) -> None:
        """One script, which takes the time from the server."""
        await self._run("tell_weights", [self.keys.routing], [orjson.dumps(dict(weights))])

    async def weights(self) -> RouterWeights | None:
        """One script. Weights that are odd are passed over."""
        return await self._read_fleet(self.keys.routing, WEIGHTS_FIELDS, weights_of)

    async def get_or_set(self, name: str, proposal: bytes) -> bytes:
        """GET, and only where nothing is agreed yet SET NX and GET again: a server that is full refuses the SET.

        Raises `StoreUnavailable` for a store that keeps losing what it was told.
        """
        key = self.keys.agreed(name)

        client: Any = self._redis

        async def run() -> bytes:
            for _ in range(TRIES_TO_AGREE):
                if (agreed := await client.get(key)) is not None:
                    return bytes(agreed)
                await client.set(key, proposal, nx=True)
            raise StoreUnavailable(f"the store does not keep {key}")

        return await self._ask(run, about=key)

    async def get(self, name: str) -> bytes | None:
        """One command."""
        key = self.keys.value(name)
        found: Any = await self._ask(lambda: self._redis.get(key), about=key)
        return None if found is None else bytes(found)

    async def compare_and_set(self, name: str, old: bytes | None, new: bytes | None, *, ttl_s: int) -> bool:
        """One script."""
        arguments = [int(old is not None), old or b"", int(new is not None), new or b"", ttl_s]
        return bool(await self._run("compare_and_set", [self.keys.value(name)], arguments))

    # --- talking to the server ----------------------------------------------------

    async def _run(self, name: str, keys: Sequence[str], arguments: Sequence[Any], *, again: bool = True) -> Any:
        answers = await self._ask(
            lambda: self._run_all(self._scripts[name], [(keys, arguments)]), again=again, about=keys[0]
        )
        if isinstance(answers[0], exceptions.RedisError):
            raise meaning(answers[0], self._url, keys[0])
        return answers[0]

    async def _run_all(
        self, script: Script, runs: Sequence[Question], *, bind: Sequence[tuple[str, str]] = ()
    ) -> list[Any]:
        """Run a script several times; answers that are errors of one run alone are among the answers."""
        return await self._run_on(self._redis, script, runs, bind)

    async def _run_on(
        self, node: redis.Redis, script: Script, runs: Sequence[Question], bind: Sequence[tuple[str, str]]
    ) -> list[Any]:
        """Run a script several times in one pipeline; load it first if the server does not know it."""
        answers = await self._pipeline(node, script, runs, bind)
        missing = [at for at, answer in enumerate(answers) if isinstance(answer, exceptions.NoScriptError)]
        if missing:
            await node.script_load(script.text)
            again = await self._pipeline(node, script, [runs[at] for at in missing], ())
            for at, answer in zip(missing, again, strict=True):
                answers[at] = answer
        for answer in answers:
            if isinstance(answer, Exception) and not concerns_one_run(answer):
                raise answer
        return answers

    async def _pipeline(
        self, node: redis.Redis, script: Script, runs: Iterable[Question], bind: Sequence[tuple[str, str]]
    ) -> list[Any]:
        commands: list[Command] = [("SET", key, call_id, "NX", "EX", self.ttl_s) for key, call_id in bind]
        commands += [("EVALSHA", script.sha, len(keys), *keys, *arguments) for keys, arguments in runs]
        answers = await ask_all(node, commands)
        for answer in answers[: len(bind)]:
            if isinstance(answer, Exception):
                raise answer
        return answers[len(bind) :]

    async def _ask(self, question: Callable[[], Awaitable[Answer]], *, again: bool = True, about: str = "") -> Answer:
        """Ask, and where it may take effect twice and a server was lost, ask again for a while.

        `about`: the key that a refusal is to name.
        """
        until_s = _now_s() + AGAIN_FOR_S
        longest_s = AGAIN_PAUSE_S
        while True:
            try:
                return await question()
            except FAILURES as error:
                await self._lost(error)
                told = meaning(error, self._url, about)
                pause_s = random.uniform(0, longest_s)  # noqa: S311 - spreads the pods; no secret
                if not again or not isinstance(told, StoreUnavailable) or _now_s() + pause_s > until_s:
                    raise told from error
            longest_s = min(2 * longest_s, AGAIN_PAUSE_MAX_S)
            await asyncio.sleep(pause_s)

    async def _lost(self, error: Exception) -> None:
        """After a failover the same name may lead to another server; connections that are open do not follow it."""
        if is_elsewhere(error):
            await self._redis.connection_pool.disconnect(inuse_connections=False)

    def wall_ms(self) -> float | None:
        """The server's clock, as of the last heartbeat."""
        return None if self._server_ahead_ms is None else _now_s() * 1000 + self._server_ahead_ms

    async def _read_clock(self) -> None:
        seconds, micros = await self._redis.time()
        self._server_ahead_ms = seconds * 1000 + micros / 1000 - _now_s() * 1000

    async def _server_ms(self) -> int | None:
        """By when, on the server's clock, a question asked now must have arrived; None while that is not known."""
        if self._server_ahead_ms is None:
            return None
        return int(_now_s() * 1000 + self._server_ahead_ms + self.tuning.timeout_s * 1000 - CLAIM_MARGIN_MS)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
