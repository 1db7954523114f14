"""A caller who knows nothing of resuming is held while pods come and go.

Here are the tests of `caller_socket`, too, and those of `pod_event_reader` and `proxied_call` over sockets.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed

from tests.edge.rig import CALL_ID, TOKEN, ULAW, PlainCaller, PodConnection, ScriptedPods, edge_rig
from tests.waiting import until
from voice_agent.edge import edge_call, proxied_call, resuming
from voice_agent.edge.appends import MAX_AT_ONCE, client_frame
from voice_agent.edge.caller_socket import MAX_UNREAD_BYTES
from voice_agent.edge.edge_call import RESUMED
from voice_agent.edge.proxied_call import COME_BACK
from voice_agent.websocket.frames import text_frame
from voice_agent.websocket.keepalive import PROBE

AUDIO = bytes(range(240)) * 4


def text(n: int) -> dict[str, Any]:
    """A numbered event."""
    return {"event_id": f"evt_{n}", "type": "response.output_text.delta", "delta": str(n)}


async def said(pod: PodConnection, *numbers: int) -> None:
    """The pod says these events."""
    for number in numbers:
        await pod.say(**text(number))


async def greet_all(pods: ScriptedPods) -> None:
    """Every pod that comes behind the first greets."""
    for number in itertools.count(1):
        pod = await pods.connection(number)
        with contextlib.suppress(ConnectionClosed):
            await pod.greet()


def numbers(caller: PlainCaller) -> list[str]:
    """Ids of what came behind the greeting."""
    return [event["event_id"] for event in caller.events[1:]]


async def test_what_comes_in_one_piece_arrives_as_if_it_had_not() -> None:
    """Both ways, with other messages between, and more than is passed on at once."""
    async with edge_rig() as its:
        caller = await its.call()
        pod = await its.pods.connection(0)
        pieces = [AUDIO[number:] for number in range(2 * MAX_AT_ONCE)]
        events = [{"type": "input_audio_buffer.append", "audio": base64.b64encode(piece).decode()} for piece in pieces]
        events.insert(3, {"type": "input_audio_buffer.commit"})
        caller.socket.transport.write(b"".join(client_frame(orjson.dumps(event)) for event in events))
        await pod.hear(len(events))
        assert [event["type"] for event in pod.heard] == [event["type"] for event in events]
        assert pod.audio == b"".join(pieces)
        pod.socket.transport.write(b"".join(text_frame(orjson.dumps(text(number))) for number in range(1, 20)))
        await caller.hear(20)
        assert numbers(caller) == [f"evt_{number}" for number in range(1, 20)]
        await pod.socket.close(1012)
        again = await its.pods.connection(1)
        assert again.query["last_event_id"] == "evt_19"
        await again.greet(19, call={"input_audio_bytes": len(pieces[0]) + 10})
        await again.hear(len(events) - 1)
        assert again.audio == b"".join(pieces)[len(pieces[0]) + 10 :]


@pytest.mark.parametrize("code", [1012, 1011, 1013, 1001, 1006])
async def test_a_caller_is_held_when_its_pod_goes(code: int) -> None:
    """The next pod is asked to go on behind the newest event; nothing comes twice, and no greeting comes again."""
    async with edge_rig() as its:
        caller = await its.call()
        pod = await its.pods.connection(0)
        await said(pod, 1, 2)
        await caller.hear(3)
        if code == 1006:
            pod.socket.transport.abort()
        else:
            await pod.socket.close(code)
        again = await its.pods.connection(1)
        assert again.query["call_id"] == CALL_ID
        assert again.query["last_event_id"] == "evt_2"
        assert again.request.headers["X-Resume-Token"] == TOKEN
        assert "model" not in again.query
        await again.greet(2)
        await said(again, 3, 4)
        await caller.hear(5)
        assert numbers(caller) == ["evt_1", "evt_2", "evt_3", "evt_4"]
        assert its.metric("voice_edge_gap_seconds_count") == 1


async def test_the_log_says_who_goes_on_with_a_call() -> None:
    """And after what: an operator who is asked about one call finds where it was."""
    with capture_logs() as lines:
        async with edge_rig() as its:
            await its.call()
            pod = await its.pods.connection(0)
            await pod.socket.close(1012, "drain")
            again = await its.pods.connection(1)
            await again.greet(call={"pod": "green-1", "color": "green"})
            await until(lambda: not its.edge.away)
    (line,) = [line for line in lines if line["event"] == RESUMED]
    assert (line["call_id"], line["after"], line["reason"]) == (CALL_ID, 1012, "drain")
    assert line["by"] == {"pod": "green-1", "color": "green"}
    assert line["gap_ms"] >= 0


async def test_a_pod_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A load balancer may have one in its list that fell silent; the next try has longer, and another pod."""
    monkeypatch.setattr(resuming, "ANSWER_S", 0.5)
    async with edge_rig() as its:
        caller = await its.call()
        await (await its.pods.connection(0)).socket.close(1012)
        await its.pods.connection(1)
        again = await its.pods.connection(2)
        await again.greet()
        await said(again, 1)
        await caller.hear(2)


