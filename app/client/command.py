"""`voice-agent call`: talk to a server from recordings, typed turns or the microphone."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from app.call.audio import PCM, PCMA, PCMU
from app.client.connection import RealtimeCall
from app.client.microphone import loudspeaker, microphone
from app.client.refusals import CallFailed
from app.client.talk import Exchange, Report, Spoken, Talk, Typed
from app.client.wav import read_wav, write_wav

SAMPLE = Path(__file__).parents[2] / "samples" / "caller-books.wav"
FORMATS = {"pcm": PCM, "pcmu": PCMU, "pcma": PCMA}


class Printed:
    """Both sides of the conversation as it goes, for people."""

    def __init__(self, console: Console, *, quiet: bool, speaker: Any = None) -> None:
        self._console = console
        self._began_s = time.monotonic()
        self._speaker = speaker
        self._progress = Progress(
            TextColumn("         {task.description}"),
            BarColumn(bar_width=30),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        )
        self._quiet = quiet
        self._task: Any = None

    def _line(self, text: str) -> None:
        if not self._quiet:
            self._console.print(f"[dim]{time.monotonic() - self._began_s:6.1f} s[/]  {text}", highlight=False)

    def connected(self, call: RealtimeCall) -> None:
        where = f" on the {call.color} pod {call.pod}" if call.pod else ""
        self._line(f"[dim]connected: {call.call_id or 'a call'}{where}[/]")

    def speaking(self, name: str, done_ms: int, total_ms: int) -> None:
        if self._task is None:
            self._progress.start()
            self._task = self._progress.add_task(f"speaking {name}", total=total_ms)
        self._progress.update(self._task, completed=done_ms)
        if done_ms >= total_ms:
            self._progress.remove_task(self._task)
            self._progress.stop()
            self._task = None

    def heard(self, exchange: Exchange) -> None:
        self._line(f"[bold]caller[/]  {exchange.heard or '[dim](not understood)[/]'}")

    def answered(self, exchange: Exchange) -> None:
        late = "" if exchange.latency_s is None else f" [dim](after {exchange.latency_s * 1000:.0f} ms)[/]"
        color = exchange.color if exchange.color in ("blue", "green") else "cyan"
        self._line(f"[bold {color}]agent[/]   {exchange.answered}{late}")

    def resumed(self, call: RealtimeCall) -> None:
        last = call.resumed[0]
        self._line(
            f"[yellow]connection lost ({last.code}); resumed on the {last.color} pod {last.pod} "
            f"after {last.break_s * 1000:.0f} ms[/]"
        )

    def mistake(self, message: str) -> None:
        self._line(f"[red]error[/]   {message}")

    def audio(self, pcm: bytes) -> None:
        if self._speaker is not None:
            self._speaker.write(pcm)

    def summary(self, report: Report) -> None:
        if self._quiet:
            return
        table = Table("turn", "caller", "agent", "first answer after", "served by", box=None, pad_edge=False)
        for number, turn in enumerate(report.exchanges, 1):
            late = "-" if turn.latency_s is None else f"{turn.latency_s * 1000:.0f} ms"
            table.add_row(str(number), turn.heard or "-", turn.answered or "-", late, turn.color or "-")
        self._console.print()
        self._console.print(table)
        self._console.print(
            f"{report.events} events, {report.gaps} missing, {report.repeats} repeated; "
            f"{report.resumes} resumes, {report.resent_ms} ms of audio sent again; "
            f"sending was at most {report.worst_lag_ms:.0f} ms late",
            highlight=False,
        )


class Lines:
    """One JSON object a line, for scripts."""

    def _write(self, event: str, **more: Any) -> None:
        sys.stdout.write(orjson.dumps({"event": event, "at_ms": time.time_ns() // 1_000_000, **more}).decode() + "\n")
        sys.stdout.flush()

    def connected(self, call: RealtimeCall) -> None:
        self._write("connected", call_id=call.call_id, color=call.color, pod=call.pod)

    def speaking(self, name: str, done_ms: int, total_ms: int) -> None:
        if done_ms in (0, total_ms):
            self._write("speaking" if done_ms == 0 else "spoke", turn=name)

    def heard(self, exchange: Exchange) -> None:
        self._write("heard", text=exchange.heard)

    def answered(self, exchange: Exchange) -> None:
        self._write("answered", text=exchange.answered, latency_s=exchange.latency_s, color=exchange.color)

    def resumed(self, call: RealtimeCall) -> None:
        last = call.resumed[0]
        self._write("resumed", code=last.code, color=last.color, pod=last.pod, break_s=last.break_s)

    def mistake(self, message: str) -> None:
        self._write("error", message=message)

    def audio(self, pcm: bytes) -> None:
        """Too much for a line."""

    def summary(self, report: Report) -> None:
        turns = [
            {"heard": turn.heard, "answered": turn.answered, "latency_s": turn.latency_s, "color": turn.color}
            for turn in report.exchanges
        ]
        self._write(
            "summary",
            call_id=report.call_id,
            turns=turns,
            resumes=report.resumes,
            events=report.events,
            gaps=report.gaps,
            repeats=report.repeats,
            resent_ms=report.resent_ms,
            reply_ms=PCM.ms(len(report.reply_pcm)),
            worst_lag_ms=report.worst_lag_ms,
        )


def call(
    url: Annotated[str, typer.Option(help="Where the server is.")] = "ws://127.0.0.1:8080/v1/realtime",
    wav: Annotated[list[Path] | None, typer.Option(help="A recording to speak; several are turns.")] = None,
    text: Annotated[list[str] | None, typer.Option(help="A typed turn, after the recordings.")] = None,
    mic: Annotated[bool, typer.Option("--microphone", help="Talk and listen yourself; Ctrl+C hangs up.")] = False,
    model: Annotated[str | None, typer.Option(help="The agent to talk to.")] = None,
    api_key: Annotated[str | None, typer.Option(envvar="VOICE_API_KEY", help="A key of the server.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the reply's audio to this WAV file.")] = None,
    audio: Annotated[Literal["pcm", "pcmu", "pcma"], typer.Option("--format", help="Audio on the wire.")] = "pcm",
    going_away: Annotated[bool, typer.Option("--going-away", help="Ask to be told before a planned close.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for a reply, or for a resume.")] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, a summary at the end.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
) -> None:
    """Call a server: speak, print both sides as they are heard, and resume when the connection breaks.

    Without --wav, --text or --microphone the sample recording is spoken: a caller who wants an appointment.

    Example: voice-agent call --wav samples/caller-books.wav --text "what are your opening hours?" --out reply.wav
    """
    turns: list[Spoken | Typed] = [Spoken(path.name, read_wav(path)) for path in wav or []]
    turns += [Typed(line) for line in text or []]
    if not turns and not mic:
        turns = [Spoken(SAMPLE.name, read_wav(SAMPLE))]
    console = Console()
    listener: Any = Lines() if as_json else Printed(console, quiet=quiet, speaker=loudspeaker() if mic else None)

    async def run() -> Report:
        chosen = FORMATS[audio]
        async with RealtimeCall(
            url, model=model, api_key=api_key, audio_format=chosen, going_away=going_away, come_back_for_s=timeout
        ) as connected:
            talk = Talk(connected, listener, audio_format=chosen, reply_within_s=timeout)
            try:
                return await talk.run(turns, microphone() if mic else None)
            finally:
                if out is not None:
                    write_wav(out, bytes(talk.report.reply_pcm))

    try:
        report = asyncio.run(run())
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    listener.summary(report)
    if report.gaps or report.repeats:
        raise CallFailed(f"{report.gaps} events were missing and {report.repeats} came twice")
