"""What goes on between a caller and its pods, decided without a socket: each rule by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import orjson
import pytest

from tests.edge.rig import CALL_ID, PCM, TOKEN, ULAW
from voice_agent.call.closing import CloseCode
from voice_agent.edge import caller_messages, proxied_call
from voice_agent.edge.appends import client_frame
from voice_agent.edge.caller_messages import CallerMessages, TooMuchJson
from voice_agent.edge.event_ids import EventIds
from voice_agent.edge.pod_frames import PodFrames
from voice_agent.edge.proxied_call import COME_BACK, ProxiedCall
from voice_agent.websocket.frame_reader import FrameReader
from voice_agent.websocket.frames import payload_start, text_frame

TAG = "0123abcd"


class RecordingCaller:
    """`CallerWriter`."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.numbers: list[tuple[int, bool]] = []
        """Of each event its number, and whether it is to be known when the caller has it."""
        self.failed: tuple[int, str] | None = None
        self.asked: list[Callable[[], None]] = []
        """To be called once it answers a probe."""

    def pass_on(self, data: bytes, number: int, *, counts: bool) -> None:
        self.events += [orjson.loads(frame[payload_start(frame) :]) for frame in PodFrames().feed(data)]
        self.numbers.append((number, counts))

    def fail(self, code: int, reason: str) -> None:
        self.failed = (code, reason)

    def probe(self, answered: Callable[[], None]) -> None:
        self.asked.append(answered)


class RecordingPod:
    """`PodWriter`."""

    def __init__(self) -> None:
        self.is_congested = False
        self.is_paused = False
        self.heard: list[Any] = []

    def write(self, data: bytes) -> None:
        reader = FrameReader(len(data))
        reader.feed(data)
        while reader.has_more:
            if message := reader.read():
                self.heard.append(orjson.loads(cast("str", message[1])))

    def pause(self, *, paused: bool) -> None:
        self.is_paused = paused


class ListenerThatNotes:
    """`ProxiedCallListener`."""

    def __init__(self, told: list[str]) -> None:
        self._told = told

    def caller_has_room(self) -> None:
        self._told.append("room")

    def limit_reached(self, limit: str) -> None:
        self._told.append(limit)


class CallUnderTest:
    """A call between a caller and pods."""

    def __init__(
        self, *, acknowledges: bool = True, wants_received: bool = False, number: int = 0, **call: Any
    ) -> None:
        self.caller = RecordingCaller()
        self.pod = RecordingPod()
        self.told: list[str] = []
        """That there is room, and which limits were reached."""
        self.call = ProxiedCall(
            self.caller,
            CallerMessages(EventIds(TAG), wants_received=wants_received),
            ListenerThatNotes(self.told),
            acknowledges=acknowledges,
        )
        self.call.begin(self.pod, greeting(number, **call))

    def say(self, **event: Any) -> bool:
        """The caller sends an event."""
        return self.call.take(orjson.dumps(event).decode())

    def append(self, size: int) -> bool:
        """The caller sends an append without an id; its audio is its size, in base64 of so many bytes."""
        return self.call.take_audio(frame := append_frame(size), [(frame, size)])

    def hear(self, **event: Any) -> None:
        """The pod sends an event."""
        self.call.frames_came([text_frame(orjson.dumps(event))])

    def text(self, number: int) -> None:
        """The pod sends one that goes to the caller as it is."""
        self.hear(**delta(number))

    def goes_on(self, number: int, **call: Any) -> RecordingPod | None:
        """Another pod greets; None if that is the end."""
        self.call.pod_lost()
        self.pod = RecordingPod()
        return self.pod if self.call.go_on(self.pod, greeting(number, **call)) else None


def proxied(caller: RecordingCaller) -> ProxiedCall:
    """One that tells nobody anything."""
    return ProxiedCall(
        caller,
        CallerMessages(EventIds(TAG), wants_received=False),
        ListenerThatNotes([]),
        acknowledges=True,
    )


def delta(number: int) -> dict[str, Any]:
    """An event that goes to the caller as it is."""
    return {"event_id": f"evt_{number}", "type": "response.output_text.delta", "delta": "x"}


