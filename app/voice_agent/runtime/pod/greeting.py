"""The first event on a connection: what the client needs to know to go on, now and on another connection."""

from __future__ import annotations

from typing import Any

from voice_agent.call.effects import Attached
from voice_agent.call.event_ids import event_id
from voice_agent.call.record import CallRecord
from voice_agent.call.tokens import resume_token
from voice_agent.protocol.realtime import greeting
from voice_agent.runtime.pod.options import CallSettings


class Greeter:
    """One pod's; `secret` signs resume tokens."""

    def __init__(self, secret: bytes, settings: CallSettings) -> None:
        self._secret = secret
        self._settings = settings

    def greet(self, call: CallRecord, attached: Attached, *, resumed: bool) -> bytes:
        """The event, as it goes out on the connection that the call was attached to."""
        return greeting(attached.start, call.session.fields, self.describe(call, attached, resumed=resumed))

    def describe(self, call: CallRecord, attached: Attached, *, resumed: bool) -> dict[str, Any]:
        """The extension object ``session.call`` of that event: see docs/continuity.md."""
        told = {
            "id": call.call_id,
            "resume_token": resume_token(self._secret, call.call_id),
            "color": self._settings.color,
            "pod": self._settings.pod,
            "epoch": call.owner.epoch,
            "resumed": resumed,
            "input_audio_ms": call.heard_ms,
            "input_audio_bytes": call.heard_bytes,
            "last_client_event_id": call.client_events.last_id,
            "gap": _gap(attached),
            "ttl_s": self._settings.ttl_s,
            "resume_window_s": self._settings.resume_window_s,
        }
        if call.client_events.counts_bytes:
            # Where positions are those of the greeting: with the replay an append may be refused, a format change. What
            # waits for a write counts among it, for the positions are of behind it.
            told["newest_event_id"] = event_id(call.outbox.seq)
        return told


def _gap(attached: Attached) -> dict[str, Any] | None:
    """What the store has no more: events that this client has missed, and how many items and pieces of speech."""
    first, last = attached.gap or (None, None)
    lost = {part: count for part, count in attached.missing._asdict().items() if count and part != "events"}
    if first is None and not lost:
        return None
    return {"from": None if first is None else event_id(first), "to": None if last is None else event_id(last), **lost}
