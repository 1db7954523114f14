"""`voice-agent replay`: arguments, and what is told."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from voice_agent import __version__
from voice_agent.call.replaying import MAX_DIFFERENCES, Replayed
from voice_agent.call.replaying import replay as replayed
from voice_agent.cli.options import AsJson
from voice_agent.command_options import with_options
from voice_agent.errors import RecordingUnreadable, SettingsError
from voice_agent.runtime.recordings import SUFFIX

MOST_TOLD = 10
"""Recordings of a folder that differ, in words: what one version does otherwise, it does in most of them."""


@dataclass(frozen=True, slots=True)
class ReplayArguments:
    """All options of `voice-agent replay`."""

    path: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="A file of VOICE_RECORD_INPUTS, or the folder.")]
    as_json: AsJson = False


@dataclass(slots=True)
class ReplayedFolder:
    """What became of all recordings of a folder."""

    recordings: int = 0
    """One for each owner of a call."""
    calls: set[str] = field(default_factory=set)
    inputs: int = 0
    events: int = 0
    different: list[Replayed] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    """What is wrong with those that cannot be read: its pod died while it wrote the beginning, for one."""

    @property
    def figures(self) -> dict[str, object]:
        """For scripts."""
        return {
            "recordings": self.recordings,
            "calls": len(self.calls),
            "inputs": self.inputs,
            "events": self.events,
            "different": [asdict(one) for one in self.different],
            "unreadable": self.unreadable,
            "identical": not self.different,
        }


@with_options(ReplayArguments)
def replay(given: ReplayArguments) -> None:
    """Give a recording of a call's inputs to the rules again, or all recordings of a folder.

    Exit status 0 if every event comes again byte for byte, 1 if not (what differs is printed), 2 if a file cannot be
    read or the folder has none. On the version that recorded, all do; on another, what differs is what that version
    does otherwise.

    Example: voice-agent replay recordings/call_….1.….inputs
    """
    if given.path.is_dir():
        found = _all_of(given.path)
        print(json.dumps(found.figures) if given.as_json else _all_in_words(found))
        sys.exit(1 if found.different else 2 if found.unreadable else 0)
    one = _one(given.path)
    print(json.dumps({**asdict(one), "identical": one.is_identical}) if given.as_json else in_words(one))
    sys.exit(0 if one.is_identical else 1)


def _one(file: Path) -> Replayed:
    try:
        recording = file.read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot read {file}: {error.strerror}.") from error
    try:
        return replayed(recording)
    except RecordingUnreadable as error:
        raise RecordingUnreadable(f"{file}: {error}") from error


def _all_of(folder: Path) -> ReplayedFolder:
    found = ReplayedFolder()
    # A pod that is killed between opening a file and writing to it leaves an empty one.
    for file in sorted(folder.glob(f"*{SUFFIX}")):
        with suppress(FileNotFoundError):  # A pod that sweeps its folder was faster.
            if not file.stat().st_size:
                continue
        try:
            one = _one(file)
        except (RecordingUnreadable, SettingsError) as error:
            found.unreadable.append(str(error))
            continue
        found.recordings += 1
        found.calls.add(one.call_id)
        found.inputs += one.inputs
        found.events += one.events
        if not one.is_identical:
            found.different.append(one)
    if not found.recordings and not found.unreadable:
        raise SettingsError(f"there is no recording in {folder}.")
    return found


def _all_in_words(found: ReplayedFolder) -> str:
    lines = [in_words(one) for one in found.different[:MOST_TOLD]]
    ending = f"{len(found.different)} differ" if found.different else "every event is the same, byte for byte"
    total = (
        f"{found.recordings} recordings of {len(found.calls)} calls, {found.inputs} inputs and {found.events} events"
    )
    lines.append(f"{total}: {ending}")
    lines += found.unreadable
    return "\n".join(lines)


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
