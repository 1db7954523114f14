"""A server that is nothing but the rules of a call: it writes when the test says so, and forgets the rest."""

from __future__ import annotations

from typing import Any

import orjson

from tests.call.calls import feed, new_call, release
from voice_agent.call import inputs, machine
from voice_agent.call.changes import Snapshot
from voice_agent.call.effects import Attached
from voice_agent.call.restoring import restore
from voice_agent.call.writes import take_write
from voice_agent.client.position import CallPosition
from voice_agent.protocol.realtime import frame, parse, received
from voice_agent.runtime.pod.greeting import Greeter
from voice_agent.runtime.pod.options import CallSettings

CHECKPOINT_MS = 20
OUTBOX_BYTES = 1 << 20


class Rules:
    """One call, and the client whose other end it is."""

    def __init__(self, position: CallPosition, *, tells: bool, **session: Any) -> None:
        """`tells`: the client asked what is durable (`received=1`)."""
        self.call = new_call(**session)
        self.call.speech.checkpoint_ms = CHECKPOINT_MS
        self._position = position
        self._tells = tells
        self._is_cut = False
        self._heard = [bytearray()]
        """What the call took, one piece for each format."""
        self._stored = Snapshot({}, {}, [], [])
        self._stored_heard = [b""]
        self._greeter = Greeter(b"secret", CallSettings(pod="pod-a", color="blue"))
        feed(self.call, inputs.EventsReleased(self.call.outbox.seq))
        self.write()
        self._attach(None, resumed=False)

    @property
    def heard(self) -> list[bytes]:
        """What the call took, one piece for each format."""
        return [bytes(piece) for piece in self._heard]

    def take_all(self) -> None:
        """All that the client has to send."""
        while (text := self._position.next_message()) is not None:
            self._take(text)

    def _take(self, text: str) -> None:
        event, buffer = parse(text), self.call.input_audio
        before, before_format = buffer.position, self.call.session.input_format
        feed(self.call, event)
        if self.call.session.input_format != before_format:
            self._heard.append(bytearray())
        elif isinstance(event, inputs.AppendAudio) and self.call.input_audio.position > before:
            self._heard[-1] += event.audio

    def write(self) -> None:
        """What happened so far is durable, and is told."""
        waiting = [*self.call.outbox.unsaved]
        self.call.record.write_whole = True
        write = take_write(self.call, 0)
        self._stored = Snapshot(write.fields, write.items, write.events, write.speech)
        *whole, newest = self._heard
        self._stored_heard = [*map(bytes, whole), bytes(newest[: self.call.input_audio.durable_position])]
        release(self.call, waiting)
        for entry in waiting:
            self._tell(frame(*entry))
        if self._tells:
            self._tell(received(self.call.heard_bytes, self.call.client_events.saved_id))

    def cut(self) -> None:
        """What the server says does not arrive any more on this connection."""
        self._is_cut = True

    def reconnect(self) -> None:
        """The same pod, which writes before it greets."""
        self.write()
        self._attach(self._last_event, resumed=True)

    def die(self) -> None:
        """Another pod goes on with what is stored."""
        self.call = restore(self._stored, epoch=2, outbox_bytes=OUTBOX_BYTES, checkpoint_ms=CHECKPOINT_MS)
        self._heard = [bytearray(piece) for piece in self._stored_heard]
        self._attach(self._last_event, resumed=True)

    @property
    def _last_event(self) -> int:
        return int(self._position.last_event_id.removeprefix("evt_"))

    def _attach(self, last_event: int | None, *, resumed: bool) -> None:
        self._is_cut = False
        made = inputs.ConnectionMade(last_event, resumable=True, counts_bytes=self._tells)
        [attached] = machine.step(self.call, made, 0)
        assert isinstance(attached, Attached)
        # What lies between utterances is not kept for one who will say it again.
        del self._heard[-1][self.call.input_audio.position :]
        self._position.greeted(orjson.loads(self._greeter.greet(self.call, attached, resumed=resumed)))
        self._position.go_on()
        for entry in attached.replay:
            self._tell(frame(*entry))

    def _tell(self, text: bytes) -> None:
        if not self._is_cut:
            self._position.is_new(orjson.loads(text))
