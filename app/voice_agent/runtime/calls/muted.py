"""A client that is silent in the middle of an utterance: muted, and not cut off by its network."""

from __future__ import annotations

from typing import Protocol

from voice_agent.call.inputs import AudioStopped, Input
from voice_agent.call.record import CallRecord
from voice_agent.runtime.calls.client_activity import ClientActivity
from voice_agent.runtime.calls.connection import Connection

MUTED_S = 2.0
"""So long without a message in the middle of an utterance is silence: a client that is muted, or that sends nothing
while its user is silent (DTX), sends no silence to hear. Longer than what a mobile network swallows now and then."""


class BackloggedWriter(Protocol):
    """A call's writer, as far as this needs it."""

    @property
    def is_backlogged(self) -> bool:
        """Whether so much is not durable yet that the client's messages wait."""


class HeardCaller(Protocol):
    """What listens to a call's client, as far as this needs it."""

    spoken_to: int
    """Up to where the caller has spoken, in bytes."""


class SilentCall(Protocol):
    """A live call, as far as this needs it."""

    call: CallRecord
    connection: Connection | None
    activity: ClientActivity

    @property
    def writer(self) -> BackloggedWriter:
        """Whether the client's messages are taken."""

    @property
    def listening(self) -> HeardCaller:
        """What the client says."""

    def feed(self, event: Input) -> None:
        """Let something happen to the call."""


def notice_silence(live: SilentCall, silent_s: float) -> None:
    """No message has come for so long: if that was in an utterance, and the client is there, the utterance is over.

    A network that swallows some seconds is silent, too. So the client is asked for a sign of life, which comes
    behind all audio that was sent before it.
    """
    connection = live.connection
    if not live.call.input_audio.speaking or silent_s < MUTED_S or connection is None:
        return
    if not connection.reading_paused and not live.writer.is_backlogged:
        heard_at_s = live.activity.heard_at_s
        connection.probe(lambda: _client_is_there(live, connection, heard_at_s))


def _client_is_there(live: SilentCall, connection: Connection, heard_at_s: float) -> None:
    is_open = live.connection is connection and connection.closing is None
    if is_open and not live.activity.has_sent_since(heard_at_s):
        live.feed(AudioStopped(live.listening.spoken_to))
