"""What the doors to the outside do where nobody says otherwise."""

from __future__ import annotations

from dataclasses import astuple

import pytest

from tests.runtime.rig import MemoryTransport
from voice_agent.runtime.ports import Frames, PodStatus, ResumeCall, StartCall, Transport
from voice_agent.stores.base import PodState


def test_a_client_that_says_nothing_can_do_nothing_special() -> None:
    """It cannot come back, wants no warning before a close, and is there; nothing has been counted."""
    for request in (StartCall("scripted", "key"), ResumeCall("call_a")):
        assert not any(astuple(request.client))
        assert not request.is_gone()
    assert not StartCall("scripted", "key").resumable
    assert Frames() == Frames(came=0, went=0)


@pytest.mark.parametrize(
    ("store", "state"), [("redis:ok", "ok"), ("redis:refused (voice:pods: WRONGTYPE of it)", "refused"), ("odd", "")]
)
def test_the_state_of_a_store_is_one_word(store: str, state: str) -> None:
    """Without the kind of the store before it and the reason behind."""
    status = PodStatus(PodState.OK, "a", "blue", "1", active_calls=0, parked_calls=0, capacity=1, store=store)
    assert status.store_state == state


class Slow:
    """Takes each message at the second offer."""

    def __init__(self) -> None:
        self.event: list[object] = []

    def take(self, message: str | bytes) -> bool:
        self.event.append(message)
        return self.event.count(message) > 1

    async def ready(self) -> None:
        self.event.append("ready")

    def reserve(self, size_bytes: int) -> str | None:
        return None

    def limit_reached(self, limit: str) -> None: ...


async def test_a_message_is_offered_until_it_is_taken() -> None:
    """Again once the listener is ready, before the next one, and up to the close of the connection."""
    transport, listener = MemoryTransport(), Slow()
    for message in ("one", "two"):
        transport.say(message)
    transport.drop(1001)
    assert await Transport.deliver(transport, listener) == 1001
    assert listener.event == ["one", "ready", "one", "two", "ready", "two"]
    assert Transport.write(transport, b"{}") is False
