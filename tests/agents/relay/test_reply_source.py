"""Upstreams that go wrong in every way: the reply goes on elsewhere, or ends with an apology, and the call lives.

Tests of `reply_source`, `upstream_reply`, `session`, `sessions` and `dialing`.
"""

from __future__ import annotations

import asyncio
import base64
import tracemalloc
import wave
from pathlib import Path
from typing import Any

import pytest
import structlog
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.protocol import State

from tests.agents.relay.fake_upstream import (
    Event,
    FakeSession,
    answer,
    as_it_is,
    count_words,
    fake_upstream,
    say,
)
from tests.agents.relay.relayed import relayed
from tests.doubles.tones import sound_of, words_in
from tests.waiting import PATIENCE_S, until
from voice_agent.agents.relay import dialing, reply_source, session, sessions, upstream_socket
from voice_agent.agents.relay.reply_source import MOST_IN_VAIN
from voice_agent.agents.relay.upstream_reply import UpstreamLost
from voice_agent.call.audio import PCM


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upstreams get a moment for what they usually have seconds for."""
    for module, name in (
        (reply_source, "ACCEPTED_S"),
        (reply_source, "FIRST_S"),
        (reply_source, "STALL_S"),
        (session, "COMMIT_S"),
        (session, "CANCELLED_S"),
        (dialing, "OPEN_S"),
    ):
        monkeypatch.setattr(module, name, 0.3)
    monkeypatch.setattr(reply_source, "PAUSES_S", (0.0,) * MOST_IN_VAIN)
    monkeypatch.setattr(sessions, "FIRST_PAUSE_S", 0.01)


@pytest.mark.parametrize("is_exact", [True, False])
async def test_an_upstream_that_closes_after_any_event_is_followed_by_the_next_session(*, is_exact: bool) -> None:
    """Whichever event it is: no word is missing, and none comes twice."""
    for closes_after in range(1, 24):

        async def sending(session: FakeSession, event: Event, closes_after: int = closes_after) -> None:
            await as_it_is(session, event)
            if session.number == 0 and session.sent == closes_after:
                await session.socket.close(1011)

        async with fake_upstream(sending=sending, is_exact=is_exact) as upstream, relayed(upstream) as call:
            heard = await call.ask(100, 5)
            assert heard.faults == [], closes_after
            assert heard.fragments == [] or closes_after
            assert (await call.ask(200, 2)).faults == []


async def _refuses(session: FakeSession, event: Event) -> None:
    error = {"type": "invalid_request_error", "code": "no", "message": "No.", "event_id": event["event_id"]}
    await session.send({"type": "error", "error": error})


async def _fails(session: FakeSession, event: Event) -> None:
    await say(session, [], event, status="failed", status_details={"error": {"code": "overloaded"}})


async def _is_silent(session: FakeSession, event: Event) -> None:
    pass


async def _stalls(session: FakeSession, event: Event) -> None:
    of = {"response_id": "r", "item_id": "i"}
    await session.send({"type": "response.created", "response": {"id": "r"}})
    await session.send(
        {"type": "response.output_item.added", "response_id": "r", "item": {"id": "i", "type": "message"}}
    )
    await session.send({"type": "response.output_audio_transcript.delta", "delta": "w100 ", **of})
    audio = base64.b64encode(sound_of("w100")).decode()
    await session.send({"type": "response.output_audio.delta", "delta": audio, **of})


async def _stalls_and_sends_events_that_say_nothing(session: FakeSession, event: Event) -> None:
    await _stalls(session, event)
    of = {"response_id": "r", "item_id": "i"}
    while True:
        for kind in ("response.output_audio_transcript.delta", "response.output_audio.delta"):
            await session.send({"type": kind, "delta": "", **of})
        await session.send({"type": "response.output_audio.done", **of})
        await asyncio.sleep(0.05)


async def _refuses_what_nobody_asked(session: FakeSession, event: Event) -> None:
    while True:
        await session.send({"type": "error", "error": {"code": "no", "event_id": "x" * 9_999}})


async def _calls_a_function_with_too_much(session: FakeSession, event: Event) -> None:
    await _calls(session, name="f", arguments="x" * 300_000)


async def _calls_a_function_with_a_long_name(session: FakeSession, event: Event) -> None:
    await _calls(session, name="f" * 250, arguments="{}")


async def _calls(session: FakeSession, **function: str) -> None:
    called = {"id": "i", "type": "function_call", "call_id": "c", **function}
    await session.send({"type": "response.created", "response": {"id": "r"}})
    await session.send({"type": "response.output_item.added", "response_id": "r", "item": called})
    await session.send({"type": "response.output_item.done", "response_id": "r", "item": called})
    await session.send({"type": "response.done", "response": {"id": "r", "status": "completed"}})


async def _sends_no_json(session: FakeSession, event: Event) -> None:
    await session.socket.send("{")


async def _sends_binary(session: FakeSession, event: Event) -> None:
    await session.socket.send(b"\xff\xfe")


async def _sends_too_much(session: FakeSession, event: Event) -> None:
    await session.socket.send("x" * (dialing.MAX_MESSAGE_BYTES + 1))


async def _begins_items_without_end(session: FakeSession, event: Event) -> None:
    await session.send({"type": "response.created", "response": {"id": "r"}})
    for number in range(100_000):
        item = {"id": f"i{number}", "type": "message"}
        await session.send({"type": "response.output_item.added", "response_id": "r", "item": item})


async def _sends_text_without_end(session: FakeSession, event: Event) -> None:
    await session.send({"type": "response.created", "response": {"id": "r"}})
    while True:
        delta = {
            "type": "response.output_audio_transcript.delta",
            "response_id": "r",
            "item_id": "i",
            "delta": "x" * 99,
        }
        await session.send(delta)


async def _sends_events_without_end(session: FakeSession, event: Event) -> None:
    while True:
        await session.send({"type": "something.new"})


async def _sends_a_word_with_each_sample(session: FakeSession, event: Event) -> None:
    of = {"response_id": "r", "item_id": "i"}
    await session.send({"type": "response.created", "response": {"id": "r"}})
    while True:
        await session.send({"type": "response.output_audio_transcript.delta", "delta": "x ", **of})
        await session.send({"type": "response.output_audio.delta", "delta": "AAA=", **of})


async def _repeats_without_end(session: FakeSession, event: Event) -> None:
    of = {"response_id": "r", "item_id": "i"}
    audio = base64.b64encode(bytes(96_000)).decode()
    await session.send({"type": "response.created", "response": {"id": "r"}})
    if session.number == 0:
        await say(session, [("w100 ", sound_of("w100"))], event, status="failed")
        return
    await session.send({"type": "response.output_audio_transcript.delta", "delta": "w10", **of})
    while True:
        await session.send({"type": "response.output_audio.delta", "delta": audio, **of})


async def _drops_the_connection(session: FakeSession, event: Event) -> None:
    session.socket.transport.abort()


async def _talks_of_other_responses(session: FakeSession, event: Event) -> None:
    for kind in ("response.output_audio_transcript.delta", "response.output_audio.delta", "response.done"):
        body = {"response_id": "other", "item_id": "i", "delta": "AAAA", "response": {"id": "other"}}
        await session.send({"type": kind, **body})
    await count_words(session, event)


async def _says_what_nobody_knows(session: FakeSession, event: Event) -> None:
    await session.send({"type": "something.new", "delta": 7})
    await session.send({"type": "session.updated", "session": None})
    await session.send({"type": "input_audio_buffer.committed", "item_id": "heard_by_nobody"})
    kind = "conversation.item.input_audio_transcription.completed"
    await session.send({"type": kind, "item_id": "nobody", "transcript": "?"})
    await count_words(session, event)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "goes_wrong",
    [
        _refuses,
        _fails,
        _is_silent,
        _stalls,
        _stalls_and_sends_events_that_say_nothing,
        _calls_a_function_with_too_much,
        _calls_a_function_with_a_long_name,
        _sends_no_json,
        _sends_binary,
        _sends_too_much,
        _begins_items_without_end,
        _sends_text_without_end,
        _sends_events_without_end,
        _drops_the_connection,
        _talks_of_other_responses,
        _says_what_nobody_knows,
    ],
)
async def test_an_upstream_that_goes_wrong_is_followed_by_the_next_one(goes_wrong: Any) -> None:
    """The words come all the same, each once."""
    async with fake_upstream(responding=goes_wrong) as first, fake_upstream() as second, relayed(first, second) as call:
        heard = await call.ask(100, 4)
        assert heard.faults == []
        await until(lambda: first.open_sessions + second.open_sessions == 1)
    assert first.open_sessions == second.open_sessions == 0


@pytest.mark.usefixtures("impatient")
async def test_where_every_upstream_fails_the_caller_hears_an_apology_and_the_call_lives() -> None:
    """What is said next is answered, once an upstream answers again."""
    async with fake_upstream(responding=_fails) as upstream, relayed(upstream) as call:
        assert (await call.ask(100, 4)).status == "failed"
        upstream.responding = count_words
        assert (await call.ask(200, 4)).faults == []


@pytest.mark.usefixtures("impatient")
async def test_where_an_apology_is_recorded_it_is_said_and_a_person_offered(tmp_path: Path) -> None:
    """As the pipeline does it; without a voice there is no offer."""
    recording = tmp_path / "sorry.wav"
    with wave.open(str(recording), "wb") as file:
        file.setparams((1, 2, PCM.rate_hz, 0, "NONE", ""))
        file.writeframes(sound_of("sorry"))
    async with (
        fake_upstream(responding=_fails) as upstream,
        relayed(upstream, apology="Sorry.", apology_audio=recording) as call,
    ):
        heard = await call.ask(100, 4)
        assert (heard.status, heard.transcript.strip()) == ("completed", "Sorry.")
        assert words_in(heard.audio) == ["sorry"]
        upstream.responding = count_words
        assert (await call.ask(200, 4)).faults == []


@pytest.mark.usefixtures("impatient")
async def test_an_upstream_that_does_not_greet_is_passed_over() -> None:
    """As one that refuses the handshake, or is not there."""

    async def sending(session: FakeSession, event: Event) -> None:
        if event["type"] != "session.created":
            await as_it_is(session, event)

    async with fake_upstream(sending=sending) as mute, fake_upstream() as other, fake_upstream() as gone:
        gone_url = gone.url
        del gone
        async with relayed(mute, other) as call:
            assert (await call.ask(100, 4)).faults == []
        assert "127.0.0.1" in gone_url


async def test_an_upstream_that_refuses_without_end_is_left_and_fills_no_log() -> None:
    """A few hundred lines, none of them long."""
    upstreams = fake_upstream(responding=_refuses_what_nobody_asked), fake_upstream()
    with structlog.testing.capture_logs() as told:
        async with upstreams[0] as first, upstreams[1] as second, relayed(first, second) as call:
            assert (await call.ask(100, 4)).faults == []
    refused = [len(str(line)) for line in told if line["event"] == "an upstream refused something"]
    assert 0 < len(refused) < 400
    assert max(refused) < 1_000


async def test_an_upstream_that_reads_nothing_is_left_and_its_socket_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where so much waits to be sent that not even the closing frame can be."""
    monkeypatch.setattr(upstream_socket, "SEND_S", 0.3)
    monkeypatch.setattr(upstream_socket, "CLOSE_S", 0.3, raising=False)

    async def talk(server: ServerConnection) -> None:
        server.transport.pause_reading()
        await server.wait_closed()

    async with serve(talk, "127.0.0.1", 0, ping_interval=None, close_timeout=0.1) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        connection = await connect(f"ws://127.0.0.1:{port}", compression=None, ping_interval=None, close_timeout=0.3)
        socket = upstream_socket.UpstreamSocket(connection, "deaf", lambda: False)
        with pytest.raises(UpstreamLost, match="does not read"):
            while True:
                await socket.send("x" * 90_000)
        async with asyncio.timeout(PATIENCE_S):
            await socket.close()
            await connection.wait_closed()
        for one in server.connections:
            one.transport.abort()


