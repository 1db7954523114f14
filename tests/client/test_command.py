"""`voice-agent call`, as a process, against the scripted server; and whole conversations in this one.

Tests of `exchanges`, `lines`, `options`, `playback`, `refusals`, `replies`, `screen` and `scripted`, too.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from tests import forked
from tests.client.answering import REPLY_MS, Answering
from tests.client.scripted import (
    BYTES_PER_MS,
    CALL_ID,
    ImpatientBackoff,
    Script,
    ScriptedServer,
    finish,
    leave,
    running,
)
from tests.client.test_wav import tone, wav_file
from tests.waiting import PATIENCE_S
from voice_agent.call.audio import PCM
from voice_agent.client.connection import RealtimeCall, ResumedConnection
from voice_agent.client.exchanges import Exchange, Report, SpokenTurn, Typed
from voice_agent.client.refusals import CallFailed
from voice_agent.client.scripted import ScriptedConversation
from voice_agent.client.wav import read_wav

QUIET = {name: value for name, value in os.environ.items() if not name.startswith("VOICE_")}
SPEECH = bytes(PCM.size(40)) + tone(24_000, 300, 100) + bytes(PCM.size(60))


class Notes:
    """A listener that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def connected(self, call: RealtimeCall) -> None:
        self.told.append(("connected", call.call_id))

    def speaking(self, name: str, done_ms: int, total_ms: int) -> None:
        if done_ms >= total_ms:
            self.told.append(("spoke", name))

    def heard(self, exchange: Exchange) -> None:
        self.told.append(("heard", exchange.heard))

    def answered(self, exchange: Exchange) -> None:
        self.told.append(("answered", exchange.answered))

    def waiting(self, code: int, reason: str) -> None:
        self.told.append(("waiting", code))

    def resumed(self, resumed: ResumedConnection) -> None:
        self.told.append(("resumed", resumed.color))

    def going_away(self, time_left_ms: int) -> None:
        self.told.append(("going_away", time_left_ms))

    def failed(self, message: str) -> None:
        self.told.append(("error", message))


class Ears:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.pcm = b""
        self.interruptions = 0

    def write(self, pcm: bytes) -> None:
        self.pcm += pcm

    def interrupt(self) -> None:
        self.interruptions += 1


async def converse(
    server: ScriptedServer,
    turns: list[SpokenTurn | Typed],
    voice: AsyncIterator[bytes] | None = None,
    *,
    ears: Ears | None = None,
    within_s: float = 5.0,
) -> tuple[Report, Notes, RealtimeCall]:
    notes, report = Notes(), Report()
    call = RealtimeCall(server.url, backoff=ImpatientBackoff())
    async with call:
        talk = ScriptedConversation(call, notes, report, reply_within_s=within_s, sinks=[ears] if ears else [])
        await talk.run(turns, voice)
    return report, notes, call


def answering(**options: Any) -> tuple[ScriptedServer, Answering]:
    server = ScriptedServer(finish)
    agent = Answering(server)
    for name, value in options.items():
        setattr(agent, name, value)
    server.scripts[0] = agent.connection
    return server, agent


async def test_turns_wait_for_the_reply_to_the_one_before() -> None:
    """Two recordings and a typed turn: each is said once the reply was heard, and silence fills the line."""
    server, _ = answering()
    ears = Ears()
    async with running(server):
        report, notes, call = await converse(
            server, [SpokenTurn("a", SPEECH), SpokenTurn("b", SPEECH), Typed("bye")], ears=ears
        )
    said, answered = ("heard", "what [/was] said"), ("answered", "as [you] say")
    assert notes.told == [
        ("connected", CALL_ID),
        *[step for name in "ab" for step in [("spoke", name), said, answered]],
        ("heard", "bye"),
        answered,
    ]
    assert [turn.color for turn in report.exchanges] == ["blue"] * 3
    assert report.reply_ms == 3 * REPLY_MS
    assert ears.pcm == b"\x10\x20" * (3 * REPLY_MS * 24)
    assert server.heard.count(SPEECH) == 2
    assert (call.tally.gaps, call.tally.repeats) == (0, 0)
    assert server.close_codes == [1000]


async def test_latency_counts_from_the_end_of_speech_in_the_recording() -> None:
    """The agent answers 100 ms after the last loud frame; the silence at the recording's end is not counted off."""
    server, _ = answering()
    async with running(server):
        report, _, _ = await converse(server, [SpokenTurn("a", SPEECH)])
    latency_s = report.exchanges[0].latency_s
    assert latency_s is not None
    assert latency_s >= 0.08


