"""From a request to a call that is attached to a connection.

A resume is four steps, one after the other, and each may be the last::

    admission ──> claim ──> attach ──> greeting
    a place,      the store's   the connection gets    said by `Attachment.serve`,
    or 503        word, or 404, the call, an older     once the upgrade is done
                  410, 503      one 4409

A claim of a call that is not known is made again for a moment: its pod may not have written it yet.
A new call is made where a resume claims one. Whoever is refused gives back the place.
"""

from __future__ import annotations

from voice_agent.call.endings import ending
from voice_agent.errors import ConnectionRefused, StoreError
from voice_agent.runtime.budget import Budget
from voice_agent.runtime.calls.connection import Connection
from voice_agent.runtime.calls.live_call import LiveCall
from voice_agent.runtime.durability.committer import Committer
from voice_agent.runtime.pod.admission import Admission, unavailable
from voice_agent.runtime.pod.arrivals import Arrivals
from voice_agent.runtime.pod.attachment import Attachment
from voice_agent.runtime.pod.greeting import Greeter
from voice_agent.runtime.pod.options import PodPorts
from voice_agent.runtime.pod.ownership import Ownership, ResumedCall
from voice_agent.runtime.ports import ResumeCall, StartCall
from voice_agent.stores.base import NotClaimed

UNKNOWN_PAUSES_S = (0.2, 0.4, 0.8)
"""A call that the store does not know is asked for again after these. One that began, or went on, while another pod
could not write, is written as soon as that pod finds the store again (`write_back.PROBE_S`), and "unknown" would be
its end. Together less than a caller grants the first pod that it asks."""


class Connector:
    """One pod's."""

    def __init__(
        self,
        ports: PodPorts,
        admission: Admission,
        ownership: Ownership,
        committer: Committer,
        budget: Budget,
        greeter: Greeter,
        arrivals: Arrivals,
    ) -> None:
        self._ports = ports
        self._admission = admission
        self.ownership = ownership
        self._committer = committer
        self._budget = budget
        self.greeter = greeter
        self.arrivals = arrivals

    async def resume(self, request: ResumeCall) -> Attachment:
        """Take up a call again. Raises `ConnectionRefused`: 404 unknown, 410 ended, 503 cannot tell or won't.

        No quota and no overload keeps a call from being taken up again.
        """
        self._admission.take_resume()
        try:
            began_s = self._ports.clock.monotonic_s()
            taken = await self._take_over(request)
            if isinstance(taken, NotClaimed):
                raise await self._not_claimed(request.call_id, taken)
            return self._attach_resumed(taken, request, began_s, resumable=True)
        except BaseException:
            self._admission.give_back()
            raise

    async def _take_over(self, request: ResumeCall) -> ResumedCall | NotClaimed:
        for pause_s in UNKNOWN_PAUSES_S:
            taken = await self.ownership.take_over(request.call_id, request, api_key_hash=None)
            if taken is not NotClaimed.UNKNOWN:
                return taken
            await self._ports.clock.sleep(pause_s)
        return await self.ownership.take_over(request.call_id, request, api_key_hash=None)

    async def start(self, request: StartCall) -> Attachment:
        """Take a new call, or the one its call key stands for. Raises `ConnectionRefused`."""
        if request.call_key_hash is None:
            self._admission.take_new(request.api_key_hash)
        else:
            # It may be a call that exists; whether a new one may be made is asked once that is known.
            self._admission.take_resume()
        try:
            began_s = self._ports.clock.monotonic_s()
            if request.call_key_hash is None:
                found: ResumedCall | LiveCall = await self.ownership.start(request)
            else:
                found = await self.ownership.start_by_key(request)
            if isinstance(found, ResumedCall):
                return self._attach_resumed(found, request, began_s, resumable=request.resumable)
            self._ports.observer.call_started()
            self.arrivals.took(request.arrival)
            connection = self._connection(request, resumable=request.resumable)
            return self._attach(found, connection, None, resumed=False)
        except BaseException:
            self._admission.give_back()
            raise

    async def _not_claimed(self, call_id: str, why: NotClaimed) -> ConnectionRefused:
        """What a resume is refused with; of a call that has ended the client may not know how."""
        if why is not NotClaimed.ENDED:
            return ConnectionRefused(
                404, "call_not_found", "There is no such call, or it has expired.", param="call_id"
            )
        try:
            kept = await self._ports.store.load(call_id)
        except StoreError:
            kept = None
        details = ending(kept.fields) if kept is not None else {}
        return ConnectionRefused(410, "call_ended", "The call has ended.", param="call_id", details=details)

    def _attach_resumed(
        self, found: ResumedCall, request: StartCall | ResumeCall, began_s: float, *, resumable: bool
    ) -> Attachment:
        if request.is_gone() and found.live.connection is not None:
            raise unavailable("caller_left", "The caller left, and the call goes on over another connection.")
        clock, observer = self._ports.clock, self._ports.observer
        observer.resume_took(clock.monotonic_s() - began_s)
        self.arrivals.took(request.arrival)
        connection = self._connection(request, resumable=resumable)
        attachment = self._attach(found.live, connection, request.last_event, resumed=True)
        observer.call_resumed(found.kind, max(0, clock.wall_ms() - found.left_at_ms) / 1000)
        return attachment

    def _connection(self, request: StartCall | ResumeCall, *, resumable: bool) -> Connection:
        return Connection(self._ports.observer, request.client, resumable=resumable)

    def _attach(self, live: LiveCall, connection: Connection, last_event: int | None, *, resumed: bool) -> Attachment:
        attachment = Attachment(
            live,
            connection,
            resumed=resumed,
            unread=self._budget.holder(live.call.identity.api_key_hash),
            greeter=self.greeter,
            committer=self._committer,
            admission=self._admission,
            observer=self._ports.observer,
        )
        attachment.attach(last_event)
        return attachment
