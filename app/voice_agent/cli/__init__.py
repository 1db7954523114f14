"""The command line: arguments in, text out; the work is done elsewhere.

A command's module is imported when the command is run: a server does not load what an
operator needs, nor the other way round, and `--help` loads neither.

Exit status: 0 done, 1 it did not work, 2 wrong arguments or settings; `cutover` says more
(`voice_agent.operate.plan.Exit`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from voice_agent import __version__
from voice_agent.errors import VoiceAgentError

COMMANDS = {
    "serve": ("voice_agent.cli.serving", "Run a pod."),
    "new": (
        "voice_agent.cli.creating",
        "Write a package with an agent of your own: its class, its settings and a test that kills its pods.",
    ),
    "edge": (
        "voice_agent.cli.fronting",
        "Hold callers' connections in front of the pods, and resume their calls without their knowing.",
    ),
    "call": (
        "voice_agent.client.command",
        "Call a server: speak, print both sides as they are heard, and resume when the connection breaks.",
    ),
    "smoke": (
        "voice_agent.operate.command",
        "Make a real spoken call to one color, lose its connection in mid-sentence, and see it resumed.",
    ),
    "cutover": (
        "voice_agent.operate.command",
        "Move all callers to the other color: smoke call, weights, drain, and a rollback by itself if it goes wrong.",
    ),
    "rehearse": (
        "voice_agent.rehearse.command",
        "Cut over from blue to green and back on this machine, with live calls, a faulty release and a crash.",
    ),
    "drain": (
        "voice_agent.cli.operating",
        "Take no new calls and let those under way go: of one pod, or of a whole color.",
    ),
    "evacuate": (
        "voice_agent.cli.moving",
        "Empty pods before their node goes: they take nothing new, and calls that can move go to other pods.",
    ),
    "rebalance": (
        "voice_agent.cli.moving",
        "Move some calls: from pods that have more than their share, or whose loop lags, to those that have less.",
    ),
    "replay": (
        "voice_agent.cli.replaying",
        "Give a recording of a call's inputs to the rules again, or all recordings of a folder.",
    ),
    "fleet": ("voice_agent.cli.operating", "Show every pod of every color, and what each color adds up to."),
}
"""The module of each command, in which a function of its name is; and how that function's docstring begins."""

STORE_TOOLS = ("cutover", "drain", "evacuate", "fleet", "rebalance")
"""Commands that talk to a store, whose code logs what it passes over."""

LOOK = {"add_completion": False, "pretty_exceptions_enable": False, "rich_markup_mode": None}


class LazyGroup(TyperGroup):
    """Knows its commands by name and first sentence, and loads the one that is run."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command, loaded; what typer says about names that nobody knows stays."""
        name, known, rest = super().resolve_command(ctx, args)
        return name, known and load(known.name or ""), rest


def load(name: str) -> Any:
    """The command of a name, as click runs it."""
    if name in STORE_TOOLS:
        import structlog

        # Standard output is for what a command says, often to scripts. Looked up for each line: it may be redirected.
        structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    alone = typer.Typer(**LOOK)  # type: ignore[arg-type]
    alone.command(name)(function(name))
    return typer.main.get_command(alone)


def function(name: str) -> Callable[..., None]:
    """What a command does."""
    done: Callable[..., None] = getattr(import_module(COMMANDS[name][0]), name)
    return done


cli = typer.Typer(
    name="voice-agent",
    help="A realtime voice-agent server whose calls outlive the pods that serve them.",
    cls=LazyGroup,
    no_args_is_help=True,
    **LOOK,  # type: ignore[arg-type]
)


def _only_listed() -> None:
    """Stands for a command in the list of them."""


for _name, (_, _summary) in COMMANDS.items():
    cli.command(_name, help=_summary)(_only_listed)


@cli.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """A realtime voice-agent server whose calls outlive the pods that serve them."""
    if version:
        print(f"voice-agent {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point of `voice-agent`; errors that a user can mend are one line."""
    try:
        cli()
    except VoiceAgentError as error:
        _fail(error)


def _fail(error: VoiceAgentError) -> NoReturn:
    sys.stderr.write(f"voice-agent: {error}\n")
    raise SystemExit(int(error.exit_status))


if __name__ == "__main__":
    main()
