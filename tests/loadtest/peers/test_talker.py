"""A caller of a conversation, told by hand what a server would: each fault is seen, and nothing else is one."""

from __future__ import annotations

import socket
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from loadtest.peers.dialects import protobuf
from loadtest.peers.script import FRAMES, PIPECAT_HZ, script
from loadtest.peers.talker import PipecatTalker, Talker, TalkTally, audio_of

PHASE = 390
"""Begins in the silence ahead of an utterance."""
START_MS, END_MS = 200, 600
CHUNK = 4800


@dataclass
class ServedTalker:
    """A talker and the server's end of its socket."""

    talker: Talker
    server: socket.socket
    tally: TalkTally
    number: int = 0
    sent: list[bytes] = field(default_factory=list)

    def tell(self, kind: str, rest: str = "", *, step: int = 1) -> None:
        """An event; `step` 1 numbers it as is due."""
        self.number += step
        self._send(f'{{"event_id":"evt_{self.number}","type":"{kind}"{rest}}}'.encode())

    def _send(self, payload: bytes) -> None:
        self.server.sendall(b"\x81\x7e" + len(payload).to_bytes(2) + payload)
        self.talker.listen()

    def answer(self, *, damage: int | None = None, leave_out: int | None = None) -> None:
        """A turn and its answer, with a chunk that is damaged or left out."""
        self.tell("input_audio_buffer.speech_started", f',"audio_start_ms":{START_MS},"item_id":"i"')
        self.tell("input_audio_buffer.speech_stopped", f',"audio_end_ms":{END_MS},"item_id":"i"')
        self.tell("response.created")
        for at in range(4):
            said = script("realtime").said(PHASE * 960 + START_MS * 48 + at * CHUNK, CHUNK)
            if at == damage:
                said = said[:-1] + bytes((said[-1] ^ 1,))
            if at != leave_out:
                self.tell("response.output_audio.delta", f',"delta":"{b64encode(said).decode()}"')
        self.tell("response.done")


@pytest.fixture
def served() -> Iterator[ServedTalker]:
    """Greeted."""
    here, server = socket.socketpair()
    here.setblocking(False)
    tally = TalkTally()
    talker = Talker(here, b"", script("realtime"), tally, PHASE)
    served = ServedTalker(talker, server, tally, number=-1)
    served.tell("session.created")
    with here, server:
        yield served


def test_an_answer_that_is_the_turns_own_audio_is_right(served: ServedTalker) -> None:
    """In order, whole, its first chunk and the distances of the others timed."""
    served.answer()
    tally = served.tally
    assert (tally.wrong, tally.unanswered, tally.replies, tally.events) == (0, 0, 1, 9)
    assert (len(tally.first_audio_s), len(tally.jitters_s)) == (1, 3)


@pytest.mark.parametrize(("damage", "leave_out"), [(2, None), (None, 1), (None, 3)])
def test_audio_that_is_damaged_or_missing_is_seen(
    served: ServedTalker, damage: int | None, leave_out: int | None
) -> None:
    """Also at the end of an answer, where nothing comes behind it."""
    served.answer(damage=damage, leave_out=leave_out)
    assert served.tally.wrong > 0


@pytest.mark.parametrize("step", [0, 2])
def test_an_event_that_is_repeated_or_left_out_is_seen(served: ServedTalker, step: int) -> None:
    """By its number."""
    served.tell("response.output_item.done", step=step)
    assert served.tally.wrong == 1


def test_an_error_is_wrong(served: ServedTalker) -> None:
    """Nothing that a caller of this kind says deserves one."""
    served.tell("error")
    assert served.tally.wrong == 1


def test_an_utterance_must_be_answered_before_the_next(served: ServedTalker) -> None:
    """The first of a call that begins in the middle of one need not be."""
    for _ in range(FRAMES - 1):
        served.talker.say()
    assert served.tally.unanswered == 0
    served.answer()
    for _ in range(FRAMES):
        served.talker.say()
    assert served.tally.unanswered == 0
    for _ in range(FRAMES):
        served.talker.say()
    assert served.tally.unanswered == 1


def test_pipecats_answer_is_followed_in_the_script() -> None:
    """From where its first chunk stands; one that does not go on there is wrong, what fills up the last one is not."""
    here, server = socket.socketpair()
    here.setblocking(False)
    tally, said = TalkTally(), script("pipecat")
    talker = PipecatTalker(here, b"", said, tally, 0)
    with here, server:
        for chunk in (said.said(6400, 3200), said.said(9600, 3200), said.said(12800, 1000) + bytes(2200)):
            frame = protobuf(chunk, PIPECAT_HZ)
            server.sendall(b"\x82\x7e" + len(frame).to_bytes(2) + frame)
            talker.listen()
        assert tally.wrong == 0
        frame = protobuf(said.said(6400, 3200), PIPECAT_HZ)
        server.sendall(b"\x82\x7e" + len(frame).to_bytes(2) + frame)
        talker.listen()
    assert tally.wrong == 1


def test_audio_is_found_in_protobuf() -> None:
    """Whatever its length, and in no other frame."""
    for size in (1, 640, 3200):
        assert audio_of(protobuf(b"x" * size, PIPECAT_HZ)) == b"x" * size
    assert audio_of(b"\x0a\x02hi") == b""
    assert audio_of(b"") == b""
