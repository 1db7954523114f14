"""Bugs of an edge that the simulator must find, each planted where the code that prevents it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

import orjson
from websockets.frames import CloseCode
from websockets.speedups import apply_mask

from tests.simulation.planted import Planted
from tests.simulation.schedule import COMES_BACK, Schedule
from voice_agent.client.client_line import ClientLine, ToResend
from voice_agent.edge import caller_messages, edge_call, pod_event_reader
from voice_agent.edge.appends import client_frame
from voice_agent.edge.caller_messages import CallerMessage, CallerMessages, MessageKind, unchanged
from voice_agent.edge.edge import Edge
from voice_agent.edge.edge_call import EdgeCall
from voice_agent.edge.event_ids import EventIds
from voice_agent.edge.pod_socket import PodSocket
from voice_agent.edge.proxied_call import PodWriter, ProxiedCall
from voice_agent.edge.resuming import Resuming
from voice_agent.websocket.frames import MASK_BYTES, payload_start


def _patched(owner: Any, name: str, instead: Any) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: patch.object(owner, name, instead)


@contextmanager
def unsaved_tail_dropped() -> Iterator[None]:
    """The next pod is sent nothing of what the one before had not made durable."""
    rewind = ClientLine.rewind

    def forgetful(self: ClientLine, position: int, number: int) -> ToResend:
        return rewind(self, position, number)._replace(frames=[])

    with patch.object(ClientLine, "rewind", forgetful):
        yield


@contextmanager
def number_too_low() -> Iterator[None]:
    """A pod is asked to go on behind the event before the newest."""
    next_pod = Resuming.next_pod

    async def one_less(self: Resuming, call_id: str, token: str, newest: int, named: str) -> PodSocket | None:
        return await next_pod(self, call_id, token, newest - 1, named)

    with patch.object(Resuming, "next_pod", one_less):
        yield


@contextmanager
def greeting_passed_on() -> Iterator[None]:
    """The greeting of the next pod is taken for an event."""
    go_on = ProxiedCall.go_on

    def chatty(self: ProxiedCall, pod: PodWriter, greeting: bytes) -> bool:
        self._caller.pass_on(greeting, self.newest, counts=False)
        return go_on(self, pod, greeting)

    with patch.object(ProxiedCall, "go_on", chatty):
        yield


@contextmanager
def queued_acknowledged() -> Iterator[None]:
    """What was given to the caller's connection is acknowledged, whether the caller has it or not."""
    acknowledge = ProxiedCall.acknowledge
    with patch.object(ProxiedCall, "acknowledge", lambda self, newest: acknowledge(self, self.newest)):
        yield


@contextmanager
def clients_id_kept() -> Iterator[None]:
    """A client's own ids go to the pods, however few they are."""
    following = EventIds.next

    def kept(self: EventIds, client_id: str | None) -> tuple[int, str]:
        number, own = following(self, client_id)
        return number, client_id or own

    with patch.object(EventIds, "next", kept):
        yield


@contextmanager
def sent_again_without_id() -> Iterator[None]:
    """What comes to the next pod has no id by which it takes effect once."""
    rewind = ClientLine.rewind

    def nameless(self: ClientLine, position: int, number: int) -> ToResend:
        rewound = rewind(self, position, number)
        return rewound._replace(frames=[_without_id(frame) for frame in rewound.frames])

    with patch.object(ClientLine, "rewind", nameless):
        yield


def _without_id(frame: bytes) -> bytes:
    start = payload_start(frame)
    event = orjson.loads(apply_mask(frame[start:], frame[start - MASK_BYTES : start]))
    event.pop("event_id", None)
    return client_frame(orjson.dumps(event))


@contextmanager
def sent_before_replay() -> Iterator[None]:
    """The next pod is sent the caller's own before its replay has told how that is counted."""
    go_on = ProxiedCall.go_on

    def hasty(self: ProxiedCall, pod: PodWriter, greeting: bytes) -> bool:
        went_on = go_on(self, pod, greeting)
        if went_on and self._rewinds is not None:
            self._rewinds = self._rewinds._replace(newest=0)
            self._rewind_if_replayed()
        return went_on

    with patch.object(ProxiedCall, "go_on", hasty):
        yield


@contextmanager
def not_looked_at_while_away() -> Iterator[None]:
    """Of a pod that vanishes while it replays nobody notices that it is gone."""
    look = EdgeCall.look
    with patch.object(EdgeCall, "look", lambda self: None if self.is_away else look(self)):
        yield


@contextmanager
def binary_as_it_came() -> Iterator[None]:
    """A binary message is taken for what concerns nobody but the pod."""
    read = CallerMessages.read

    def blind(self: CallerMessages, message: str | bytes) -> CallerMessage:
        if isinstance(message, str):
            return read(self, message)
        return CallerMessage(MessageKind.NOTHING, unchanged(message), 0)

    with patch.object(CallerMessages, "read", blind):
        yield


