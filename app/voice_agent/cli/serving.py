"""`voice-agent serve`: arguments only."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from voice_agent import __version__
from voice_agent.cli.options import StoreUrl
from voice_agent.command_options import with_options
from voice_agent.settings import Settings, load_settings


@dataclass(frozen=True, slots=True)
class ServeArguments:
    """All options of `voice-agent serve`; those that are not given are left to VOICE_* variables."""

    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = None
    port: Annotated[int | None, typer.Option(metavar="PORT", help="Port to listen on.")] = None
    color: Annotated[str | None, typer.Option(metavar="LABEL", help="blue, green or any short label.")] = None
    pod: Annotated[str | None, typer.Option(metavar="NAME", help="This pod's name in the fleet.")] = None
    workers: Annotated[int | None, typer.Option(metavar="N", help="Processes on the port; 0: one per core.")] = None
    store: StoreUrl = None
    agent: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|FILE:CLASS", help="An agent to serve, several times; the first is the default."),
    ] = None
    reload: Annotated[
        bool, typer.Option("--reload", help="Load agents anew when their files change, for development.")
    ] = False
    log_format: Annotated[str | None, typer.Option(metavar="json|console", help="How log lines look.")] = None
    log_level: Annotated[
        str | None, typer.Option(metavar="debug|info|warning|error", help="The least important log lines to write.")
    ] = None
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen beyond loopback without keys.")] = False


@with_options(ServeArguments)
def serve(given: ServeArguments) -> None:
    """Run a pod. Options win over VOICE_* variables, which set everything else too.

    Example: voice-agent serve --port 8081 --color green --store redis://localhost:6379/0
    """
    from voice_agent import hosting

    settings, warnings = load_settings(
        insecure=given.insecure,
        host=given.host,
        port=given.port,
        color=given.color,
        pod=given.pod,
        workers=given.workers,
        store_url=given.store,
        agent=tuple(given.agent) if given.agent else None,
        reload=given.reload or None,
        log_format=given.log_format,
        log_level=given.log_level,
    )
    status = hosting.serve(settings, warnings, on_started=lambda: print(welcome(settings), flush=True))
    if status:
        raise typer.Exit(status)


def welcome(settings: Settings) -> str:
    """What to know and try once the server runs."""
    command = _own_command()
    # Which of its addresses others reach this machine by, they know better.
    beyond = f"\nand at port {settings.port} of every address of this machine" if settings.listens_everywhere else ""
    return f"""
voice-agent {__version__}: {settings.color} pod {settings.pod} takes calls at {settings.ws_url}/v1/realtime{beyond}

Try, in another terminal:
  {command} call --url {settings.ws_url}/v1/realtime     talk to it
  curl {settings.http_url}/healthz/realtime     ask how it is
  {command} fleet --url {settings.http_url}     see every pod
Ctrl+C hands its calls over and leaves; a second one leaves at once.
"""


def _own_command() -> str:
    """How the user reaches this program from another terminal, where no environment may be active: by its path."""
    path = Path(sys.argv[0]).absolute()
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path) if path.name == "voice-agent" else "voice-agent"