async def test_an_upstream_that_floods_has_to_wait() -> None:
    """A reply without end is taken no faster than it is heard: what is held of it is bounded."""
    sent = 0
    audio = base64.b64encode(bytes(96_000)).decode()

    async def floods(session: FakeSession, event: Event) -> None:
        nonlocal sent
        of = {"response_id": "r", "item_id": "i"}
        await session.send({"type": "response.created", "response": {"id": "r"}})
        while True:
            await session.send({"type": "response.output_audio.delta", "delta": audio, **of})
            sent += len(audio)

    async with fake_upstream(responding=floods) as upstream, relayed(upstream, lead_ms=0) as call:
        call.say({"type": "response.create"})
        await until(lambda: sent > reply_source.MAX_WAITING_BYTES)
        most = 4 * (reply_source.MAX_WAITING_BYTES + 4 * dialing.MAX_MESSAGE_BYTES)
        before = -1
        while before != sent:  # Until it has to wait: nothing of it is heard so fast.
            before = sent
            await asyncio.sleep(0.3)
            assert sent < most
        call.say({"type": "response.cancel"})
        await call.event("response.done")
        await until(lambda: upstream.sessions[0].socket.state is State.CLOSED)  # For it does not heed that.


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
async def test_an_upstream_that_sends_a_word_with_each_sample_fills_no_memory() -> None:
    """What little it sends counts as what it takes here."""
    async with (
        fake_upstream(responding=_sends_a_word_with_each_sample) as upstream,
        relayed(upstream, lead_ms=0) as call,
    ):
        call.say({"type": "response.create"})
        tracemalloc.start()
        try:
            await call.event("response.done")
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert most < 64 * 1024 * 1024


