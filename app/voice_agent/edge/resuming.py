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
"""Answers of a pod to a resume after which none will go on with the call."""
POD_HEADER = "X-Voice-Pod"
"""Without it such an answer is the load balancer's own."""
NAMED_POD_S = 0.5
"""How long the pod has to answer that the last one named; after that the load balancer has another one."""
ANSWER_S = 2.0
"""How long the first pod has to answer that is tried, each next one twice as long, up to what `dialing` grants: a load
balancer may send to a pod that has fallen silent for as long as its health checks take. Not less: a try that is
given up while its pod is at it takes the call from the next one, and that costs pods that are late already."""
MOST_UNANSWERED = 3
"""Of a search that goes on and on, so many tries are held to be under way still."""
OVERTAKES = 2
"""So often each may take the call from the connection that serves it: when it is claimed, and when it is attached."""
STEADY_S = 5.0
"""A connection that lasted so long is no try any more: the next one may last as long."""
EARLY_OVERTAKES = 2
"""So often the call may be taken from a connection that is younger than that, and be taken back. What takes it may be
another edge, which does not know yet that its caller came here. Of two whose callers are both there, who came last has
the call in the end: the other one runs out of this first."""

Resume = Callable[[str, str, int, str], Awaitable[PodSocket]]
"""Connects to a pod that goes on with a call: its id, its resume token, the number of the newest event that came, and
the address of the pod, past the load balancer; "" is whichever that has.

Its greeting has come. Raises `PodRefused`, `PodUnreachable`.
"""


class Resuming:
    """One call's."""

    def __init__(
        self, resume: Resume, patience_s: float, spread: Callable[[float, float], float] = random.uniform
    ) -> None:
        """`spread`: of the pauses, so that callers do not come at once; it gives a number between two."""
        self.patience_s = patience_s
        self._resume = resume
        self._spread = spread
        self._found_s = asyncio.get_running_loop().time()
        """When the last pod was found."""
        self._found_at = -1
        """And what the newest event was."""
        self._until_s = 0.0
        self._pause_s = 0.0
        self._answer_s = ANSWER_S
        self._overtakes_left = 0
        """How often tries that were given up may take the call all the same, once a pod gets to them."""
        self._early_overtakes_left = EARLY_OVERTAKES

    async def next_pod(self, call_id: str, token: str, newest: int, named: str = "") -> PodSocket | None:
        """A pod that goes on behind event `newest`; None if there is none for so long. Raises `PodRefused`: never.

        `named`: the address of the one that the last pod named; it is tried once, and first. Tries go on where the last
        ones ended if the connection they gave neither lasted nor brought anything: what a caller sends may be what
        ends it.
        """
        loop = asyncio.get_running_loop()
        is_steady = loop.time() - self._found_s >= STEADY_S
        if is_steady:
            self._early_overtakes_left = EARLY_OVERTAKES
        if newest > self._found_at or is_steady:
            self._until_s, self._pause_s, self._answer_s = loop.time() + self.patience_s, 0.0, ANSWER_S
        if named and (pod := await self._named_pod(call_id, token, newest, named)) is not None:
            self._found_s, self._found_at = loop.time(), newest
            return pod
        while loop.time() < self._until_s:
            pause_s, self._pause_s = self._pause_s, min(max(FIRST_PAUSE_S, 2 * self._pause_s), LONGEST_PAUSE_S)
            answer_s, self._answer_s = self._answer_s, 2 * self._answer_s
            pause_s *= self._spread(0.5, 1.0)
            try:
                async with asyncio.timeout_at(min(loop.time() + pause_s + answer_s, self._until_s)):
                    await asyncio.sleep(pause_s)
                    pod = await self._resume(call_id, token, newest, "")
            except PodRefused as refusal:
                if refusal.response.status_code in LOST and POD_HEADER in refusal.response.headers:
                    raise
            except (PodUnreachable, TimeoutError):
                self._gave_up()
            else:
                self._found_s, self._found_at = loop.time(), newest
                return pod
        return None

    async def _named_pod(self, call_id: str, token: str, newest: int, address: str) -> PodSocket | None:
        """The pod of an address, if it goes on with the call; a refusal may be of a pod that is not ours."""
        try:
            async with asyncio.timeout(NAMED_POD_S):
                return await self._resume(call_id, token, newest, address)
        except (PodUnreachable, TimeoutError):
            self._gave_up()
        except PodRefused:
            pass
        return None

    def _gave_up(self) -> None:
        self._overtakes_left = min(self._overtakes_left + OVERTAKES, MOST_UNANSWERED * OVERTAKES)

    def may_be_ours(self) -> bool:
        """The call is attached elsewhere: whether it may be by nobody who is to have it.

        That is a try that was given up, or what another edge does for a caller who has left it.
        """
        if self._overtakes_left:
            self._overtakes_left -= 1
            return True
        if self._early_overtakes_left and asyncio.get_running_loop().time() - self._found_s < STEADY_S:
            self._early_overtakes_left -= 1
            return True
        return False
