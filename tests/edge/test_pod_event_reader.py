"""What a pod says of the caller's own is carried out on what is kept of it, and undone before the caller sees it."""

from __future__ import annotations

from typing import Any

import orjson

from tests.edge.rig import PCM, ULAW
from voice_agent.client.client_line import ClientLine
from voice_agent.edge.caller_messages import CallerMessages
from voice_agent.edge.event_ids import EventIds
from voice_agent.edge.pod_event_reader import PodEventReader
from voice_agent.websocket.frames import payload_start

TAG = "0123abcd"
UPDATE = '{"type":"session.update","session":{}}'


class ReaderUnderTest:
    """A reader, and what it changes."""

    def __init__(self, *, wants_received: bool = False, at_bytes: int = 0, audio: dict[str, Any] | None = PCM) -> None:
        self.line = ClientLine(lambda frame, skipped: frame[skipped:])
        self.messages = CallerMessages(EventIds(TAG), wants_received=wants_received)
        self.reader = PodEventReader(self.line, self.messages)
        call = {"id": "call", "input_audio_bytes": at_bytes, "last_client_event_id": None, "newest_event_id": "evt_0"}
        session = {"call": call} if audio is None else {"audio": {"input": {"format": audio}}, "call": call}
        self.greeted = heard(self.reader.greeting({"session": session}))

    def update(self) -> None:
        """The caller sends a `session.update`."""
        read = self.messages.read(UPDATE)
        self.line.add_event(read.frame, read.number)

    def updated(self, audio: dict[str, Any] | None) -> None:
        """One takes effect, after which this is the format."""
        session = {} if audio is None else {"audio": {"input": {"format": audio}}}
        self.reader.session_updated({"session": session})

    def error(self, **error: Any) -> Any:
        """What the caller is told of one."""
        return heard(self.reader.error({"error": error}))["error"]


def heard(frame: bytes) -> Any:
    """The event in a frame."""
    return orjson.loads(frame[payload_start(frame) :])


def test_a_greeting_says_where_the_callers_audio_begins() -> None:
    """Somebody may have spoken before, or a server not tell; which event it holds by is for who asked."""
    its = ReaderUnderTest(at_bytes=300)
    assert its.line.end == 300
    assert "newest_event_id" not in its.greeted["session"]["call"]
    its.reader.greeting({"session": {"call": {"id": "call"}}})
    assert its.line.end == 0
    assert ReaderUnderTest(wants_received=True).greeted["session"]["call"]["newest_event_id"] == "evt_0"


def test_a_refused_append_without_an_id_is_known_by_where_it_stood() -> None:
    """A caller that asked for it is told as well, if it gave no id."""
    for wants in (True, False):
        its = ReaderUnderTest(wants_received=wants)
        its.line.add_audio(b"ab", 2)
        its.line.add_audio(b"x", 1)
        assert its.error(input_audio_bytes=2).get("input_audio_bytes") == (2 if wants else None)
        assert its.line.rewind(0, 0).frames == [b"ab"]


def test_a_refused_append_with_an_id_is_known_by_it() -> None:
    """One whose id is the caller's own says no position; one that the edge named says it to who asked."""
    its = ReaderUnderTest(wants_received=True)
    its.line.add_audio(b"ab", 2, 7)
    its.line.add_audio(b"cd", 2, 8)
    assert its.error(event_id=f"edge_{TAG}_7_mine") == {"event_id": "mine"}
    assert its.error(event_id=f"edge_{TAG}_8") == {"event_id": None, "input_audio_bytes": 0}
    assert its.line.end == 0
    assert its.error(event_id="another") == {"event_id": "another"}
    assert its.error(event_id=f"edge_{TAG}_9") == {"event_id": None}


def test_the_format_changes_with_the_update_that_took_effect() -> None:
    """Not with one that was refused, nor with one that leaves the format as it is: 48 bytes are 8 of the other."""
    its = ReaderUnderTest()
    its.line.add_audio(b"a", 480)
    its.update()
    its.line.add_audio(b"b", 480)
    its.update()
    its.error(event_id=f"edge_{TAG}_1")
    its.updated(ULAW)
    assert its.line.end == 160
    same = ReaderUnderTest()
    same.line.add_audio(b"a", 481)
    same.update()
    same.updated(PCM)
    assert (same.line.end, same.line.rewind(0, 0).frames[0]) == (481, b"a")


def test_without_a_format_or_an_update_under_way_positions_stay() -> None:
    """Of a server that does not tell it, or that changes a session by itself."""
    untold = ReaderUnderTest(audio=None)
    untold.line.add_audio(b"a", 480)
    untold.update()
    untold.updated(ULAW)
    vanished = ReaderUnderTest()
    vanished.line.add_audio(b"a", 480)
    vanished.update()
    vanished.updated(None)
    by_itself = ReaderUnderTest()
    by_itself.line.add_audio(b"a", 480)
    by_itself.updated(ULAW)
    assert {its.line.end for its in (untold, vanished, by_itself)} == {480}