async def test_a_pod_that_is_found_as_the_call_is_given_up_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else would ever close its connection, and it would hold the call for a caller who is gone."""
    async with edge_rig() as its:
        await its.call()
        next_pod = resuming.Resuming.next_pod

        async def found_too_late(self: resuming.Resuming, *asked: Any) -> Any:
            pod = await next_pod(self, *asked)
            for task in its.server.server_state.tasks:
                task.cancel()
            return pod

        monkeypatch.setattr(resuming.Resuming, "next_pod", found_too_late)
        await (await its.pods.connection(0)).socket.close(1012)
        again = await its.pods.connection(1)
        await again.greet()
        await until(lambda: again.closed_with == 1001)
        await until(lambda: its.edge.status().active_calls == 0)


async def test_a_call_that_a_try_given_up_takes_after_all_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod that had fallen silent gets to what it was asked: the caller is not told. Whoever else takes it has it.

    It may end the connection that serves the call twice: by its claim, and by what it attaches to where both are.
    """
    monkeypatch.setattr(resuming, "STEADY_S", 0)
    monkeypatch.setattr(resuming, "ANSWER_S", 0.5)
    async with edge_rig() as its:
        caller = await its.call()
        await (await its.pods.connection(0)).socket.close(1012)
        await its.pods.connection(1)
        monkeypatch.setattr(resuming, "ANSWER_S", 60)
        for number in (2, 3, 4):
            again = await its.pods.connection(number)
            await again.greet(number - 2)
            await said(again, number - 1)
            await caller.hear(number)
            await again.socket.close(4409)
        assert (await caller.closed())[0] == 4409
        assert numbers(caller) == ["evt_1", "evt_2", "evt_3"]
        assert len(its.pods.connections) == 5


async def test_each_pod_is_told_what_the_edge_can() -> None:
    """It may be handed off at any moment, and wants to know what is durable; what the caller says itself goes along."""
    async with edge_rig() as its:
        await its.call("/realtime?model=echo&resumable=1&tenant=7", additional_headers={"Authorization": "Bearer k"})
        pod = await its.pods.connection(0)
        assert pod.path == "/realtime"
        assert pod.query == {"model": "echo", "tenant": "7", "resumable": "now", "received": "1", "directed": "1"}
        assert pod.request.headers["Authorization"] == "Bearer k"
        assert pod.request.headers["X-Forwarded-For"] == "127.0.0.1"


async def test_what_a_pod_did_not_make_durable_is_said_again() -> None:
    """From the byte that the next one has, and events behind the newest that it knows."""
    async with edge_rig() as its:
        caller = await its.call()
        pod = await its.pods.connection(0)
        await caller.append(AUDIO)
        await caller.say(type="input_audio_buffer.commit", event_id="same")
        await caller.append(AUDIO[:100])
        await caller.say(type="response.create", event_id="same")
        first = await pod.hear(4)
        assert first[1]["event_id"] != first[3]["event_id"]
        await pod.socket.close(1012)
        again = await its.pods.connection(1)
        await again.greet(call={"input_audio_bytes": 900, "last_client_event_id": first[1]["event_id"]})
        heard = await again.hear(3)
        assert again.audio == AUDIO[900:] + AUDIO[:100]
        assert heard[2] == first[3]
        await caller.append(b"more")
        await again.hear(4)
        assert again.audio == AUDIO[900:] + AUDIO[:100] + b"more"


