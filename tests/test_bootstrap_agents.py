"""The agents of a pod, put together as they are run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.agents.loaded import forgotten
from tests.servers import free_port
from voice_agent import extras
from voice_agent.agent_settings import AgentSettings
from voice_agent.agents.files import AgentFile
from voice_agent.agents.registry import AgentRegistry, ServedAgent
from voice_agent.bootstrap_agents import PodAgents, make_agents
from voice_agent.call.audio import PCM
from voice_agent.errors import SettingsError
from voice_agent.kit.agent import Agent, Kit
from voice_agent.kit.clip import Clip, VoicedAudio
from voice_agent.kit.ear import Ear
from voice_agent.kit.voice import Utterance, Voice
from voice_agent.opening import NotOpened
from voice_agent.providers.errors import ProviderFailed
from voice_agent.settings import Settings
from voice_agent.speech.fallback_voice import FallbackVoice
from voice_agent.speech.http_ear import HttpEar
from voice_agent.speech.providers import SpeechProviders
from voice_agent.speech.workers import SpeechWorkers

CODE = """
from pydantic import BaseModel
from voice_agent import Agent, Ear, Kit, Voice

class Mine(Agent):
    name = "mine"
    ear = Ear()
    voice = Voice()

    class Settings(BaseModel):
        limit: int = 1

    async def open(self, kit: Kit) -> None:
        self.kit = kit
"""


@pytest.fixture
def named(tmp_path: Path) -> Iterator[Settings]:
    """Settings that name an agent in a file."""
    (tmp_path / "mine.py").write_text(CODE, encoding="utf-8")
    with forgotten(tmp_path):
        yield Settings(agent=f"{tmp_path}/mine.py:Mine", speech_workers=1)


async def test_an_agent_is_opened_with_what_is_set_for_it(named: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment; the client of HTTP is closed behind it."""
    monkeypatch.setenv("VOICE_AGENT_MINE_LIMIT", "5")
    monkeypatch.setenv("VOICE_AGENT_OTHER_LIMIT", "5")
    agents, warnings = make_agents(named)
    assert warnings == ["VOICE_AGENT_OTHER_LIMIT is not a setting of an agent that is served, and is ignored."]
    mine = agents.registry.agent("mine")
    await agents.open()
    await agents.ready()
    kit: Kit = mine.kit  # type: ignore[attr-defined]  # it has one
    assert kit.settings.limit == 5
    client = kit.http
    await agents.close()
    await agents.close()
    assert client.is_closed


