"""What a caller sent comes to the next pod once, in order, whatever the pods before had of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from voice_agent.client.client_line import OVERHEAD_BYTES, ClientLine


def tail_of(frame: bytes, skipped: int) -> bytes:
    """Frames of audio are nothing but the audio here."""
    return frame[skipped:]


def line(*said: bytes | int) -> ClientLine:
    """Audio as it is, events as their numbers."""
    made = ClientLine(tail_of)
    for one in said:
        if isinstance(one, bytes):
            made.add_audio(one, len(one))
        else:
            made.add_event(b"#%d" % one, one)
    return made


def test_what_is_durable_is_not_kept() -> None:
    """Whole pieces of audio, and events; of a piece that is durable in part all is kept."""
    kept = line(b"abc", 1, b"def", 2)
    kept.received(4, 1)
    assert kept.held_bytes == len(b"def#2") + 2 * OVERHEAD_BYTES
    assert kept.rewind(4, 1).frames == [b"ef", b"#2"]
    assert kept.rewind(6, 2).frames == []
    assert kept.rewind(3, 1).frames == [b"def", b"#2"]
    kept.received(6, 2)
    assert kept.held_bytes == 0


def test_an_event_comes_again_behind_the_audio_that_came_before_it() -> None:
    """A commit never before what it commits; one that is durable not at all, though audio before it comes again."""
    assert line(b"abc", 1, b"def", 2).rewind(0, 0).frames == [b"abc", b"#1", b"def", b"#2"]
    assert line(b"abc", 1, b"def", 2).rewind(1, 1).frames == [b"bc", b"def", b"#2"]
    assert line(b"abc", 1, b"def", 2).rewind(4, 0).frames == [b"#1", b"ef", b"#2"]
    assert line(1, b"abc").rewind(0, 0).frames == [b"#1", b"abc"]


def test_an_append_that_was_refused_gives_its_bytes_back() -> None:
    """The pod never counted them: what came behind them stands so much earlier."""
    kept = line(b"ab", b"x", 1, b"cd", 2)
    kept.refused_at(2)
    assert (kept.end, kept.held_bytes) == (4, len(b"ab#1cd#2") + 4 * OVERHEAD_BYTES)
    assert kept.rewind(3, 1).frames == [b"d", b"#2"]
    named = ClientLine(tail_of)
    named.add_audio(b"abc", 3, 7)
    named.add_audio(b"de", 2)
    named.refused(7)
    named.refused(8)
    assert named.rewind(0, 0).frames == [b"de"]


def test_an_append_without_audio_is_not_the_one_that_was_refused() -> None:
    """It cannot be refused, and begins where the one behind it does."""
    kept = line(b"", b"x", b"ab")
    kept.refused_at(0)
    assert b"x" not in kept.rewind(0, 0).frames
    assert kept.end == 2


def test_another_format_counts_anew_from_the_event_that_brought_it() -> None:
    """Audio of the old format has been dealt with; two bytes of it are as long as three of the new here."""
    kept = line(b"abcd", 1, b"def", 2)
    kept.reformat(9, lambda at: at)
    kept.reformat(1, lambda at: at * 3 // 2)
    assert kept.end == 9
    assert kept.rewind(7, 1).frames == [b"ef", b"#2"]


def test_a_pod_whose_store_forgot_something_goes_on_from_there() -> None:
    """What is kept is said behind what it has, and how much is lost is told."""
    kept = line(b"abc", b"def", 1)
    kept.received(3, 0)
    rewound = kept.rewind(1, 0)
    assert (rewound.lost_bytes, rewound.frames) == (2, [b"def", b"#1"])
    assert kept.end == 4
    assert kept.rewind(2, 0).frames == [b"ef", b"#1"]


def test_a_call_of_somebody_else_begins_where_that_one_was() -> None:
    """Positions are the call's, not the connection's."""
    kept = ClientLine(tail_of)
    kept.begin_at(100)
    kept.add_audio(b"abc", 3)
    assert kept.rewind(101, 0).frames == [b"bc"]
    ahead = kept.rewind(200, 0)
    assert (ahead.frames, ahead.lost_bytes, kept.end) == ([], 0, 200)


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=5), st.none()), max_size=30), st.data())
def test_a_pod_gets_all_once_and_in_order_wherever_pods_die(said: list[bytes | None], data: st.DataObject) -> None:
    """Audio byte for byte, events by their numbers, each event behind the audio that came before it."""
    kept = ClientLine(tail_of)
    pod = Pod()
    for one in said:
        if one is None:
            pod.behind.append(len(pod.said))
            frame = b"#%d" % len(pod.behind)
            kept.add_event(frame, len(pod.behind))
        else:
            frame = one.replace(b"#", b"-")
            pod.said += frame
            kept.add_audio(frame, len(frame))
        pod.take(frame)
        if data.draw(st.booleans()):
            pod.write(
                data.draw(st.integers(pod.durable, len(pod.heard))), data.draw(st.integers(pod.written, pod.taken))
            )
            kept.received(pod.durable, pod.written)
        if data.draw(st.booleans()):
            pod.die()
            for again in kept.rewind(pod.durable, pod.written).frames:
                pod.take(again)
    assert pod.heard == pod.said
    assert pod.taken == len(pod.behind)


class Pod:
    """What the pods have of a caller, and what of it is durable."""

    def __init__(self) -> None:
        self.said = b""
        self.behind: list[int] = []
        """How much was said before each event."""
        self.heard = b""
        self.taken = self.durable = self.written = 0

    def take(self, frame: bytes) -> None:
        if frame.startswith(b"#"):
            assert int(frame[1:]) == self.taken + 1
            assert len(self.heard) >= self.behind[self.taken]
            self.taken += 1
        else:
            self.heard += frame

    def write(self, durable: int, written: int) -> None:
        """An event is durable with the audio before it: a commit with what it commits."""
        self.written = written
        self.durable = max(durable, self.behind[written - 1] if written else 0)

    def die(self) -> None:
        self.heard, self.taken = self.heard[: self.durable], self.written
