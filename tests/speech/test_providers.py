"""Which ear and which voice an agent gets; tests of `provider_faults`, too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from voice_agent import extras
from voice_agent.call.audio import PCM
from voice_agent.errors import SettingsError
from voice_agent.kit.agent import Agent
from voice_agent.kit.clip import Clip, VoicedAudio
from voice_agent.kit.ear import Ear, Transcript
from voice_agent.kit.voice import Utterance, Voice
from voice_agent.opening import NotOpened
from voice_agent.speech import providers
from voice_agent.speech.providers import SpeechProviders
from voice_agent.speech.workers import SpeechWorkers


class NotedEar(Ear):
    """Notes in a list shared with others what happens to it."""

    def __init__(self, name: str, log: list[str], *, fails: bool = False) -> None:
        self.name = name
        self._log = log
        self._fails = fails

    async def open(self) -> None:
        self._log.append(f"open {self.name}")
        if self._fails:
            raise OSError(self.name)

    async def ready(self) -> None:
        self._log.append(f"ready {self.name}")

    async def close(self) -> None:
        self._log.append(f"close {self.name}")

    async def transcribe(self, clip: Clip) -> str | None:
        return self.name


class ToneVoice(Voice):
    """Says everything as a moment of silence."""

    name = "tone"

    async def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        yield VoicedAudio(bytes(PCM.size(20)), PCM)


def agent(ear: Any = None, voice: Any = None) -> Agent:
    """One with these attributes."""
    made = Agent()
    made.name, made.ear, made.voice = "counter", ear, voice
    return made


def have(monkeypatch: pytest.MonkeyPatch, **made: Any) -> None:
    """Let packages have added what these make, by group: ``ears`` or ``voices``, one each, called ``added``."""
    entries = {
        f"voice_agent.{group}": EntryPoint("added", f"package:{group}", f"voice_agent.{group}") for group in made
    }
    monkeypatch.setattr(EntryPoint, "load", lambda self: made[self.value.partition(":")[2]])
    monkeypatch.setattr(providers, "entry_points", lambda group: [entries[group]] if group in entries else [])


@pytest.fixture
def found() -> SpeechProviders:
    """With workers that are never started."""
    return SpeechProviders(SpeechWorkers(1))


def test_an_agent_hears_and_speaks_as_the_server_does(found: SpeechProviders) -> None:
    """All agents that bring nothing share what comes with the server."""
    assert not found.ears
    assert not found.voices
    assert found.ear_for(agent()).name == "natural"
    assert found.voice_for(agent()).name == "hibari"
    assert found.ear_for(agent()) is found.ears["natural"]
    assert found.voice_for(agent()) is found.voices["hibari"]


def test_settings_go_before_what_the_agent_brings(found: SpeechProviders, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ear and a voice by name, else those of the agent, which are in no list."""
    have(monkeypatch, ears=lambda: NotedEar("added", []), voices=ToneVoice)
    its_ear, its_voice = NotedEar("its", []), ToneVoice()
    its = agent(its_ear, its_voice)
    assert found.ear_for(its) is its_ear
    assert found.voice_for(its) is its_voice
    assert not found.ears
    assert not found.voices
    assert found.ear_for(its, ["added"]) is found.ears["added"] is found.ear_for(agent(), ["added"])
    assert found.voice_for(its, ["added"]) is found.voices["added"]


def test_a_name_that_nothing_has_is_told_with_those_there_are(
    found: SpeechProviders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line at the start."""
    have(monkeypatch, voices=ToneVoice)
    with pytest.raises(
        SettingsError, match=r"^There is no ear 'wisper'; known are 'natural', 'pocketsphinx', 'whisper'\.$"
    ):
        found.ear_for(agent(), ["wisper"])
    known = "'added', 'espeak', 'hibari', 'piper'"
    with pytest.raises(SettingsError, match=rf"^There is no voice 'none'; known are {known}\.$"):
        found.voice_for(agent(), ["none"])


def test_without_the_demo_an_agent_needs_a_voice_of_its_own(
    found: SpeechProviders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line names the agent and the extra; one that says its voice, or that it has none, is served."""
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"^The agent 'counter' has no voice: .*pip install 'voice-agent\[demo\]'"):
        found.voice_for(agent())
    with pytest.raises(SettingsError, match=r"^The voice 'espeak' needs .*pip install 'voice-agent\[demo\]'"):
        found.voice_for(agent(), ["espeak"])
    with pytest.raises(SettingsError, match=r"^The ear 'pocketsphinx' needs .*pip install 'voice-agent\[demo\]'"):
        found.ear_for(agent(), ["pocketsphinx"])
    assert type(found.ear_for(agent())) is Ear
    voice, none = ToneVoice(), Voice()
    assert found.voice_for(agent(voice=voice)) is voice
    assert found.voice_for(agent(voice=none)) is none


