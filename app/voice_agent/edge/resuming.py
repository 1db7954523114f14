"""Finding a pod that goes on with a call: one try after the other, until there is one or nobody waits any longer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from voice_agent.edge.dialing import PodRefused, PodUnreachable
from voice_agent.edge.pod_socket import PodSocket

FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 1.0
"""Between two tries: at first less than a frame of audio, for a load balancer most often has another pod."""
LOST = frozenset({401, 403, 404, 410})
"""Answers to a resume after which no pod will go on with the call."""

Resume = Callable[[str, str, int], Awaitable[PodSocket]]
"""Connects to a pod that goes on with a call: its id, its resume token, the number of the newest event that came.

Its greeting has come. Raises `PodRefused`, `PodUnreachable`, `ConnectionError`.
"""


class Resuming:
    """One call's."""

    def __init__(self, resume: Resume, patience_s: float) -> None:
        self.call_id = ""
        self.token = ""
        """Of the call; "" for that of a server that cannot resume."""
        self.patience_s = patience_s
        self._resume = resume

    async def next_pod(self, newest: int) -> PodSocket | None:
        """A pod that goes on behind event `newest`; None if there is none for so long. Raises `PodRefused`: never."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self.patience_s
        pause_s = 0.0
        while loop.time() < until_s:
            try:
                async with asyncio.timeout_at(until_s):
                    await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads callers, no secret
                    return await self._resume(self.call_id, self.token, newest)
            except PodRefused as refusal:
                if refusal.response.status_code in LOST:
                    raise
            except (PodUnreachable, ConnectionError, TimeoutError):
                pass
            pause_s = min(max(FIRST_PAUSE_S, 2 * pause_s), LONGEST_PAUSE_S)
        return None