async def test_what_is_durable_is_not_kept() -> None:
    """`call.received` is the edge's alone."""
    async with edge_rig() as its:
        caller = await its.call()
        pod = await its.pods.connection(0)
        await caller.append(AUDIO)
        await caller.say(type="input_audio_buffer.commit")
        _, commit = await pod.hear(2)
        assert its.edge.kept_bytes > len(AUDIO)
        await pod.say(type="call.received", input_audio_bytes=len(AUDIO), last_client_event_id=commit["event_id"])
        await until(lambda: its.edge.kept_bytes == 0)
        await said(pod, 1)
        await caller.hear(2)
        assert numbers(caller) == ["evt_1"]


async def test_what_is_said_while_no_pod_is_there_is_said_to_the_next() -> None:
    """In order, once."""
    async with edge_rig() as its:
        caller = await its.call()
        pod = await its.pods.connection(0)
        its.pods.refuse(503, Retry_After="1")
        its.pods.refuse(502)
        await pod.socket.close(1012)
        await until(lambda: its.edge.away == 1)
        await caller.append(AUDIO)
        await caller.say(type="response.create")
        again = await its.pods.connection(1)
        await again.greet()
        await again.hear(2)
        assert again.audio == AUDIO


async def test_an_error_names_the_clients_own_event() -> None:
    """Also where the client uses one id twice, and none where it gave none."""
    async with edge_rig() as its:
        caller = await its.call()
        pod = await its.pods.connection(0)
        await caller.say(type="response.create", event_id="mine")
        await caller.say(type="response.create")
        named, nameless = await pod.hear(2)
        for number, event in enumerate((named, nameless), 1):
            error = {"code": "x", "event_id": event["event_id"]}
            await pod.say(event_id=f"evt_{number}", type="error", error=error)
        await caller.hear(3)
        assert [event["error"]["event_id"] for event in caller.events[1:]] == ["mine", None]


async def test_an_append_that_was_refused_does_not_count() -> None:
    """With an id or without one; the caller is not told at which byte it stood."""
    async with edge_rig() as its:
        caller = await its.call()
        pod = await its.pods.connection(0)
        await caller.append(AUDIO)
        await pod.hear(1)
        await caller.append(b"x" * 101)
        await pod.hear(2)
        await caller.append(b"y" * 103, event_id="odd")
        await caller.append(AUDIO[::-1])
        _, nameless, named, _ = await pod.hear(4)
        # What comes with others in one piece is given an id, too.
        where = {} if "event_id" in nameless else {"input_audio_bytes": len(AUDIO)}
        await pod.say(event_id="evt_1", type="error", error={"event_id": nameless.get("event_id"), **where})
        await pod.say(event_id="evt_2", type="error", error={"event_id": named["event_id"]})
        await caller.hear(3)
        assert [event["error"] for event in caller.events[1:]] == [{"event_id": None}, {"event_id": "odd"}]
        await pod.socket.close(1012)
        again = await its.pods.connection(1)
        await again.greet(2, call={"input_audio_bytes": 10})
        await again.hear(2)
        assert again.audio == AUDIO[10:] + AUDIO[::-1]


async def test_another_format_counts_other_bytes() -> None:
    """With the update that took effect; one that was refused changes nothing."""
    async with edge_rig() as its:
        caller = await its.call()
        pod = await its.pods.connection(0)
        await caller.append(bytes(4800))
        await caller.say(type="session.update", session={"wrong": True})
        await caller.say(type="session.update", session={"audio": {"input": {"format": ULAW}}})
        await caller.append(AUDIO[:160])
        _, refused, _, _ = await pod.hear(4)
        await pod.say(event_id="evt_1", type="error", error={"event_id": refused["event_id"]})
        session = {"type": "realtime", "audio": {"input": {"format": ULAW}}}
        await pod.say(event_id="evt_2", type="session.updated", session=session)
        await caller.hear(3)
        await pod.socket.close(1012)
        again = await its.pods.connection(1)
        known = (await pod.hear(3))[2]["event_id"]
        await again.greet(2, call={"input_audio_bytes": 800 + 60, "last_client_event_id": known}, audio=ULAW)
        await again.hear(1)
        assert again.audio == AUDIO[60:160]