def test_the_server_hears_with_the_best_that_is_installed(
    found: SpeechProviders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the engines of `natural` with the grammar alone, and who asks for Whisper is told what it needs."""
    installed = set(extras.EXTRAS[extras.DEMO])
    monkeypatch.setattr(extras, "find_spec", lambda name: name if name in installed else None)
    assert found.ear_for(agent()).name == "pocketsphinx"
    with pytest.raises(SettingsError, match=r"^The ear 'whisper' needs .*pip install 'voice-agent\[natural\]'"):
        found.ear_for(agent(), ["whisper"])


async def test_only_what_was_asked_for_is_opened_and_each_once(found: SpeechProviders) -> None:
    """In order, and closed in the other; twice is once."""
    log: list[str] = []
    one, two = NotedEar("one", log), NotedEar("two", log)
    for its_ear in (one, two, one):
        found.ear_for(agent(its_ear))
    await found.open()
    await found.ready()
    assert log == ["open one", "open two", "ready one", "ready two"]
    del log[:]
    await found.close()
    await found.close()
    assert log == ["close two", "close one"]


async def test_one_that_is_asked_for_later_is_opened_later(found: SpeechProviders) -> None:
    """An agent that is loaded anew may bring another. If that does not open, those that are open stay so."""
    log: list[str] = []
    found.ear_for(agent(NotedEar("first", log)))
    await found.open()
    found.ear_for(agent(NotedEar("second", log)))
    await found.open()
    await found.ready()
    found.ear_for(agent(NotedEar("third", log, fails=True)))
    with pytest.raises(NotOpened, match="third"):
        await found.open()
    assert log == ["open first", "open second", "ready first", "ready second", "open third", "close third"]
    await found.close()
    assert log[-2:] == ["close second", "close first"]


async def test_what_no_agent_has_any_more_is_closed(found: SpeechProviders) -> None:
    """But for what is had by name; and it is not closed again at the end."""
    log: list[str] = []
    first, second = agent(NotedEar("first", log)), agent(NotedEar("second", log))
    for one in (first, second):
        found.ear_for(one)
    named = found.voice_for(agent())
    await found.open()
    await found.close_unused([second])
    assert log == ["open first", "open second", "close first"]
    assert named in found._open
    await found.open()
    await found.close()
    assert log[3:] == ["close second"]


async def test_one_that_does_not_open_closes_the_others(found: SpeechProviders) -> None:
    """And itself, which may have begun; its error is told."""
    log: list[str] = []
    found.ear_for(agent(NotedEar("one", log)))
    found.ear_for(agent(NotedEar("two", log, fails=True)))
    found.ear_for(agent(NotedEar("three", log)))
    with pytest.raises(NotOpened, match="two"):
        await found.open()
    assert log == ["open one", "open two", "close two", "close one"]


class NotAsync(NotedEar):
    def transcribe(self, clip: Clip) -> str | None:  # type: ignore[override]
        return ""


class NotAsked(Ear):
    name = "not asked"

    async def listen(self, frames: AsyncIterator[Clip]) -> AsyncIterator[Transcript]:
        yield Transcript("")


class Nameless(NotedEar):
    def __init__(self) -> None:
        super().__init__("", [])


class Half(NotAsked):
    name = "half"
    streams = 1  # type: ignore[assignment]


class Sooner(NotedEar):
    stops_soon = None  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__("sooner", [])


class NoGenerator(NotAsked):
    streams = True

    async def listen(self, frames: AsyncIterator[Clip]) -> AsyncIterator[Transcript]:  # type: ignore[override]
        return frames  # type: ignore[return-value]


def raises() -> Any:
    raise RuntimeError("no model")


@pytest.mark.parametrize(
    ("made", "wrong"),
    [
        (dict, "is a dict, which is no subclass of voice_agent.Ear"),
        (ToneVoice, "is a ToneVoice, which is no subclass of voice_agent.Ear"),
        (Nameless, "has '' as name"),
        (lambda: NotAsync("x", []), "has a method transcribe that is not async"),
        (NotAsked, "has a method listen, which is not asked for streams is False"),
        (Half, "has 1 as streams"),
        (Sooner, "has None as stops_soon"),
        (NoGenerator, "has a method listen that is no async generator"),
        (raises, "cannot be loaded: no model"),
    ],
)
def test_a_wrong_ear_is_one_line_at_the_start(
    found: SpeechProviders, monkeypatch: pytest.MonkeyPatch, made: Any, wrong: str
) -> None:
    """It names where it comes from, and what is wrong."""
    have(monkeypatch, ears=made)
    with pytest.raises(SettingsError, match=f"^The ear 'added' of 'package:ears' {wrong}.*$"):
        found.ear_for(agent(), ["added"])
    if made is not raises:
        with pytest.raises(SettingsError, match=f"^The ear of the agent 'counter' {wrong}.*$"):
            found.ear_for(agent(made()))


class Dumb(Voice):
    name = "dumb"


class SyncGenerator(Voice):
    name = "sync"

    def say(self, utterance: Utterance) -> Iterator[VoicedAudio]:  # type: ignore[override]
        yield VoicedAudio(b"", PCM)


class Sometimes(ToneVoice):
    deterministic = "sometimes"  # type: ignore[assignment]


class Behind(ToneVoice):
    lead_ms = -1


class OpensNot(ToneVoice):
    def open(self) -> None:  # type: ignore[override]
        """It blocks."""


@pytest.mark.parametrize(
    ("made", "wrong"),
    [
        (Ear, "is a Ear, which is no subclass of voice_agent.Voice"),
        (Dumb, "has no method say"),
        (SyncGenerator, "has a method say that is no async generator"),
        (Sometimes, "has 'sometimes' as deterministic"),
        (Behind, "has -1 as lead_ms"),
        (OpensNot, "has a method open that is not async"),
    ],
)
def test_a_wrong_voice_is_one_line_at_the_start(
    found: SpeechProviders, monkeypatch: pytest.MonkeyPatch, made: Any, wrong: str
) -> None:
    """It names where it comes from, and what is wrong."""
    have(monkeypatch, voices=made)
    with pytest.raises(SettingsError, match=f"^The voice 'added' of 'package:voices' {wrong}.*$"):
        found.voice_for(agent(), ["added"])
    with pytest.raises(SettingsError, match=f"^The voice of the agent 'counter' {wrong}.*$"):
        found.voice_for(agent(voice=made()))
