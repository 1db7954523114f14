"""`voice-agent replay`: arguments only."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from voice_agent import __version__
from voice_agent.call.replaying import MAX_DIFFERENCES, Replayed
from voice_agent.call.replaying import replay as replayed
from voice_agent.cli.options import AsJson
from voice_agent.command_options import with_options
from voice_agent.errors import SettingsError


@dataclass(frozen=True, slots=True)
class ReplayArguments:
    """All options of `voice-agent replay`."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of VOICE_RECORD_INPUTS.")]
    as_json: AsJson = False


@with_options(ReplayArguments)
def replay(given: ReplayArguments) -> None:
    """Give a recording of a call's inputs to the rules again.

    Exit status 0 if every event comes again byte for byte, 1 if not (what differs is printed), 2 if the file cannot be
    read. On the version that recorded, all do; on another, what differs is what that version does otherwise.

    Example: voice-agent replay recordings/call_….1.….inputs
    """
    try:
        recording = given.file.read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot read {given.file}: {error.strerror}.") from error
    found = replayed(recording)
    print(json.dumps({**asdict(found), "identical": found.is_identical}) if given.as_json else in_words(found))
    sys.exit(0 if found.is_identical else 1)


def in_words(found: Replayed) -> str:
    """What became of a recording, for a person."""
    lines = [
        f"{found.call_id}: {found.inputs} inputs and {found.events} events",
        f"recorded by {found.pod}, version {found.version}; this is version {__version__}",
    ]
    for one in found.differences:
        lines += [f"input {one.number}, {one.kind}", f"  was  {one.recorded or '-'}", f"  now  {one.now or '-'}"]
    if len(found.differences) >= MAX_DIFFERENCES:
        lines.append("and no more is compared")
    elif found.is_identical:
        lines.append("every event is the same, byte for byte")
    return "\n".join(lines)
