"""What a caller sent that is not known to be durable, in order, so that the next pod gets it.

The client library keeps messages here, the edge WebSocket frames; `frame` is the one or the other.

Audio has positions in bytes of the input format, as the pod counts them (`session.call.input_audio_bytes`); other
events have numbers, and stand at a position::

    audio    ├──────┼──────┼──────┼──────┤
             ^start                      ^end
    events        1    2 3           4

The pod tells how far both are durable (`received`), and a new one says where it goes on (`rewind`); the two are told
apart, because an event may be durable before audio that came earlier.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

OVERHEAD_BYTES = 256
"""What a message costs beside its bytes: many small ones must not count as little."""


class _KeptEvent(NamedTuple):
    number: int
    at: int
    """How much audio of the caller stands before it."""
    frame: bytes


class _KeptAudio(NamedTuple):
    size: int
    frame: bytes
    number: int
    """Of the append's own id; 0 if it has none."""


class ToResend(NamedTuple):
    """What a resume made necessary."""

    frames: list[bytes]
    """To be sent again, in order."""
    lost_bytes: int
    """Audio that the pod does not have and that is no longer kept: its store forgot what it once had."""


class ClientLine:
    """One caller's. A frame is always whole, as it goes to the pod."""

    def __init__(self, tail_of: Callable[[bytes, int], bytes]) -> None:
        """`tail_of`: of the frame of an append, one that leaves out so many bytes of its audio."""
        self.held_bytes = 0
        """Size of all frames, with what each costs beside its bytes."""
        self.end = 0
        """Position behind the newest audio."""
        self._tail_of = tail_of
        self._start = 0
        self._audio: deque[_KeptAudio] = deque()
        self._events: deque[_KeptEvent] = deque()

    def begin_at(self, position: int) -> None:
        """The pod has so much audio from somebody else; what is kept stands behind that."""
        self._move_by(position - self._start)

    def add_audio(self, frame: bytes, size: int, number: int = 0) -> None:
        """An append of `size` bytes of audio. `number`: of its id, if it has one."""
        self._audio.append(_KeptAudio(size, frame, number))
        self.end += size
        self.held_bytes += len(frame) + OVERHEAD_BYTES

    def add_event(self, frame: bytes, number: int) -> None:
        """Any other event. Numbers grow."""
        self._events.append(_KeptEvent(number, self.end, frame))
        self.held_bytes += len(frame) + OVERHEAD_BYTES

    def received(self, position: int, number: int) -> None:
        """Audio before `position` and events up to `number` are durable."""
        events = self._events
        self._drop_audio_before(position)
        while events and events[0].number <= number:
            self.held_bytes -= len(events.popleft().frame) + OVERHEAD_BYTES

    def forget(self, most_bytes: int) -> None:
        """Keep no more than so much, and one event: the oldest are let go, though they may not be durable."""
        audio, events = self._audio, self._events
        while self.held_bytes > most_bytes and len(audio) + len(events) > 1:
            if audio and not (events and events[0].at <= self._start):
                self._drop_audio_before(self._start + audio[0].size)
            else:
                self.held_bytes -= len(events.popleft().frame) + OVERHEAD_BYTES

    def refused_at(self, position: int) -> None:
        """The append without an id that would have begun at this position was refused: its bytes do not count."""
        at = self._start
        for index, kept in enumerate(self._audio):
            if at == position and not kept.number and kept.size:
                self._give_back(index, at)
                return
            at += kept.size

    def refused(self, number: int) -> int | None:
        """The same, of an append with an id: where it would have begun. None, and nothing, if it was another event."""
        at = self._start
        for index, kept in enumerate(self._audio):
            if kept.number == number:
                self._give_back(index, at)
                return at
            at += kept.size
        return None

    def reformat(self, number: int, counted_anew: Callable[[int], int]) -> None:
        """With event `number`, which took effect, the pod counts in another format: `counted_anew` says how.

        What came before it has been dealt with.
        """
        at = next((event.at for event in self._events if event.number == number), None)
        if at is None:
            return
        self._drop_audio_before(at)
        self._move_by(counted_anew(at) - at)

    def rewind(self, position: int, number: int) -> ToResend:
        """A pod goes on that has audio up to `position` and events up to `number`: what it has to be sent.

        All is still kept, for what a pod has need not be durable yet.
        """
        lost_bytes = max(0, self._start - position)
        if lost_bytes:
            self._move_by(-lost_bytes)
        elif position > self.end:
            self._drop_audio_before(self.end)
            self._start = self.end = position
        frames: list[bytes] = []
        events = deque(event for event in self._events if event.number > number)
        at = self._start
        for kept in self._audio:
            while events and events[0].at <= max(at, position):
                frames.append(events.popleft().frame)
            if at >= position:
                frames.append(kept.frame)
            elif at + kept.size > position:
                frames.append(self._tail_of(kept.frame, position - at))
            at += kept.size
        return ToResend(frames + [event.frame for event in events], lost_bytes)

    def _drop_audio_before(self, position: int) -> None:
        audio = self._audio
        while audio and self._start + audio[0].size <= position:
            kept = audio.popleft()
            self._start += kept.size
            self.held_bytes -= len(kept.frame) + OVERHEAD_BYTES

    def _give_back(self, index: int, at: int) -> None:
        kept = self._audio[index]
        del self._audio[index]
        self.held_bytes -= len(kept.frame) + OVERHEAD_BYTES
        self.end -= kept.size
        self._events = deque(
            event._replace(at=event.at - kept.size) if event.at > at else event for event in self._events
        )

    def _move_by(self, distance: int) -> None:
        """All that is kept stands somewhere else."""
        self._start += distance
        self.end += distance
        self._events = deque(event._replace(at=event.at + distance) for event in self._events)