def test_a_wrong_setting_stops_the_start(named: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is opened."""
    monkeypatch.setenv("VOICE_AGENT_MINE_LIMIT", "many")
    with pytest.raises(SettingsError, match=r"^VOICE_AGENT_MINE_LIMIT: many is not a whole number\.$"):
        make_agents(named)


def test_the_ear_and_the_voice_that_are_set_are_what_an_agent_gets(
    named: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In place of its own; one of the server's is the same for all agents."""
    own = make_agents(named)[0].registry.agent("mine")
    assert isinstance(own, Agent)
    assert (type(own.ear), type(own.voice)) == (Ear, Voice)
    monkeypatch.setenv("VOICE_AGENT_MINE_EAR", "pocketsphinx")
    monkeypatch.setenv("VOICE_AGENT_MINE_VOICE", "espeak")
    agent = make_agents(named)[0].registry.agent("mine")
    assert isinstance(agent, Agent)
    assert agent.ear is not None
    assert agent.voice is not None
    assert (agent.ear.name, agent.voice.name) == ("pocketsphinx", "espeak")


async def test_a_pod_whose_providers_are_dead_is_ready_all_the_same(
    named: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may be back when the first caller comes; a local engine beside them is opened."""
    dead = f"http://127.0.0.1:{free_port()}/v1"
    monkeypatch.setenv("VOICE_AGENT_MINE_EAR", dead)
    monkeypatch.setenv("VOICE_AGENT_MINE_VOICE", f"{dead},{dead}/other,espeak")
    agents = make_agents(named)[0]
    await agents.open()
    assert agents.healths() == []
    await agents.ready()
    mine = agents.registry.agent("mine")
    assert isinstance(mine, Agent)
    assert isinstance(mine.ear, HttpEar)
    assert isinstance(mine.voice, FallbackVoice)
    with pytest.raises(ProviderFailed):
        await mine.ear.transcribe(Clip(bytes(4800), PCM))
    said = [piece async for piece in mine.voice.say(Utterance("Good morning.", "alloy"))]
    assert sum(len(piece.audio) for piece in said) > 24_000, "the local voice has said it"
    assert {health.provider for health in agents.healths()} == {dead.split("/")[2]}
    await agents.close()


@pytest.mark.parametrize("kind", ["ear", "voice"])
def test_an_ear_or_a_voice_that_there_is_not_stops_the_start(
    named: Settings, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """With the variable, and what there is."""
    monkeypatch.setenv(f"VOICE_AGENT_MINE_{kind.upper()}", "golden")
    with pytest.raises(SettingsError, match=rf"^VOICE_AGENT_MINE_{kind.upper()}: There is no {kind} 'golden'; known"):
        make_agents(named)


class Silent(Agent):
    """Relies on the server's voice."""

    name = "silent"


def of(agent: Agent, providers: SpeechProviders | None = None) -> PodAgents:
    """A pod that has one agent, of which nothing is set."""
    served = ServedAgent(agent, agent.name, AgentFile(Path("any.py"), "Any"))
    settings = {agent.name: AgentSettings({})}
    registry = AgentRegistry([served], default=agent.name)
    return PodAgents(registry, settings, providers or SpeechProviders(SpeechWorkers(1)))


def test_an_agent_without_a_voice_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the server has none; no variable is named, for none is set."""
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"^The agent 'silent' has no voice: .*pip install 'voice-agent\[demo\]'"):
        of(Silent())


class OwnVoice(Voice):
    """Notes what happens to it."""

    name = "own"

    def __init__(self, log: list[str], wrong: str = "") -> None:
        self._log = log
        self._wrong = wrong

    async def open(self) -> None:
        self._log.append("open voice")

    async def ready(self) -> None:
        if self._wrong:
            raise OSError(self._wrong)

    async def close(self) -> None:
        self._log.append("close voice")

    async def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        yield VoicedAudio(b"", PCM)


class Speaking(Agent):
    """Brings a voice; notes what happens to itself in the same list."""

    name = "speaking"
    ear = Ear()

    def __init__(self, log: list[str], *, fails: bool = False, wrong: str = "") -> None:
        self.voice = OwnVoice(log, wrong)
        self._log = log
        self._fails = fails

    async def open(self, kit: Kit) -> None:
        self._log.append("open agent")
        if self._fails:
            raise OSError

    async def close(self) -> None:
        self._log.append("close agent")


async def test_voices_are_opened_before_agents_and_closed_behind_them() -> None:
    """An agent may try its voice when it is opened."""
    log: list[str] = []
    agents = of(Speaking(log))
    await agents.open()
    await agents.close()
    assert log == ["open voice", "open agent", "close agent", "close voice"]


async def test_a_start_that_fails_leaves_nothing_open() -> None:
    """Neither the agent that failed nor the voice."""
    log: list[str] = []
    with pytest.raises(NotOpened, match="cannot be opened: OSError"):
        await of(Speaking(log, fails=True)).open()
    assert log == ["open voice", "open agent", "close agent", "close voice"]


class NoMicrophone(Ear):
    """Needs what there is not."""

    name = "no-microphone"

    async def open(self) -> None:
        raise LookupError("no microphone")


class NoLoudspeaker(OwnVoice):
    """So does this."""

    async def open(self) -> None:
        raise LookupError("no loudspeaker")


@pytest.mark.parametrize(
    ("part", "line"),
    [
        (
            NoMicrophone(),
            r"^The ear 'no-microphone' cannot be opened: LookupError: no microphone \(test_boot.*, line \d+\)",
        ),
        (NoLoudspeaker([]), r"^The voice 'own' cannot be opened: LookupError: no loudspeaker \(test_boot"),
    ],
)
async def test_an_ear_or_a_voice_that_does_not_open_is_told_in_one_line(part: Ear | Voice, line: str) -> None:
    """As an agent is; what was opened before it is closed."""
    agent = Speaking([])
    if isinstance(part, Ear):
        agent.ear = part
    else:
        agent.voice = part
    with pytest.raises(NotOpened, match=line) as raised:
        await of(agent).open()
    assert "\n" not in str(raised.value)


async def test_a_voice_that_cannot_get_ready_keeps_its_agent_from_it() -> None:
    """The server then leaves."""
    agents = of(Speaking([], wrong="no models"))
    await agents.open()
    with pytest.raises(NotOpened, match=r"^The voice 'own' cannot be opened: OSError: no models \(test_boot"):
        await agents.ready()
    await agents.close()


async def test_an_agent_is_loaded_anew(named: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With its settings as they are declared now; who asks for it by name gets the new one."""
    monkeypatch.setenv("VOICE_AGENT_MINE_LIMIT", "5")
    agents, _ = make_agents(named)
    await agents.open()
    old = agents.registry.agent("mine")
    (tmp_path / "mine.py").write_text(CODE.replace("limit: int = 1", "limit: str = ''"), encoding="utf-8")
    assert await agents.reload("mine") is old
    new = agents.registry.agent("mine")
    assert new is not old
    assert new.kit.settings.limit == "5"  # type: ignore[attr-defined]  # it has one
    await agents.close()


@pytest.mark.parametrize(
    ("was", "becomes", "why"),
    [
        ("class Mine", "clas Mine", r"cannot be loaded: invalid syntax \(mine\.py, line 5\)"),
        ('name = "mine"', 'name = "yours"', "is no longer the agent 'mine': start the server again"),
        ("limit: int = 1", "limit: bool = 1", "VOICE_AGENT_MINE_LIMIT: 5 is neither true nor false"),
        ("voice = Voice()", "voice = 7", "The voice of the agent 'mine'"),
        ("self.kit = kit", "raise OSError('no models')", "no models"),
    ],
)
async def test_when_a_new_one_is_wrong_the_old_one_stays(
    named: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, was: str, becomes: str, why: str
) -> None:
    """Its author reads why, and callers notice nothing."""
    monkeypatch.setenv("VOICE_AGENT_MINE_LIMIT", "5")
    agents, _ = make_agents(named)
    await agents.open()
    old = agents.registry.agent("mine")
    assert was in CODE
    (tmp_path / "mine.py").write_text(CODE.replace(was, becomes), encoding="utf-8")
    with pytest.raises((SettingsError, NotOpened), match=why):
        await agents.reload("mine")
    assert agents.registry.agent("mine") is old
    await agents.close()


async def test_a_voice_that_did_not_open_is_not_tried_again_for_the_next_one(named: Settings, tmp_path: Path) -> None:
    """Its author has mended it by then."""
    agents, _ = make_agents(named)
    await agents.open()
    code = CODE.replace("voice = Voice()", "voice = Broken()").replace(
        "class Mine",
        """class Broken(Voice):
    name = "broken"
    async def open(self):
        raise OSError("no sound")
    async def say(self, utterance):
        yield

class Mine""",
    )
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    with pytest.raises(NotOpened, match="no sound"):
        await agents.reload("mine")
    (tmp_path / "mine.py").write_text(CODE, encoding="utf-8")
    await agents.reload("mine")
    await agents.close()


def test_without_a_file_there_is_nothing_to_load_anew() -> None:
    """An author who forgot the file would wait in vain."""
    with pytest.raises(SettingsError, match=r"^VOICE_RELOAD: no agent is from a file"):
        make_agents(Settings(agent="echo", reload=True))