async def test_a_conversation_goes_on_over_a_break() -> None:
    """The pod dies in the middle of a recording: the turn arrives whole, and is answered by the next color."""
    server, _ = answering()

    async def die_while_listening(server: ScriptedServer, socket: ServerConnection) -> None:
        await server.greet(socket)
        await server.take(socket, 1)
        await server.send_from(socket, 0)
        await server.take(socket, 5)
        server.color = "green"
        await leave(socket, "abort")

    server.scripts.appendleft(die_while_listening)
    server.keep_bytes = 20 * BYTES_PER_MS
    async with running(server):
        report, notes, call = await converse(server, [SpokenTurn("a", SPEECH)])
    assert ("resumed", "green") in notes.told
    assert report.exchanges[0].color == "green"
    assert SPEECH in bytes(server.heard)
    assert (call.tally.resumes, call.tally.gaps, call.tally.repeats) == (1, 0, 0)
    assert call.tally.resent_ms > 0


async def test_a_reply_to_half_a_turn_is_not_timed() -> None:
    """The agent answers a pause in the middle of the recording; the latency is that of the answer to all of it."""
    server, _ = answering()
    halves = tone(24_000, 300, 100) + bytes(PCM.size(200)) + tone(24_000, 300, 100) + bytes(PCM.size(20))
    async with running(server):
        report, notes, _ = await converse(server, [SpokenTurn("a", halves)])
    assert notes.told.count(("answered", "as [you] say")) == 2
    assert report.exchanges[0].heard == "what [/was] said what [/was] said"
    latency_s = report.exchanges[0].latency_s
    assert latency_s is not None
    assert latency_s >= 0.08


async def test_audio_of_an_early_reply_that_runs_on_is_not_timed() -> None:
    """It began before the turn was over, so its audio after that is no answer to the turn."""
    server, agent = answering()
    frames = 0

    def listen(audio: bytes) -> None:
        nonlocal frames
        frames += 1
        if frames < 15:
            agent._emit("response.output_audio.delta", response_id="early", delta="")
        elif frames == 15:
            agent.reply()

    agent._listen = listen  # type: ignore[method-assign]  # this agent does not wait for silence
    async with running(server):
        report, _, _ = await converse(server, [SpokenTurn("a", SPEECH)])
    latency_s = report.exchanges[0].latency_s
    assert latency_s is not None
    assert latency_s > 0.1  # speech ends with the 7th frame, the reply begins with the 15th


async def test_the_agent_may_hang_up_after_the_last_turn_but_not_before() -> None:
    """After its goodbye that is a good end; with turns left it is told."""
    server, _ = answering(hang_up_after=1)
    async with running(server):
        report, _, _ = await converse(server, [SpokenTurn("a", SPEECH)])
    assert report.exchanges[0].answered == "as [you] say"
    server, _ = answering(hang_up_after=1)
    async with running(server):
        with pytest.raises(CallFailed, match="hung up before the conversation was over"):
            await converse(server, [SpokenTurn("a", SPEECH), Typed("more")])


async def microphone_of(frames: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(frames), 960):
        yield frames[at : at + 960]
    await asyncio.Event().wait()


async def test_a_microphone_makes_a_turn_of_each_utterance() -> None:
    """Each with its own words and latency; the agent's hang-up ends the call."""
    server, _ = answering(hang_up_after=2)
    pause = bytes(PCM.size(120))
    async with running(server):
        report, _, _ = await converse(server, [], microphone_of((SPEECH + pause) * 2))
    assert [(turn.heard, turn.answered) for turn in report.exchanges] == [("what [/was] said", "as [you] say")] * 2
    assert all(turn.latency_s is not None and turn.latency_s > 0 for turn in report.exchanges)


def saying(*events: dict[str, Any]) -> Script:
    """Answers the first client event with these; an error names that event."""

    async def script(server: ScriptedServer, socket: ServerConnection) -> None:
        await server.greet(socket)
        await server.take(socket, 1)
        for event in events:
            fields = {name: value for name, value in event.items() if name != "type"}
            if event["type"] == "error":
                fields["error"] = {"event_id": server.seen[0], **fields["error"]}
            server.emit(event["type"], **fields)
        await server.send_from(socket, 0)
        await server.take(socket)

    return script