@pytest.mark.usefixtures("impatient")
async def test_an_upstream_that_repeats_what_was_said_without_end_is_left() -> None:
    """Nothing of that can be given, so it must not be waited for."""
    async with fake_upstream(responding=_repeats_without_end) as first, fake_upstream() as second:
        async with relayed(first, second) as call:
            heard = await call.ask(100, 4)
        assert heard.faults == []


async def test_an_upstream_that_closes_each_session_at_once_is_not_asked_without_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The pauses grow."""
    monkeypatch.setattr(sessions, "FIRST_PAUSE_S", 0.05)

    async def receiving(session: FakeSession, event: Event) -> None:
        await session.socket.close(1011)

    async with fake_upstream(receiving=receiving) as upstream, relayed(upstream):
        await until(lambda: len(upstream.sessions) >= 4)
        loop = asyncio.get_running_loop()
        began_s, began = loop.time(), len(upstream.sessions)
        await until(lambda: len(upstream.sessions) == began + 2)
        assert loop.time() - began_s > 0.05 * 2 ** (began - 3)


async def test_events_are_answered_in_order_also_where_an_upstream_says_the_audio_first() -> None:
    """Audio in front of its text is said with no text, and the text behind it."""

    async def audio_first(session: FakeSession, event: Event) -> None:
        of = {"response_id": "r", "item_id": "i"}
        await session.send({"type": "response.created", "response": {"id": "r"}})
        item = {"id": "i", "type": "message"}
        await session.send({"type": "response.output_item.added", "response_id": "r", "item": item})
        for word in ("w100", "w101"):
            delta = base64.b64encode(sound_of(word)).decode()
            await session.send({"type": "response.output_audio.delta", "delta": delta, **of})
        await session.send({"type": "response.output_audio_transcript.delta", "delta": "w100 w101 ", **of})
        await session.send({"type": "response.done", "response": {"id": "r", "status": "completed"}})

    async with fake_upstream(responding=audio_first) as upstream, relayed(upstream) as call:
        assert (await call.ask(100, 2)).faults == []
    assert upstream.open_sessions == 0
    assert answer is upstream.receiving


async def test_the_first_audio_is_heard_before_the_upstream_says_more() -> None:
    """Nothing is held back until something else comes."""
    is_heard = asyncio.Event()

    async def waits(session: FakeSession, event: Event) -> None:
        of = {"response_id": "r", "item_id": "i"}
        await session.send({"type": "response.created", "response": {"id": "r"}})
        item = {"id": "i", "type": "message"}
        await session.send({"type": "response.output_item.added", "response_id": "r", "item": item})
        await session.send({"type": "response.output_audio_transcript.delta", "delta": "w100 ", **of})
        delta = base64.b64encode(sound_of("w100")[: PCM.size(100)]).decode()
        await session.send({"type": "response.output_audio.delta", "delta": delta, **of})
        await is_heard.wait()
        delta = base64.b64encode(sound_of("w100")[PCM.size(100) :]).decode()
        await session.send({"type": "response.output_audio.delta", "delta": delta, **of})
        await session.send({"type": "response.done", "response": {"id": "r", "status": "completed"}})

    async with fake_upstream(responding=waits) as upstream, relayed(upstream) as call:
        asking = asyncio.create_task(call.ask(100, 1))
        await until(lambda: len(call.audio()) == PCM.size(100))
        is_heard.set()
        assert (await asking).faults == []