def append_frame(size: int) -> bytes:
    """An append of so many bytes."""
    audio = orjson.dumps({"type": "input_audio_buffer.append", "audio": "AAAA" * (size // 3)})
    return client_frame(audio)


def greeting(number: int, audio: dict[str, Any] = PCM, **call: Any) -> bytes:
    """A pod's first frame."""
    told = {"id": CALL_ID, "resume_token": TOKEN, "gap": None, "input_audio_bytes": 0, "last_client_event_id": None}
    session = {"audio": {"input": {"format": audio}}, "call": {**told, **call}}
    return text_frame(orjson.dumps({"event_id": f"evt_{number}", "type": "session.created", "session": session}))


def test_the_first_greeting_is_the_callers_and_says_whose_call_it_is() -> None:
    """And from which event on; it is not acknowledged, for it has no number of its own."""
    line = CallUnderTest(number=7)
    assert (line.call.call_id, line.call.token, line.call.newest) == (CALL_ID, TOKEN, 7)
    assert [event["type"] for event in line.caller.events] == ["session.created"]
    assert line.caller.numbers == [(7, False)]
    assert not line.call.is_away


def test_a_greeting_that_is_no_event_is_passed_on() -> None:
    """Whatever the first frame of another server is; nothing of the first call's counts then."""
    caller = RecordingCaller()
    call = proxied(caller)
    call.begin(RecordingPod(), text_frame(b'"hello"'))
    assert (caller.numbers, call.token, call.newest) == ([(0, False)], "", 0)
    unnumbered = proxied(caller)
    unnumbered.begin(RecordingPod(), text_frame(b'{"session":{"call":{"id":"a","resume_token":"b"}}}'))
    assert (unnumbered.call_id, unnumbered.token, unnumbered.newest) == ("a", "b", 0)


def test_a_server_that_waits_for_its_client_gets_what_that_says_as_it_is() -> None:
    """It has not greeted, and the caller is told nothing in its place; nothing is kept, for no other pod goes on."""
    caller, pod = RecordingCaller(), RecordingPod()
    call = proxied(caller)
    call.begin(pod, None)
    assert call.take('{"type":"setup","event_id":"mine"}')
    assert (caller.events, pod.heard, call.kept_bytes) == ([], [{"type": "setup", "event_id": "mine"}], 0)


def test_a_next_pod_whose_greeting_is_no_event_ends_the_call() -> None:
    """Nobody could say where it goes on."""
    line = CallUnderTest()
    line.call.pod_lost()
    assert not line.call.go_on(RecordingPod(), text_frame(b'"hello"'))


def test_what_cannot_be_read_of_a_pod_goes_on_as_it_is() -> None:
    """A pod of ours sends none; an event without a number is not passed on, for it could not come once."""
    line = CallUnderTest(number=3)
    line.call.frames_came([text_frame(b"[1]")])
    line.hear(type="rate_limits.updated")
    assert line.caller.numbers == [(3, False), (3, False)]
    assert line.call.newest == 3


@pytest.mark.parametrize("acknowledges", [True, False])
def test_each_event_goes_to_the_caller_once(acknowledges: bool) -> None:
    """Also one that is read; what has no number goes on as it is."""
    line = CallUnderTest(acknowledges=acknowledges)
    line.text(1)
    line.text(1)
    line.hear(event_id="evt_2", type="error", error={"event_id": f"edge_{TAG}_9_mine"})
    line.hear(event_id="evt_2", type="error", error={"event_id": None})
    line.text(2)
    line.hear(event_id="evt_3", type="session.updated", session={})
    assert [event["event_id"] for event in line.caller.events] == ["evt_0", "evt_1", "evt_2", "evt_3"]
    assert line.caller.events[2]["error"] == {"event_id": "mine"}
    assert line.caller.numbers[1:] == [(1, acknowledges), (2, acknowledges), (3, acknowledges)]
    assert line.call.newest == 3


@pytest.mark.parametrize("odd", ["none", "known", "read", "unnumbered"])
def test_what_comes_together_goes_on_in_one_piece_and_in_order(odd: str) -> None:
    """As far as each is new and none has to be read; else one after the other, as if each had come alone."""
    line = CallUnderTest(number=4)
    events: list[dict[str, Any]] = [delta(5), delta(6), delta(7)]
    if odd == "known":
        events.insert(2, delta(4))
    elif odd == "read":
        events[1] = {"event_id": "evt_6", "type": "error", "error": {"event_id": None}}
    elif odd == "unnumbered":
        events.insert(1, {"type": "call.received", "input_audio_bytes": 0, "last_client_event_id": None})
    line.call.frames_came([text_frame(orjson.dumps(event)) for event in events])
    assert [event["event_id"] for event in line.caller.events[1:]] == ["evt_5", "evt_6", "evt_7"]
    assert line.caller.numbers[1:] == ([(7, True)] if odd == "none" else [(5, True), (6, True), (7, True)])
    line.text(7)
    assert len(line.caller.events) == 4


def test_the_end_of_a_replay_may_come_together_with_the_rest() -> None:
    """What the pod lacks is sent behind it all the same."""
    line = CallUnderTest()
    line.append(300)
    pod = line.goes_on(0, newest_event_id="evt_3")
    assert pod is not None
    line.call.frames_came([text_frame(orjson.dumps(delta(number))) for number in (1, 2, 3)])
    assert len(pod.heard) == 1
    assert not line.call.is_away


def test_appends_that_come_together_are_kept_one_by_one() -> None:
    """They go to the pod in one piece; to the next one goes what it lacks, from the middle of one on."""
    line = CallUnderTest()
    appends = [(append_frame(size), size) for size in (300, 600, 150)]
    assert line.call.take_audio(b"".join(frame for frame, _ in appends), appends)
    assert [len(event["audio"]) for event in line.pod.heard] == [400, 800, 200]
    pod = line.goes_on(0, input_audio_bytes=360)
    assert pod is not None
    assert [len(event["audio"]) for event in pod.heard] == [720, 200]


def test_what_the_pod_says_of_the_callers_own_is_the_edges() -> None:
    """Unless the caller asked for it, too; either way there may be room."""
    line = CallUnderTest()
    line.append(300)
    line.say(type="response.create", event_id="mine")
    assert line.call.kept_bytes > 0
    line.hear(type="call.received", input_audio_bytes=300, last_client_event_id=line.pod.heard[1]["event_id"])
    assert (line.call.kept_bytes, line.told, len(line.caller.events)) == (0, ["room"], 1)
    asks = CallUnderTest(wants_received=True, number=4)
    asks.hear(type="call.received", input_audio_bytes=300, last_client_event_id=f"edge_{TAG}_1_mine")
    assert asks.caller.events[1]["last_client_event_id"] == "mine"
    assert asks.caller.numbers[1] == (4, False)


@pytest.mark.parametrize("wants", [True, False])
def test_who_asked_what_is_durable_is_told_all_that_belongs_to_it(wants: bool) -> None:
    """To which event a replay goes, and where an append stood that was refused, whoever gave that an id."""
    line = CallUnderTest(wants_received=wants, newest_event_id="evt_0", last_client_event_id="earlier")
    assert ("newest_event_id" in line.caller.events[0]["session"]["call"]) == wants
    line.append(300)
    line.say(type="input_audio_buffer.append", audio="AAAA", event_id=None)
    named = line.pod.heard[1]["event_id"]
    line.hear(event_id="evt_1", type="error", error={"message": "odd", "event_id": named})
    line.hear(event_id="evt_2", type="error", error={"message": "odd", "event_id": None, "input_audio_bytes": 0})
    where = [event["error"].get("input_audio_bytes") for event in line.caller.events[1:]]
    assert where == ([300, 0] if wants else [None, None])


def test_the_newest_of_the_clients_ids_is_told_though_it_gave_what_followed_none() -> None:
    """Else it would send again over another edge what took effect, under ids that the pod does not know."""
    line = CallUnderTest(wants_received=True, last_client_event_id=f"edge_{TAG}_7_earlier")
    assert line.caller.events[0]["session"]["call"]["last_client_event_id"] == "earlier"
    line.say(type="input_audio_buffer.append", audio="AAAA", event_id=None)
    line.say(type="response.create", event_id="mine_-")
    line.say(type="input_audio_buffer.append", audio="AAAA", event_id=None)
    first, _, last = (event["event_id"] for event in line.pod.heard)
    for event_id, told in ((first, "earlier"), (last, "mine_-"), (f"edge_{TAG}_9", None)):
        line.hear(type="call.received", input_audio_bytes=3, last_client_event_id=event_id)
        assert line.caller.events[-1]["last_client_event_id"] == told
    line.hear(event_id="evt_1", type="error", error={"message": "odd", "event_id": last})
    assert line.caller.events[-1]["error"]["event_id"] is None


def test_a_server_without_calls_is_passed_on_whatever_it_says() -> None:
    """Its events have no numbers, and nothing is acknowledged."""
    caller, pod = RecordingCaller(), RecordingPod()
    call = proxied(caller)
    call.begin(pod, text_frame(b'{"type":"session.created","event_id":"event_a","session":{}}'))
    for text in (b'{"type":"error","event_id":"event_b"}', b"{}", b'{"event_id":"evt_0","type":"x"}', b"[1]"):
        call.frames_came([text_frame(text)])
    assert len(caller.numbers) == 5
    call.acknowledge(3)
    assert pod.heard == []
    assert call.close_after(CloseCode.SERVICE_RESTART) == CloseCode.SERVICE_RESTART


@pytest.mark.parametrize("code", [1001, 1005, 1006, 1011, 1012, 1013])
def test_after_such_a_close_another_pod_goes_on(code: int) -> None:
    """Of a server that can resume; of another one it is the end, with what may stand in a close frame."""
    line = CallUnderTest()
    assert line.call.close_after(code) is None
    line.call.token = ""
    assert line.call.close_after(code) == (1011 if code in (1005, 1006) else code)


@pytest.mark.parametrize("code", [1000, 1008, 4408, 4409, 4410])
def test_any_other_close_is_the_callers(code: int) -> None:
    """The call has ended, or somebody else has it."""
    assert CallUnderTest().call.close_after(code) == code


def test_what_is_kept_for_who_may_have_gone_elsewhere_waits_until_it_answers() -> None:
    """Over a connection that is dead, unnoticed, it would be said once more than over the caller's new one.

    What still comes is no answer: it may have been said before the caller went. What the caller is sent waits for
    nothing.
    """
    line = CallUnderTest(acknowledges=False)
    line.append(300)
    line.say(type="response.create")
    line.text(1)
    pod = line.goes_on(1, newest_event_id="evt_2")
    assert pod is not None
    line.text(2)
    assert line.caller.numbers[-1] == (2, False)
    line.append(30)
    line.say(type="input_audio_buffer.commit")
    assert not pod.heard
    assert line.call.is_away
    line.caller.asked[-1]()
    said = [event["type"] for event in pod.heard]
    append = "input_audio_buffer.append"
    assert said == [append, "response.create", append, "input_audio_buffer.commit"]
    assert not line.call.is_away


def test_an_answer_counts_for_the_pod_for_which_it_was_asked() -> None:
    """The caller may have gone between that and the next."""
    line = CallUnderTest(acknowledges=False)
    line.append(300)
    assert line.goes_on(0) is not None
    second = line.goes_on(0)
    assert second is not None
    line.caller.asked[0]()
    assert not second.heard
    line.caller.asked[1]()
    assert len(second.heard) == 1


@pytest.mark.parametrize("what", ["no event", "too much audio", "too much in an event", "behind a slow pod"])
def test_who_can_come_back_does_so_rather_than_wait_unread_for_a_pod(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer to a ping would stand behind what waits: nobody could tell whether the caller is there."""
    line = CallUnderTest(acknowledges=False)
    line.append(300)
    line.pod.is_congested = what == "behind a slow pod"
    line.call.pod_lost()
    if what.startswith("too much"):
        monkeypatch.setattr(proxied_call, "MAX_KEPT_BYTES", 100)
    if what == "no event":
        assert line.say(type="call.acknowledge", event_id="evt_0")
    elif what == "too much in an event":
        assert line.say(type="response.create")
    else:
        assert line.append(30)
    assert line.caller.failed == (1012, COME_BACK)
    assert line.call.holds_message


def test_who_has_one_connection_only_is_not_asked_for_a_sign_of_life() -> None:
    """Nobody else can say what is kept for it."""
    line = CallUnderTest()
    line.append(300)
    pod = line.goes_on(0)
    assert pod is not None
    assert len(pod.heard) == 1
    assert not line.caller.asked


def test_what_is_said_while_no_pod_is_there_is_said_to_the_next() -> None:
    """In order; what the pod before had made durable is not, and a pod that is there is told at once."""
    line = CallUnderTest()
    line.append(300)
    line.say(type="input_audio_buffer.commit")
    first = line.pod.heard
    line.call.pod_lost()
    assert line.call.is_away
    line.append(300)
    line.say(type="response.create")
    assert len(first) == 2
    last = first[1]["event_id"]
    pod = line.goes_on(0, input_audio_bytes=300, last_client_event_id=last)
    assert pod is not None
    assert [event["type"] for event in pod.heard] == ["input_audio_buffer.append", "response.create"]
    assert not line.call.is_away
    line.append(30)
    assert len(pod.heard) == 3


def test_a_pod_is_sent_nothing_before_it_has_replayed_what_it_had() -> None:
    """With the last of it the format may change, in which the greeting counts."""
    line = CallUnderTest()
    line.append(300)
    line.text(1)
    pod = line.goes_on(1, newest_event_id="evt_3")
    assert pod is not None
    line.append(30)
    line.text(2)
    assert (pod.heard, line.call.is_away, line.told) == ([], True, [])
    line.hear(event_id="evt_3", type="session.updated", session={"audio": {"input": {"format": PCM}}})
    assert [len(event["audio"]) for event in pod.heard] == [400, 40]
    assert (line.call.is_away, line.told) == (False, ["room"])
    line.text(4)
    assert len(pod.heard) == 2


def test_the_last_event_of_a_replay_may_be_any() -> None:
    """What the pod lacks is sent behind it."""
    line = CallUnderTest()
    line.append(300)
    pod = line.goes_on(0, newest_event_id="evt_2")
    assert pod is not None
    line.text(1)
    assert pod.heard == []
    line.text(2)
    assert len(pod.heard) == 1


def test_a_pod_that_is_lost_while_it_replays_is_sent_nothing() -> None:
    """What it would have been sent is the next one's."""
    line = CallUnderTest()
    line.append(300)
    first = line.goes_on(0, newest_event_id="evt_2")
    assert first is not None
    line.text(1)
    second = line.goes_on(1)
    assert second is not None
    assert (len(first.heard), len(second.heard)) == (0, 1)


def test_positions_are_of_the_format_that_a_replayed_update_brought() -> None:
    """What came before the update has been dealt with; 1 ms is 48 bytes before and 8 behind it."""
    line = CallUnderTest()
    line.append(480)
    line.say(type="session.update", session={"audio": {"input": {"format": ULAW}}})
    line.append(81)
    update = line.pod.heard[1]["event_id"]
    pod = line.goes_on(0, input_audio_bytes=110, last_client_event_id=update, newest_event_id="evt_1", audio=ULAW)
    assert pod is not None
    line.hear(event_id="evt_1", type="session.updated", session={"audio": {"input": {"format": ULAW}}})
    assert [len(event["audio"]) for event in pod.heard] == [68]  # base64 of 51 bytes: 80 before it, 30 had come


@pytest.mark.parametrize(
    ("number", "gap"),
    [(3, None), (1, None), (2, {"from": "evt_3", "to": "evt_4"})],
    ids=["from another event", "from one that came", "gap"],
)
def test_a_pod_that_lacks_events_ends_the_call(number: int, gap: dict[str, str] | None) -> None:
    """A caller who cannot be told of a gap must not take what follows for all there is."""
    line = CallUnderTest(number=2)
    assert line.goes_on(number, gap=gap) is None
    assert line.call.is_away


@pytest.mark.parametrize("gap", [{"from": "evt_1", "to": "evt_2"}, {"from": None, "to": None, "items": 1}])
def test_a_gap_of_what_the_caller_has_is_none(gap: dict[str, Any]) -> None:
    """Nor is one of items."""
    assert CallUnderTest(number=2).goes_on(2, gap=gap) is not None


def test_audio_that_no_one_has_any_more_is_counted() -> None:
    """A store fell back behind what it once had."""
    line = CallUnderTest()
    line.append(300)
    line.hear(type="call.received", input_audio_bytes=300, last_client_event_id=None)
    assert line.goes_on(0, input_audio_bytes=120) is not None
    assert line.told == ["room", "edge_lost_audio", "room"]


def test_what_the_caller_has_is_acknowledged() -> None:
    """Once there is something, and for callers alone who will not ask for it."""
    line = CallUnderTest()
    line.call.acknowledge(0)
    line.call.acknowledge(41)
    assert line.pod.heard == [{"type": "call.acknowledge", "event_id": "evt_41"}]
    comes_back = CallUnderTest(acknowledges=False)
    comes_back.call.acknowledge(41)
    assert comes_back.pod.heard == []


def test_a_caller_is_not_read_for_a_pod_that_does_not_keep_up() -> None:
    """Frames and other messages alike."""
    line = CallUnderTest()
    line.pod.is_congested = True
    assert not line.append(300)
    assert not line.say(type="response.create")
    assert not line.call.takes()
    assert line.call.kept_bytes == 0
    line.pod.is_congested = False
    assert line.call.takes()
    assert line.append(300)


def test_what_is_no_event_waits_for_a_pod() -> None:
    """And nothing else that comes overtakes it, for `takes` says no until then."""
    line = CallUnderTest()
    line.call.pod_lost()
    assert line.call.takes()
    assert line.goes_on(0) is not None
    assert line.call.take("[1]")
    assert line.pod.heard == [[1]]
    line.call.pod_lost()
    assert not line.call.take("[2]")
    assert not line.call.takes()
    assert line.goes_on(0) is not None
    assert line.call.takes()
    line.call.pod_lost()
    assert line.call.takes()


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a pod the oldest is forgotten, without one nothing more is taken; counted each time."""
    monkeypatch.setattr(proxied_call, "MAX_KEPT_BYTES", 2000)
    line = CallUnderTest()
    for _ in range(10):
        assert line.append(300)
        assert line.say(type="response.create")
    assert 2000 < line.call.kept_bytes < 4000
    assert set(line.told) == {"edge_kept_bytes"}
    line.call.pod_lost()
    assert not line.append(300)
    assert not line.say(type="response.create")
    assert not line.call.takes()


def test_as_much_as_may_be_kept_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept fills the bound exactly, and nothing is forgotten for it: the pod may be lost yet."""
    line = CallUnderTest()
    line.append(300)
    monkeypatch.setattr(proxied_call, "MAX_KEPT_BYTES", line.call.kept_bytes)
    assert line.call.takes()
    assert (line.append(300), line.told) == (True, [])
    monkeypatch.setattr(proxied_call, "MAX_KEPT_BYTES", line.call.kept_bytes)
    assert (line.say(type="response.create"), line.told) == (True, [])


def test_what_the_caller_does_not_read_is_not_read_from_its_pod() -> None:
    """It is known for the next pod, too."""
    line = CallUnderTest()
    assert not line.call.is_slow
    line.call.caller_is_slow(slow=True)
    assert (line.pod.is_paused, line.call.is_slow) == (True, True)
    line.call.caller_is_slow(slow=False)
    assert (line.pod.is_paused, line.call.is_slow) == (False, False)


def test_an_append_with_an_id_is_audio() -> None:
    """Its bytes count, and are sent again from where the next pod has them; with its id if that has none of it."""
    line = CallUnderTest()
    line.say(type="input_audio_buffer.append", audio="AAAA" * 100, event_id="a")
    pod = line.goes_on(0, input_audio_bytes=150)
    assert pod is not None
    assert [(len(event["audio"]), event.get("event_id")) for event in pod.heard] == [(200, None)]
    whole = line.goes_on(0)
    assert whole is not None
    assert [event["event_id"] for event in whole.heard] == [f"edge_{TAG}_1_a"]


def test_an_append_that_would_take_too_long_to_read_is_refused_and_named() -> None:
    """Its audio could not be counted; what is no append goes on as it is, for the pod to refuse."""
    one = CallUnderTest()
    junk = "a b " * (caller_messages.MAX_JSON_BYTES // 4 + 1)
    assert one.say(type="x", text=junk)
    assert one.caller.failed is None
    assert len(one.pod.heard) == 1
    assert one.say(type="input_audio_buffer.append", audio="AAAA", text=junk)
    assert one.caller.failed == (CloseCode.MESSAGE_TOO_BIG, str(TooMuchJson()))
    assert len(one.pod.heard) == 1
    assert one.told == ["edge_json_bytes"]