TAKEN = {"type": "session.updated"}


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([], "did not take the session's settings within 1 s"),
        ([{"type": "error", "error": {"message": "no such format"}}], "refused the session's settings: no such format"),
        ([TAKEN], "no reply within 1 s"),
        ([TAKEN, {"type": "response.output_audio.delta"}], "output_audio.delta event that is not"),
        ([TAKEN, {"type": "response.done", "response": []}], "response.done event that is not"),
    ],
)
async def test_a_server_that_does_not_answer_as_it_should_is_told(events: list[dict[str, Any]], words: str) -> None:
    """In one line, and never by waiting for ever."""
    async with running(ScriptedServer(saying(*events))) as server:
        with pytest.raises(CallFailed, match=words):
            await converse(server, [Typed("hello")], within_s=1.0)


async def test_announcements_and_failures_of_the_server_are_passed_on() -> None:
    """A planned close, an error, a reply that failed, and a caller who speaks into the reply."""
    failed = {"id": "r", "status": "failed", "status_details": {"error": {"message": "the agent broke"}}}

    async def then_fail(server: ScriptedServer, socket: ServerConnection) -> None:
        await server.greet(socket)
        await server.take(socket, 1)
        server.emit("session.updated")
        server.emit("call.going_away", time_left_ms=900)
        server.emit("input_audio_buffer.speech_started")
        server.emit("error", error={"message": "no such item", "event_id": None})
        await server.send_from(socket, 0)
        while ("response.create", len(server.heard)) not in server.applied:
            await server.take(socket, 1)
        server.emit("response.done", response=failed)
        await server.send_from(socket, 4)
        await server.take(socket)

    ears = Ears()
    async with running(ScriptedServer(then_fail)) as server:
        _, notes, _ = await converse(server, [Typed("hello")], ears=ears)
    assert ("going_away", 900) in notes.told
    assert ("error", "no such item") in notes.told
    assert ("error", "the agent broke") in notes.told
    assert ears.interruptions == 1


# --- as a process -------------------------------------------------------------------


async def start(*arguments: str, **variables: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "voice_agent", "call", *arguments), stdout=-1, stderr=-1, env=QUIET | variables
    )


async def run(*arguments: str, **variables: str) -> tuple[int | None, str, str]:
    """Exit status, standard output, standard error."""
    done = await asyncio.to_thread(forked.run, ["call", *arguments], QUIET | variables)
    return done.returncode, done.stdout, done.stderr


async def test_json_is_one_object_a_line_and_the_reply_is_written(tmp_path: Path) -> None:
    """Scripts read every line; the last is the summary. The key comes from the environment."""
    server, _ = answering()
    recording, reply = str(wav_file(tmp_path / "in.wav", SPEECH)), tmp_path / "out.wav"
    async with running(server):
        arguments = ["--url", server.url, "--wav", recording, "--text", "bye", "--out", str(reply), "--json"]
        status, out, err = await run(*arguments, VOICE_API_KEY="key-7")
    assert (status, err) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    expected = ["connected", "speaking", "spoke", "heard", "answered", "heard", "answered", "summary"]
    assert [line["event"] for line in lines] == expected
    assert all(line["at_ms"] > 1_700_000_000_000 for line in lines)
    summary = lines[-1]
    assert (summary["call_id"], summary["failed"], summary["gaps"], summary["repeats"]) == (CALL_ID, None, 0, 0)
    assert [turn["heard"] for turn in summary["turns"]] == ["what [/was] said", "bye"]
    assert summary["reply_ms"] == 2 * REPLY_MS
    assert read_wav(reply) == b"\x10\x20" * (2 * REPLY_MS * 24)
    assert server.requests[0].headers["Authorization"] == "Bearer key-7"


async def test_people_see_both_sides_and_a_summary() -> None:
    """Words are printed as they are, whatever brackets they hold."""
    server, _ = answering()
    async with running(server):
        status, out, err = await run("--url", server.url, "--text", "see [/here]")
    assert (status, err) == (0, "")
    assert "caller  see [/here]" in out
    assert "agent   as [you] say (after" in out
    assert f"connected: {CALL_ID} on the blue pod blue-1" in out
    assert "0 missing, 0 repeated; 0 resumes" in out


async def test_quiet_prints_nothing() -> None:
    """Only errors would be."""
    server, _ = answering()
    async with running(server):
        assert await run("--url", server.url, "--text", "hello", "--quiet") == (0, "", "")