async def test_a_call_that_another_edge_takes_for_a_caller_who_left_it_goes_on() -> None:
    """Two edges come back at once, for a caller who went from one to the other, and the old one comes last.

    Of two whose callers are both there the younger connection has the call in the end: each takes it back twice.
    """
    async with edge_rig() as its:
        caller = await its.call("/v1/realtime?model=echo&resumable=1")
        for number in (0, 1, 2):
            pod = await its.pods.connection(number)
            if number:
                await pod.greet(number)
            await said(pod, number + 1)
            await caller.hear(number + 2)
            await pod.socket.close(4409, "elsewhere")
        assert await caller.closed() == (4409, "elsewhere")
        assert numbers(caller) == ["evt_1", "evt_2", "evt_3"]
        assert len(its.pods.connections) == 3


async def test_a_call_is_not_taken_back_for_a_caller_who_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may tell of it for minutes but that a ping is not answered; meanwhile somebody else has the call.

    What it said before it went may come late.
    """
    monkeypatch.setattr(edge_call, "ANSWER_S", 0.1)
    async with edge_rig() as its:
        caller = await its.call("/v1/realtime?model=echo&resumable=1")
        caller.socket.transport.pause_reading()
        await (await its.pods.connection(0)).socket.close(4409)
        await until(lambda: its.edge.away == 1)
        await caller.append(AUDIO)
        await until(lambda: its.edge.status().active_calls == 0)
        assert len(its.pods.connections) == 1
        caller.socket.transport.resume_reading()
        assert (await caller.closed())[0] == 4409


async def test_a_pod_that_asks_whether_the_caller_is_there_is_answered_by_the_caller() -> None:
    """Else one whom the network cuts off in the middle of a sentence would be taken for one who has stopped.

    Whether the connection lives, a pod is told at once.
    """
    async with edge_rig() as its:
        caller = await its.call()
        pod = await its.pods.connection(0)
        await (await pod.socket.ping(b""))
        caller.socket.transport.pause_reading()
        await caller.append(AUDIO)
        asked = asyncio.ensure_future(await pod.socket.ping(PROBE))
        await said(pod, 1)
        (call,) = its.edge._calls
        await until(lambda: call._proxied.newest == 1)
        assert not asked.done()
        caller.socket.transport.resume_reading()
        await asked
        assert pod.audio == AUDIO


async def test_a_caller_who_leaves_while_it_is_asked_is_gone() -> None:
    """It does not have to be waited for."""
    async with edge_rig() as its:
        caller = await its.call("/v1/realtime?model=echo&resumable=1")
        caller.socket.transport.pause_reading()
        await (await its.pods.connection(0)).socket.close(4409)
        await until(lambda: its.edge.away == 1)
        caller.socket.transport.abort()
        await until(lambda: its.edge.status().active_calls == 0)
        assert len(its.pods.connections) == 1


@pytest.mark.parametrize("code", [1000, 4408, 4409, 4410, 1008])
async def test_a_close_that_ends_the_call_is_the_callers(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its reason; no other pod is asked."""
    monkeypatch.setattr(resuming, "STEADY_S", 0)
    async with edge_rig() as its:
        caller = await its.call()
        await (await its.pods.connection(0)).socket.close(code, "so it is")
        assert await caller.closed() == (code, "so it is")
        assert len(its.pods.connections) == 1