@contextmanager
def unsent_dropped_at_drain() -> Iterator[None]:
    """An edge that leaves takes what it has for its callers for sent: pods may forget it, and it goes no further."""
    send_away = Edge._send_away

    async def hasty(self: Edge, call: EdgeCall) -> None:
        proxied: Any = call._proxied
        caller, proxied._acknowledges = proxied._caller, True
        await send_away(self, call)
        caller.down.cut(CloseCode.ABNORMAL_CLOSURE, 0.0)
        proxied.acknowledge(proxied.newest)

    with patch.object(Edge, "_send_away", hasty):
        yield


@contextmanager
def everybody_sent_away() -> Iterator[None]:
    """An edge that leaves sends those away, too, who cannot come back."""
    hold = Edge.hold
    with patch.object(Edge, "hold", lambda self, call, *, comes_back: hold(self, call, comes_back=True)):
        yield


async def _nobody_is_there(self: EdgeCall, reading: Any) -> bool:
    """What takes a call from a young connection is always taken for somebody who is to have it."""
    return False


@contextmanager
def nobody_asked() -> Iterator[None]:
    """A caller is taken to be there without an answer: an edge that it has left takes the call back, and speaks."""
    go_on = ProxiedCall.go_on

    async def is_there(self: EdgeCall, reading: Any) -> bool:
        return True

    def sure(self: ProxiedCall, pod: PodWriter, greeting: bytes) -> bool:
        went_on = go_on(self, pod, greeting)
        self.caller_is_there()
        return went_on

    with patch.object(EdgeCall, "_caller_is_there", is_there), patch.object(ProxiedCall, "go_on", sure):
        yield


def _kept_for_ever(message: str | bytes) -> CallerMessage:
    """What is no event is kept as one, and no pod will ever say that it has it."""
    return CallerMessage(MessageKind.EVENT, unchanged(message), 10**9)


def _has(*kinds: str, commands: tuple[str, ...] = ()) -> Callable[[Schedule], bool]:
    """Whether a schedule has an edge, one of these faults, and one of these lines."""

    def may_show(schedule: Schedule) -> bool:
        said = {line.command for lines in schedule.lines for line in lines}
        struck = {fault.kind for fault in schedule.faults}
        strikes = not kinds or bool(struck & {*kinds})
        return bool(schedule.behind_edge) and strikes and (not commands or bool(said & {*commands}))

    return may_show


def _all_are_plain(schedule: Schedule) -> bool:
    return COMES_BACK not in schedule.behind_edge and _has(*_BREAKS)(schedule)


def _comes_back(schedule: Schedule) -> bool:
    return COMES_BACK in schedule.behind_edge and _has("edge-drain")(schedule)


def _moves(schedule: Schedule) -> bool:
    return COMES_BACK in schedule.behind_edge and _has("move")(schedule)


_BREAKS = ("crash", "cut", "move", "drain", "stop", "cut-at-change")

EDGE_PLANTED = {
    "unsaved tail dropped": Planted(unsaved_tail_dropped, "", _has(*_BREAKS)),
    "number too low": Planted(number_too_low, "a caller is held", _all_are_plain),
    "greeting taken for an event": Planted(greeting_passed_on, "one greeting", _all_are_plain),
    "queued events acknowledged": Planted(queued_acknowledged, "only what the caller has", _has()),
    "ids of other pods unknown": Planted(_patched(EventIds, "number", lambda self, event_id: 0), "", _has(*_BREAKS)),
    "the client's id kept": Planted(clients_id_kept, "", _has(*_BREAKS)),
    "the edge's id passed on": Planted(
        _patched(pod_event_reader, "client_id", lambda event_id: event_id),
        "the client's own ids",
        _has(*_BREAKS, commands=("refused",)),
    ),
    "sent again without an id": Planted(sent_again_without_id, "", _has(*_BREAKS)),
    "sent before the replay": Planted(sent_before_replay, "", _has("cut-at-change", commands=("ulaw", "refused"))),
    "refused audio counted": Planted(
        _patched(ClientLine, "refused_at", lambda self, position: None), "", _has(*_BREAKS, commands=("refused",))
    ),
    "another format overlooked": Planted(
        _patched(ClientLine, "reformat", lambda self, number, counted_anew: None),
        "",
        _has(*_BREAKS, commands=("ulaw",)),
    ),
    "named pod not asked": Planted(
        _patched(edge_call, "address_in", lambda reason: ""), "a call goes where it is sent", _has("moved")
    ),
    "binary events as they came": Planted(binary_as_it_came, "", _has(*_BREAKS)),
    "noise sent again": Planted(
        _patched(caller_messages, "_said_once", _kept_for_ever), "what is no event is said once", _has(*_BREAKS)
    ),
    "unsent dropped at a drain": Planted(unsent_dropped_at_drain, "only what the caller has", _comes_back),
    "everybody sent away": Planted(everybody_sent_away, "a caller is held", _has("edge-drain")),
    "another edge's claim is the end": Planted(
        _patched(EdgeCall, "_caller_is_there", _nobody_is_there), "a call outlives its pod", _moves
    ),
    "nobody asked whether the caller is there": Planted(nobody_asked, "", _moves),
    "no look during a replay": Planted(not_looked_at_while_away, "a call outlives its pod", _has("move-at-resume")),
}
