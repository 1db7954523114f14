"""How a store in Redis or Valkey is asked: scripts in pipelines, and what is asked again when a server is lost.

What takes effect once however often it is asked (everything but a pod's writes, which
the committer asks again itself) is asked again for a second when a server is lost: with
growing pauses of random length, so that the pods do not ask in step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

import redis.asyncio as redis
from redis import exceptions

from voice_agent.errors import StoreUnavailable
from voice_agent.retry import Delays, retry
from voice_agent.stores.base import Store
from voice_agent.stores.redis_connections import Tuning, one_server
from voice_agent.stores.redis_errors import FAILURES, concerns_one_run, is_elsewhere, meaning
from voice_agent.stores.redis_fleet_format import PassedOver
from voice_agent.stores.redis_format import Script
from voice_agent.stores.redis_gathering import AskAll, GatheredRuns, Question
from voice_agent.stores.redis_keys import Keys
from voice_agent.stores.redis_pipeline import Command, ask_all
from voice_agent.stores.redis_sentinels import sentinel_master

CLAIM_MARGIN_MS = 100
"""A claim must have arrived so long before its asker gives up and tells the client to try elsewhere."""
AGAIN_FOR_S = 1.0
AGAIN = Delays(first_s=0.02, longest_s=0.3)
SCRIPTS = tuple(
    "commit stage erase bind_call_key heartbeat list_pod read_fields request_drain tell_weights compare_and_set".split()
)
IN_PAGES = ("claim", "load", "read")
"""Scripts that read calls."""

Answer = TypeVar("Answer")


class RedisClient(Store):
    """One pool of connections, the scripts, and the clock of the server. What is asked is in the subclasses."""

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
        self._gathered: dict[str, GatheredRuns] = {}
        """By the script's name."""
        self._passed_over = PassedOver()
        self._server_ahead_ms: float | None = None
        """The server's clock less this machine's monotonic one, as of the last heartbeat."""

    def use_prefix(self, prefix: str) -> None:
        """Put `prefix` before all keys."""
        self.keys = Keys(prefix)

    async def _run(self, name: str, keys: Sequence[str], arguments: Sequence[Any], *, again: bool = True) -> Any:
        [answer] = await self._ask(
            lambda: self._run_all(self._scripts[name], [(keys, arguments)]), again=again, about=keys[0]
        )
        return self._its_own(answer, keys[0])

    async def _run_together(
        self, name: str, keys: Sequence[str], arguments: Sequence[Any], *, again: bool = True
    ) -> Any:
        """As `_run`, in one round trip with others that are asked at about the same time."""
        script = self._scripts[name]
        return await self._ask_together(name, lambda runs: self._run_all(script, runs), (keys, arguments), again=again)

    async def _ask_together(self, name: str, ask: AskAll, question: Question, *, again: bool) -> Any:
        """`name`: of what can be asked together."""
        gathered = self._gathered.get(name)
        if gathered is None:
            gathered = self._gathered[name] = GatheredRuns(ask)
        about = question[0][0]
        answer = await self._ask(lambda: gathered.ask(question), again=again, about=about)
        return self._its_own(answer, about)

    async def _read_items(self, questions: Sequence[Question]) -> list[Any]:
        """All items of calls of one node, each with the epoch and the claim that its record told afterwards.

        Answers that are errors of one call alone are among the answers.
        """
        pairs = [(("HGETALL", keys[1]), ("HMGET", keys[0], "epoch", "claim")) for keys, _ in questions]
        node = await self._node_of(questions[0][0][0])
        answers = await ask_all(node, [command for pair in pairs for command in pair])
        for answer in answers:
            if isinstance(answer, Exception) and not concerns_one_run(answer):
                raise answer
        found = zip(answers[::2], answers[1::2], strict=True)
        return [next((answer for answer in pair if isinstance(answer, Exception)), pair) for pair in found]

    async def _node_of(self, key: str) -> redis.Redis:
        return self._redis

    def _its_own(self, answer: Any, about: str) -> Any:
        """An answer that may be an error of its run alone."""
        if isinstance(answer, exceptions.RedisError):
            raise meaning(answer, self._url, about)
        return answer

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

        async def once() -> Answer:
            try:
                return await _cancellable(question())
            except FAILURES as error:
                await self._lost(error)
                raise

        def for_s(error: Exception) -> float:
            # What a question makes of answers that came is final: only a server that was lost is asked again.
            passes = isinstance(error, FAILURES) and isinstance(meaning(error, self._url, about), StoreUnavailable)
            return AGAIN_FOR_S if passes else 0

        try:
            if not again:
                return await once()
            return await retry(once, AGAIN.spread(0, 1), for_s=for_s, now_s=_now_s, sleep=asyncio.sleep)
        except FAILURES as error:
            raise meaning(error, self._url, about) from error

    async def _servers(self) -> list[redis.Redis]:
        """Clients of every server that takes writes."""
        return [self._redis]

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


async def _cancellable(asked: Awaitable[Answer]) -> Answer:
    """The same, and `CancelledError` where the task was cancelled meanwhile, whatever redis-py made of that.

    It sends in `asyncio.wait_for`, which until Python 3.12 swallows a cancellation that comes in the turn of the loop
    in which what it waits for has ended (https://github.com/python/cpython/issues/86296). A task that asks for ever,
    as a heartbeat does, would never end.
    """
    task = asyncio.current_task()
    requests = task.cancelling() if task else 0
    try:
        return await asked
    finally:
        if task is not None and task.cancelling() > requests:
            raise asyncio.CancelledError


def _now_s() -> float:
    return asyncio.get_running_loop().time()