@pytest.mark.parametrize(("code", "told"), [(1000, 1000), (1001, 1001), (4000, 1001), (None, 1001)])
async def test_the_pod_learns_how_the_caller_left(code: int | None, told: int) -> None:
    """Only a hang-up is one: whatever else ends the connection must not end the call."""
    async with edge_rig() as its:
        caller = await its.call()
        pod = await its.pods.connection(0)
        if code is None:
            caller.socket.transport.abort()
        else:
            await caller.socket.close(code)
        await until(lambda: pod.closed_with == told)
        await until(lambda: its.edge.status().active_calls == 0)


@pytest.mark.parametrize(("hangs_up", "told"), [(True, 1000), (False, 1001)])
async def test_who_leaves_while_no_pod_is_there_is_told_to_the_next(*, hangs_up: bool, told: int) -> None:
    """Else the call would wait for its caller for as long as it may, and count as one that the handoff lost."""
    async with edge_rig() as its:
        caller = await its.call()
        its.pods.refuse_all(503)
        await (await its.pods.connection(0)).socket.close(1012)
        await until(lambda: its.edge.away == 1)
        if hangs_up:
            await caller.socket.close(1000)
        else:
            caller.socket.transport.abort()
        await until(lambda: its.callers_here == 0)
        its.pods.refusals.clear()
        # The first of them may still be one that was asked to go on with the call.
        greeting = asyncio.create_task(greet_all(its.pods))
        await until(lambda: told in [pod.closed_with for pod in its.pods.connections[1:]])
        greeting.cancel()


async def test_last_words_that_no_pod_heard_are_said_to_the_next_before_it_is_told() -> None:
    """Who hangs up has said them all the same."""
    async with edge_rig() as its:
        caller = await its.call()
        its.pods.refuse_all(503)
        await (await its.pods.connection(0)).socket.close(1012)
        await until(lambda: its.edge.away == 1)
        await caller.append(AUDIO)
        await caller.say(type="input_audio_buffer.commit")
        await caller.socket.close(1000)
        its.pods.refusals.clear()
        greeting = asyncio.create_task(greet_all(its.pods))
        await until(lambda: 1000 in [pod.closed_with for pod in its.pods.connections[1:]])
        greeting.cancel()
        told = next(pod for pod in its.pods.connections[1:] if pod.closed_with == 1000)
        assert told.audio == AUDIO
        assert [event["type"] for event in told.heard] == ["input_audio_buffer.append", "input_audio_buffer.commit"]


async def test_who_hangs_up_while_a_pod_replays_needs_no_other_one() -> None:
    """It is told behind what it lacks, once that can be said; one that does not get so far is told all the same."""
    async with edge_rig() as its:
        caller = await its.call()
        await caller.append(AUDIO)
        await (await its.pods.connection(0)).socket.close(1012)
        again = await its.pods.connection(1)
        await again.greet(call={"newest_event_id": "evt_2"})
        await said(again, 1)
        await caller.hear(2)
        await caller.socket.close(1000)
        await until(lambda: its.callers_here == 0)
        assert again.closed_with is None
        await said(again, 2)
        await until(lambda: again.closed_with == 1000)
        assert again.audio == AUDIO
        assert len(its.pods.connections) == 2
        await until(lambda: its.edge.status().active_calls == 0)


async def test_the_call_of_one_who_may_be_back_over_another_edge_is_left_alone() -> None:
    """Whoever comes for it now would take it from the caller."""
    async with edge_rig() as its:
        caller = await its.call("/v1/realtime?model=echo&resumable=1")
        its.pods.refuse_all(503)
        await (await its.pods.connection(0)).socket.close(1012)
        await until(lambda: its.edge.away == 1)
        caller.socket.transport.abort()
        await until(lambda: its.callers_here == 0)
        its.pods.refusals.clear()
        greeting = asyncio.create_task(greet_all(its.pods))
        await until(lambda: its.edge.status().active_calls == 0)
        await until(lambda: all(pod.closed_with for pod in its.pods.connections))
        assert 1001 not in [pod.closed_with for pod in its.pods.connections]
        greeting.cancel()


