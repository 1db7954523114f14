"""`voice-agent edge`: arguments only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from voice_agent import __version__
from voice_agent.command_options import with_options
from voice_agent.edge_settings import EdgeSettings, load_edge_settings


@dataclass(frozen=True, slots=True)
class EdgeArguments:
    """All options of `voice-agent edge`; those that are not given are left to VOICE_EDGE_* variables."""

    to: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="Where pods are, such as ws://lb:8080; several take turns.")
    ] = None
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = None
    port: Annotated[int | None, typer.Option(metavar="PORT", help="Port to listen on.")] = None
    max_calls: Annotated[int | None, typer.Option(metavar="N", help="Callers that may be held at once.")] = None
    patience: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="How long a caller is held while no pod can be had.")
    ] = None
    log_format: Annotated[str | None, typer.Option(metavar="json|console", help="How log lines look.")] = None
    log_level: Annotated[
        str | None, typer.Option(metavar="debug|info|warning|error", help="The least important log lines to write.")
    ] = None


@with_options(EdgeArguments)
def edge(given: EdgeArguments) -> None:
    """Hold callers' connections in front of the pods, and resume their calls without their knowing.

    Example: voice-agent edge --to ws://localhost:8081 --to ws://localhost:8082 --port 8080
    """
    from voice_agent import bootstrap_edge
    from voice_agent.observe.logs import configure_logs

    settings = load_edge_settings(
        to=tuple(given.to) if given.to else None,
        host=given.host,
        port=given.port,
        max_calls=given.max_calls,
        patience=given.patience,
        log_format=given.log_format,
        log_level=given.log_level,
    )
    configure_logs(form=settings.log_format, level=settings.log_level, pod=settings.name, color="edge")
    bootstrap_edge.serve(settings, on_started=lambda: print(welcome(settings), flush=True))


def welcome(settings: EdgeSettings) -> str:
    """What to know once the edge runs."""
    pods = ", ".join(settings.to)
    return f"""
voice-agent {__version__}: edge {settings.name} holds callers at port {settings.port}, in front of {pods}
Ctrl+C sends callers away who can come back, and leaves with the last; a second one leaves at once.
"""