async def test_a_failed_call_is_one_line_and_status_1() -> None:
    """The reason on standard error; in JSON the summary has it too."""
    async with running(ScriptedServer(finish)) as server:
        server.refusals.append((401, {}, b'{"error":{"message":"who are you"}}'))
        status, out, err = await run("--url", server.url, "--text", "hello", "--json")
        url = server.url
    assert (status, err.count("\n")) == (1, 1)
    assert err.startswith("voice-agent: refused with 401: who are you (pass a key")
    assert json.loads(out)["failed"] == err.removeprefix("voice-agent: ").strip()
    status, out, err = await run("--url", url, "--text", "hello")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "voice-agent serve" in err


async def test_a_reply_that_failed_fails_the_call() -> None:
    """Though the caller heard something: an apology is no answer. In JSON its turn says so, and the summary."""
    server, _ = answering(error="the agent broke")
    async with running(server):
        status, out, err = await run("--url", server.url, "--text", "hello", "--text", "bye", "--json")
    assert status == 1
    assert err == "voice-agent: 2 replies failed: the agent broke\n"
    summary = json.loads(out.splitlines()[-1])
    assert [turn["failed"] for turn in summary["turns"]] == ["the agent broke"] * 2
    assert [turn["answered"] for turn in summary["turns"]] == ["as [you] say"] * 2
    assert summary["failed"] == "2 replies failed: the agent broke"
    assert summary["failures"] == ["the agent broke"] * 2


async def test_events_that_came_twice_fail_the_call() -> None:
    """A conversation that seems fine is not, if the server repeated a number."""
    server, agent = answering()
    async with running(server):
        agent._emit("test.event")
        server.outbox[-1]["event_id"] = "evt_0"
        status, _, err = await run("--url", server.url, "--text", "hello")
    assert status == 1
    assert "1 came twice" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--wav", "nosuch.wav"), "does not exist"),
        (("--wav", "{tmp}/bad.wav"), "voice-agent: --wav: cannot read"),
        (("--out", "{tmp}/no/such/folder.wav", "--text", "x"), "voice-agent: --out: cannot write"),
        (("--microphone", "--text", "x"), "voice-agent: --microphone goes without"),
        (("--format", "mp3"), "'mp3' is none of: pcm, pcmu, pcma"),
        (("--timeout", "0"), "timeout"),
        (("--url", "http://host:1"), "try ws://host:1/v1/realtime"),
        (("--url", ""), "voice-agent: --url: the server's address is empty"),
    ],
)
async def test_wrong_arguments_are_status_2(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    """Before anybody is called, in words of ours."""
    (tmp_path / "bad.wav").write_bytes(b"no recording")
    status, out, err = await run("--url", "ws://127.0.0.1:1", *(one.format(tmp=tmp_path) for one in arguments))
    assert (status, out) == (2, "")
    assert words in " ".join(err.split())
    assert "Traceback" not in err
    assert "Value error" not in err
    assert err.count("\n") == 1 or err.startswith("Usage: ")


async def test_a_reply_that_cannot_be_written_ends_the_call_in_words() -> None:
    """The disk fills up: one line, status 1, and the summary has it."""
    server, _ = answering()
    async with running(server):
        status, out, err = await run("--url", server.url, "--text", "hello", "--out", "/dev/full", "--json")
    assert (status, err) == (1, "voice-agent: cannot write /dev/full: No space left on device\n")
    assert json.loads(out.splitlines()[-1])["failed"] == err.removeprefix("voice-agent: ").strip()


async def test_without_a_url_it_calls_this_machines_pod() -> None:
    """At VOICE_PORT, as the other commands do; a pod that listens everywhere is on loopback, too."""
    server, _ = answering()
    async with running(server):
        status, _, err = await run("--text", "hello", VOICE_PORT=str(server.port), VOICE_HOST="0.0.0.0")
    assert (status, err) == (0, "")
    assert server.requests[0].path.startswith("/v1/realtime?")


async def test_help_names_what_each_option_takes() -> None:
    """In words, not in the types of a programming language."""
    status, out, _ = await run("--help")
    assert status == 0
    assert "--wav FILE" in out
    assert "list[" not in out
    assert "<str>" not in out


async def test_ctrl_c_hangs_up() -> None:
    """The server hears 1000, not a broken connection, and what was said is summed up."""
    async with running(ScriptedServer(saying(TAKEN))) as server:
        process = await start("--url", server.url, "--text", "hello", "--json")
        await server.until(lambda: len(server.applied) == 3)
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        await server.until(lambda: bool(server.close_codes))
    assert server.close_codes == [1000]
    assert (process.returncode, err) == (0, b"")
    assert json.loads(out.splitlines()[-1])["turns"][0]["heard"] == "hello"