@pytest.mark.parametrize(("status", "code"), [(410, 4410), (404, 1011), (403, 1011), (401, 1011)])
async def test_a_call_that_no_pod_will_ever_go_on_with_is_closed(status: int, code: int) -> None:
    """At once, and counted."""
    async with edge_rig() as its:
        caller = await its.call()
        its.pods.refuse(404, b"no route")  # The balancer's own, while it is told of new pods.
        its.pods.refuse(status, X_Voice_Pod="green-1")
        await (await its.pods.connection(0)).socket.close(1012)
        assert (await caller.closed())[0] == code
        assert its.metric('voice_edge_lost_total{cause="refused"}') == 1


TRANSFERRED = orjson.dumps(
    {"error": {"code": "call_ended", "outcome": "transferred", "last_event_id": "evt_7", "transfer": {"target": "+49"}}}
)


async def test_a_caller_who_was_transferred_while_no_pod_was_there_is_told_whom_to_call() -> None:
    """And closed as if the pod that did it had lived for that: the call is not lost."""
    async with edge_rig() as its:
        caller = await its.call()
        its.pods.refuse(410, TRANSFERRED, X_Voice_Pod="green-1")
        await (await its.pods.connection(0)).socket.close(1012)
        assert (await caller.hear(2))[-1] == {"event_id": "evt_7", "type": "call.transfer", "target": "+49"}
        assert (await caller.closed())[0] == 1000
        assert its.metric('voice_edge_lost_total{cause="refused"}') == 0


async def test_a_caller_for_whom_no_pod_can_be_had_is_told_to_try_again() -> None:
    """After the patience that is set."""
    async with edge_rig(patience=1) as its:
        caller = await its.call()
        await its.pods.close()
        assert (await caller.closed())[0] == 1013
        assert its.metric('voice_edge_lost_total{cause="patience"}') == 1


@pytest.mark.parametrize("lost", ["gap", "number"])
async def test_events_that_nobody_remembers_end_the_connection(lost: str) -> None:
    """A caller who cannot be told of a gap must not take what follows for all there is."""
    async with edge_rig() as its:
        caller = await its.call()
        pod = await its.pods.connection(0)
        await said(pod, 1, 2)
        await caller.hear(3)
        await pod.socket.close(1012)
        again = await its.pods.connection(1)
        gap = {"from": "evt_3", "to": "evt_4"} if lost == "gap" else None
        await again.greet(2 if lost == "gap" else 7, call={"gap": gap})
        assert (await caller.closed())[0] == 1011
        assert its.metric('voice_edge_lost_total{cause="gap"}') == 1


