"""Questions of one kind that are asked at about the same time go together: one connection, one round trip.

::

    IDLE --asked--> UNDER WAY --answered, others have asked meanwhile--> UNDER WAY
                       |--answered, nobody has--> IDLE

When a pod dies, others are asked for all of its calls at once. A connection for each claim would have to be made first,
which costs more than the claim.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

AT_ONCE = 16
"""So many go together at most: each answer may be half a megabyte."""

Question = tuple[Sequence[str], Sequence[Any]]
"""Keys and arguments of one run of a script."""
AskAll = Callable[[list[Question]], Awaitable[list[Any]]]
"""Asks several; answers that are errors of one run alone are among the answers."""


class _Asked(NamedTuple):
    question: Question
    answer: asyncio.Future[Any]


class GatheredRuns:
    """Of one kind, on one server."""

    def __init__(self, run_all: AskAll) -> None:
        self._run_all = run_all
        self._waiting: deque[_Asked] = deque()
        self._asking: asyncio.Task[None] | None = None

    async def ask(self, question: Question) -> Any:
        """The answer. Raises what `run_all` raises, to all whose questions went together.

        One that is cancelled while it waits for others is not asked.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Asked(question, answer))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_all(), name="gathered")
        return await answer

    async def _ask_all(self) -> None:
        asked: list[_Asked] = []
        try:
            while self._waiting:
                asked = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
                asked = [each for each in asked if not each.answer.done()]
                await self._ask_some(asked)
        finally:
            self._asking = None
            for each in (*asked, *self._waiting):
                each.answer.cancel()  # Those that are left when the event loop ends.

    async def _ask_some(self, asked: list[_Asked]) -> None:
        if not asked:
            return
        try:
            answers = await self._run_all([each.question for each in asked])
        except Exception as error:  # noqa: BLE001 - whoever asked decides what it means, and whether to ask again
            for each in asked:
                if not each.answer.done():
                    each.answer.set_exception(error)
            return
        for each, answer in zip(asked, answers, strict=True):
            if not each.answer.done():
                each.answer.set_result(answer)
