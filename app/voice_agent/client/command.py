"""`voice-agent call`: talk to a server from recordings, typed turns or the microphone."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from voice_agent.call.audio import PCM, PCMA, PCMU
from voice_agent.client.addresses import PATH, check
from voice_agent.client.backoff import Backoff
from voice_agent.client.connection import RealtimeCall
from voice_agent.client.exchanges import AudioSink, CallListener, Report, SpokenTurn, Typed
from voice_agent.client.lines import CallLines
from voice_agent.client.microphone import Loudspeaker, microphone
from voice_agent.client.refusals import CallFailed
from voice_agent.client.screen import CallScreen
from voice_agent.client.scripted import ScriptedConversation
from voice_agent.client.wav import WavWriter, read_wav
from voice_agent.command_options import one_of, with_options
from voice_agent.errors import SettingsError
from voice_agent.settings import load_settings

SAMPLE = Path(__file__).parent / "samples" / "caller-books.wav"
FORMATS = {"pcm": PCM, "pcmu": PCMU, "pcma": PCMA}


@dataclass(frozen=True, slots=True)
class CallArguments:
    """All options of `voice-agent call`."""

    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where calls go; default: this machine's pod, at VOICE_PORT.")
    ] = None
    wav: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, metavar="FILE", help="A recording to speak; several are turns."),
    ] = None
    text: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="A typed turn, after the recordings; may be repeated.")
    ] = None
    mic: Annotated[bool, typer.Option("--microphone", help="Talk and listen yourself; Ctrl+C hangs up.")] = False
    model: Annotated[str | None, typer.Option(metavar="AGENT", help="The agent to talk to.")] = None
    api_key: Annotated[str | None, typer.Option(envvar="VOICE_API_KEY", metavar="KEY", help="A key of the server.")] = (
        None
    )
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the reply's audio to this WAV file.")] = None
    audio: Annotated[
        str, typer.Option("--format", parser=one_of(*FORMATS), metavar="|".join(FORMATS), help="Audio on the wire.")
    ] = "pcm"
    going_away: Annotated[bool, typer.Option("--going-away", help="Ask to be told before a planned close.")] = False
    timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="How long to wait for a reply, or for a resume.")
    ] = 60.0
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, a summary at the end.")] = False
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only; with --json, the summary only.")] = False


@with_options(CallArguments)
def call(given: CallArguments) -> None:
    """Call a server: speak, print both sides as they are heard, and resume when the connection breaks.

    Exits with 1 if a reply failed, whatever the caller was told in its place.

    Without --wav, --text or --microphone the sample recording is spoken: a caller who wants an appointment.

    Example: voice-agent call --wav samples/caller-books.wav --text "what are your opening hours?" --out reply.wav
    """
    if given.mic and (given.wav or given.text):
        raise SettingsError("--microphone goes without --wav and --text.")
    server = own_pod() if given.url is None else _checked(given.url)
    turns = [] if given.mic else _turns(given.wav or [], given.text or [])
    recorder = None if given.out is None else _recorder(given.out)
    listener = CallLines(sys.stdout, quiet=given.quiet) if given.as_json else CallScreen(Console(), quiet=given.quiet)
    report = Report()
    connection = RealtimeCall(
        server,
        model=given.model,
        api_key=given.api_key,
        audio_format=FORMATS[given.audio],
        going_away=given.going_away,
        backoff=Backoff(given.timeout),
    )
    failure: CallFailed | None = None
    try:
        _talk(given, connection, turns, listener, report, recorder)
    except KeyboardInterrupt:
        pass  # hung up on the way here; what was said is summed up
    except CallFailed as error:
        failure = error
    failure = failure or _fault(connection, report)
    listener.summary(report, connection.call_id, connection.tally, str(failure) if failure else None)
    if failure is not None:
        raise failure


def _talk(
    given: CallArguments,
    connection: RealtimeCall,
    turns: Sequence[SpokenTurn | Typed],
    listener: CallListener,
    report: Report,
    recorder: WavWriter | None,
) -> None:
    """Have the call to its end; recording and loudspeaker are closed whatever becomes of it."""
    chosen = FORMATS[given.audio]
    with ExitStack() as until_the_end:
        sinks: list[AudioSink] = []
        if recorder is not None:
            sinks.append(until_the_end.enter_context(closing(recorder)))
        if given.mic:
            sinks.append(until_the_end.enter_context(closing(Loudspeaker())))
        conversation = ScriptedConversation(
            connection, listener, report, audio_format=chosen, reply_within_s=given.timeout, sinks=sinks
        )
        asyncio.run(_have(conversation, connection, turns, microphone(chosen) if given.mic else None))


def _fault(connection: RealtimeCall, report: Report) -> CallFailed | None:
    """What was wrong with a call that came to its end."""
    tally = connection.tally
    if tally.gaps or tally.repeats:
        return CallFailed(f"{tally.gaps} events were missing and {tally.repeats} came twice")
    if report.failures:
        return CallFailed(f"{_replies(len(report.failures))} failed: {report.failures[0]}")
    return None


def _replies(count: int) -> str:
    return "a reply" if count == 1 else f"{count} replies"


async def _have(
    conversation: ScriptedConversation,
    connection: RealtimeCall,
    turns: Sequence[SpokenTurn | Typed],
    voice: AsyncIterator[bytes] | None,
) -> None:
    async with connection:
        await conversation.run(turns, voice)


def own_pod() -> str:
    """Where this machine's own pod takes calls, by the settings it would be started with."""
    settings, _ = load_settings(for_server=False)
    return f"{settings.ws_url}{PATH}"


def _checked(url: str) -> str:
    try:
        check(url)
    except CallFailed as error:
        raise SettingsError(f"--url: {error}") from None
    return url


def _turns(recordings: Sequence[Path], texts: Sequence[str]) -> list[SpokenTurn | Typed]:
    turns: list[SpokenTurn | Typed] = []
    for path in recordings or ([] if texts else [SAMPLE]):
        try:
            turns.append(SpokenTurn(path.name, read_wav(path)))
        except CallFailed as error:
            raise SettingsError(f"--wav: {error}") from None
    return [*turns, *(Typed(text) for text in texts)]


def _recorder(path: Path) -> WavWriter:
    try:
        return WavWriter(path)
    except OSError as error:
        raise SettingsError(f"--out: cannot write {path}: {error.strerror}") from None
