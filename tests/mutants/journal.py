"""What became of each mutant, kept from run to run: a run that was stopped goes on where it was."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.mutants.baseline import fingerprint
from tests.mutants.mutations import Mutant

SURVIVORS = Path(__file__).with_name("survivors.toml")
DEAD = ("killed", "hung")


@dataclass(frozen=True, slots=True)
class Entry:
    """One mutant's end."""

    key: str
    outcome: str
    """killed; hung: a test took far longer than it does; survived; uncovered: no test runs it; untried."""
    by: str
    seconds: float
    code: str
    tests: str
    """Fingerprints of the mutated file and of all tests."""


class Journal:
    """One line of JSON for each mutant that was tried. What survived is tried again once tests have changed."""

    def __init__(self, path: Path, tests: str) -> None:
        self._path = path
        self._tests = tests
        self._code: dict[str, str] = {}
        self._entries: dict[str, Entry] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                entry = Entry(**json.loads(line))
                self._entries[entry.key] = entry

    def known(self, mutant: Mutant) -> Entry | None:
        """What became of it, as far as that still counts."""
        entry = self._entries.get(mutant.key)
        if entry is None or entry.code != self._code_of(mutant):
            return None
        return entry if entry.outcome in DEAD or entry.tests == self._tests else None

    def note(self, mutant: Mutant, outcome: str, by: str, seconds: float) -> Entry:
        """Keep it."""
        entry = self.entry(mutant, outcome, by, seconds)
        self._entries[entry.key] = entry
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(entry)) + "\n")
        return entry

    def entry(self, mutant: Mutant, outcome: str, by: str, seconds: float) -> Entry:
        """What is kept."""
        return Entry(mutant.key, outcome, by, round(seconds, 2), self._code_of(mutant), self._tests)

    def _code_of(self, mutant: Mutant) -> str:
        if mutant.file not in self._code:
            self._code[mutant.file] = fingerprint(mutant.file)
        return self._code[mutant.file]


def explained() -> dict[str, str]:
    """Why mutants that survive do not matter, by key."""
    listed = tomllib.loads(SURVIVORS.read_text(encoding="utf-8")).get("survivor", [])
    return {f"{one['place']} | {one['change']}": one["why"] for one in listed}


def share_dead(entries: Iterable[Entry]) -> float:
    """Of those that were tried."""
    outcomes = [entry.outcome in DEAD for entry in entries if entry.outcome != "untried"]
    return sum(outcomes) / len(outcomes) if outcomes else 1.0