async def test_what_the_caller_has_is_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the outbox holds what is under way; nothing for a caller who may ask again by itself."""
    async with edge_rig() as its:
        plain = await its.call()
        comes_back = await its.call("/realtime?resumable=1")
        first, second = its.pods.connections
        for pod, caller in ((first, plain), (second, comes_back)):
            await said(pod, 1, 2, 3)
            await caller.hear(4)
        heard = await first.hear(1)
        while heard[-1]["event_id"] != "evt_3":
            heard = await first.hear(len(heard) + 1)
        assert {event["type"] for event in heard} == {"call.acknowledge"}
        assert second.heard == []


async def test_a_caller_who_comes_back_by_itself_finds_its_own_ids() -> None:
    """What an edge made of them is undone in the greeting, whichever edge it was."""
    async with edge_rig() as its:
        caller = await its.call("/realtime?resumable=1")
        pod = await its.pods.connection(0)
        await caller.say(type="response.create", event_id="mine")
        known = (await pod.hear(1))[0]["event_id"]
        opening = asyncio.ensure_future(
            its.connect(f"/realtime?call_id={CALL_ID}&resume_token={TOKEN}&last_event_id=evt_0").__aenter__()
        )
        again = await its.pods.connection(1)
        await again.greet(call={"last_client_event_id": known})
        back = await opening
        greeting = orjson.loads(await back.recv())
        assert greeting["session"]["call"]["last_client_event_id"] == "mine"
        await back.close()


async def test_a_caller_who_does_not_read_is_not_read_for() -> None:
    """The pod is stopped instead, and goes on once the caller reads."""
    async with edge_rig() as its:
        caller = await its.call(max_queue=1, max_size=None)
        pod = await its.pods.connection(0)
        caller._reading.cancel()
        delta = "x" * 65_536
        flooding = asyncio.create_task(flood(pod, delta))
        await until(lambda: flooding.done() or (its.unread_bytes > 0 and not its.pods_read))
        assert not flooding.done()
        assert MAX_UNREAD_BYTES < its.unread_bytes < 2 * MAX_UNREAD_BYTES
        reading = PlainCaller(caller.socket)
        await flooding
        await until(lambda: bool(reading.events) and reading.events[-1]["event_id"] == f"evt_{FLOOD}")


FLOOD = 400


async def flood(pod: PodConnection, delta: str, last: int = 0) -> None:
    """More than all buffers hold."""
    for number in range(last + 1, last + FLOOD + 1):
        await pod.say(event_id=f"evt_{number}", type="response.output_text.delta", delta=delta)


async def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod that tells nothing has it in memory, and the oldest is forgotten; with no pod the caller is not read."""
    monkeypatch.setattr(proxied_call, "MAX_KEPT_BYTES", 20_000)
    async with edge_rig() as its:
        caller = await its.call()
        pod = await its.pods.connection(0)
        for _ in range(40):
            await caller.append(AUDIO)
        await pod.hear(40)
        assert 0 < its.edge.kept_bytes < 22_000
        assert its.metric('voice_edge_limits_total{limit="edge_kept_bytes"}') > 0
        its.pods.refuse(503)
        await pod.socket.close(1012)
        again = await its.pods.connection(1)
        for number in range(60):
            await caller.append(bytes([number]) * 960)
        assert its.edge.kept_bytes < 24_000
        await again.greet(call={"input_audio_bytes": 40 * len(AUDIO)})
        await again.hear(60)
        assert again.audio == b"".join(bytes([number]) * 960 for number in range(60))


async def test_a_gap_that_the_caller_has_seen_is_none() -> None:
    """Nor is one of items: it is for clients that can be told."""
    async with edge_rig() as its:
        caller = await its.call()
        pod = await its.pods.connection(0)
        await said(pod, 1, 2)
        await caller.hear(3)
        for number, gap in enumerate(({"from": "evt_1", "to": "evt_2"}, {"from": None, "to": None, "items": 1}), 1):
            await its.pods.connections[-1].socket.close(1012)
            again = await its.pods.connection(number)
            await again.greet(number + 1, call={"gap": gap})
            await said(again, number + 2)
            await caller.hear(number + 3)
        assert numbers(caller) == ["evt_1", "evt_2", "evt_3", "evt_4"]


async def test_what_a_pod_replays_comes_before_what_it_is_sent() -> None:
    """It says how the caller's bytes are counted: an append that was refused, another format."""
    async with edge_rig() as its:
        caller = await its.call()
        pod = await its.pods.connection(0)
        await caller.append(bytes(4800))
        await caller.say(type="session.update", session={"audio": {"input": {"format": ULAW}}})
        await caller.append(AUDIO[:161], event_id="refused")
        await caller.append(AUDIO[:160])
        _, update, refused, _ = await pod.hear(4)
        await pod.socket.close(1012)
        again = await its.pods.connection(1)
        known = {"input_audio_bytes": 860, "last_client_event_id": refused["event_id"], "newest_event_id": "evt_2"}
        await again.greet(call=known, audio=ULAW)
        await caller.append(b"more")
        session = {"type": "realtime", "audio": {"input": {"format": ULAW}}}
        await again.say(event_id="evt_1", type="session.updated", session=session)
        assert again.heard == []
        await again.say(event_id="evt_2", type="error", error={"event_id": refused["event_id"]})
        await again.hear(2)
        assert again.audio == AUDIO[60:160] + b"more"
        assert update["type"] == "session.update"


async def test_a_message_that_ends_every_connection_is_not_said_for_ever() -> None:
    """After the patience that is set the caller is told to try again."""
    async with edge_rig(patience=1) as its:
        caller = await its.call()
        pod = await its.pods.connection(0)
        await caller.say(type="response.create")
        await pod.hear(1)
        ended = 0
        while caller.socket.close_code is None:
            for one in its.pods.connections[ended:]:
                ended += 1
                await one.greet() if one is not pod else None
                await one.socket.close(1011)
            await asyncio.sleep(0.01)  # looks again
        assert (await caller.closed())[0] == 1013
        assert ended < 12


async def test_halves_of_messages_are_bounded_for_all_callers() -> None:
    """Whoever comes late is told to try again; what others hold stays."""
    async with edge_rig() as its:
        its.edge.budget.limit_bytes = 1_000_000
        its.edge.budget.key_bytes = 1_000_000
        first, second = await its.call(), await its.call()
        for caller in (first, second):
            # The head of a masked frame of 8 MiB, and a part of it.
            head = b"\x81\xff" + (8 << 20).to_bytes(8, "big") + bytes(4)
            caller.socket.transport.write(head + b"x" * 700_000)
        await until(lambda: 1013 in {first.socket.close_code, second.socket.close_code})
        assert its.metric('voice_edge_limits_total{limit="edge_incomplete_messages"}') == 1
        assert {first.socket.close_code, second.socket.close_code} == {None, 1013}


async def test_what_is_no_event_is_said_once_and_to_a_pod_that_is_there() -> None:
    """Its error has no id by which it would come once."""
    async with edge_rig() as its:
        caller = await its.call()
        pod = await its.pods.connection(0)
        await caller.socket.send("[1]")
        await pod.hear(1)
        its.pods.refuse(503)
        await pod.socket.close(1012)
        await until(lambda: its.edge.away == 1)
        await caller.socket.send("[2]")
        await caller.append(AUDIO)
        again = await its.pods.connection(1)
        await again.greet()
        await again.hear(2)
        assert str(again.heard[0]) == "[2]"
        assert its.edge.kept_bytes < 2 * len(AUDIO)


@pytest.mark.parametrize("code", [1012, 4409])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_who_can_come_back_does_so_if_it_cannot_be_read(when: str, code: int) -> None:
    """It may have gone, and its answer would stand behind what no pod takes. Nobody has lost it."""
    async with edge_rig() as its:
        caller = await its.call("/v1/realtime?model=echo&resumable=1")
        pod = await its.pods.connection(0)
        its.pods.refuse(503)
        (call,) = its.edge._calls
        if when == "before":
            call._pod.is_congested = True
            await caller.append(AUDIO)
            await until(lambda: call._caller._receiver.has_held)  # type: ignore[attr-defined]
            await pod.socket.close(code)
        else:
            caller.socket.transport.pause_reading()
            await pod.socket.close(code)
            await until(lambda: its.edge.away == 1)
            await caller.socket.send("[2]")
            caller.socket.transport.resume_reading()
        assert await caller.closed() == (1012, COME_BACK)
        assert its.metric('voice_edge_lost_total{cause="closed"}') == 0


async def test_a_caller_who_does_not_read_stops_the_next_pod_as_well() -> None:
    """It is told only once that it is slow."""
    async with edge_rig() as its:
        caller = await its.call(max_queue=1, max_size=None)
        caller._reading.cancel()
        pod = await its.pods.connection(0)
        flooding = asyncio.create_task(flood(pod, "x" * 65_536))
        await until(lambda: flooding.done() or (its.unread_bytes > 0 and not its.pods_read))
        flooding.cancel()
        pod.socket.transport.abort()
        # Of a pod that is not read it is noticed that it is gone when something is sent to it.
        while len(its.pods.connections) == 1:
            await caller.append(AUDIO)
            await asyncio.sleep(0.01)  # looks again
        again = its.pods.connections[1]
        last = int(again.query["last_event_id"].removeprefix("evt_"))
        await again.greet(last)
        sending = asyncio.create_task(flood(again, "y" * 65_536, last))
        await until(lambda: sending.done() or again.socket.transport.get_write_buffer_size() > 0)
        assert not sending.done()
        assert (its.pods_read, its.unread_bytes < 2 * MAX_UNREAD_BYTES) == (0, True)
        sending.cancel()
