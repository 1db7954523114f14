"""Ears and voices by name, by address, and several of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from voice_agent.agent_settings import agent_settings
from voice_agent.agents.scripted import Scripted
from voice_agent.errors import SettingsError
from voice_agent.providers.endpoint import Endpoint
from voice_agent.speech.http_ear import EarEndpoint
from voice_agent.speech.http_voice import VoiceEndpoint

SECRET = "sk-very-secret"
OPENAI, LOCAL = "https://api.openai.com/v1", "http://127.0.0.1:8880/v1"


class Desk(Scripted):
    """Declares what it takes."""

    name = "desk"

    class Settings(BaseModel):
        """One of its own."""

        limit: int = 3


class Keyed(Scripted):
    """Has a key of its own."""

    name = "desk"

    class Settings(BaseModel):
        """For its model."""

        key: SecretStr


def found(*agent: Scripted, file: Path | None = None, variables: dict[str, str] | None = None, **more: str) -> Any:
    """What is set of `VOICE_AGENT_DESK_…`."""
    given = {f"VOICE_AGENT_DESK_{name}": value for name, value in {**(variables or {}), **more}.items()}
    return agent_settings(agent[0] if agent else Desk(), given, file)


def key_of(endpoint: Endpoint | str) -> str | None:
    """Of an address."""
    assert isinstance(endpoint, Endpoint)
    return endpoint.key.get_secret_value() if endpoint.key is not None else None


def test_a_name_an_address_and_several_in_order() -> None:
    """A local engine may be the last resort."""
    assert found().ear == found().voice == ()
    assert found(EAR="pocketsphinx").ear == ("pocketsphinx",)
    settings = found(EAR=f"{OPENAI}, {LOCAL},pocketsphinx", VOICE=f"{LOCAL},espeak", VOICE_MODEL="kokoro")
    assert settings.ear == (EarEndpoint(url=OPENAI), EarEndpoint(url=LOCAL), "pocketsphinx")
    assert settings.voice == (VoiceEndpoint(url=LOCAL, model="kokoro"), "espeak")


def test_one_key_is_for_the_host_of_the_first_and_several_go_by_position() -> None:
    """What one provider is given another never sees."""
    settings = found(EAR=f"{OPENAI},{LOCAL},{OPENAI}/other", VOICE=OPENAI, KEY=SECRET)
    assert [key_of(each) for each in settings.ear] == [SECRET, None, SECRET]
    assert key_of(settings.voice[0]) == SECRET
    settings = found(EAR=f"{OPENAI},{LOCAL}", EAR_KEY="one,two", VOICE=LOCAL, VOICE_KEY="three", KEY=SECRET)
    assert [key_of(each) for each in (*settings.ear, *settings.voice)] == ["one", "two", "three"]
    assert [key_of(each) for each in found(EAR=f"{OPENAI},{LOCAL}", EAR_KEY=",two").ear] == [None, "two"]


def test_a_key_that_the_agent_declares_is_its_own_and_its_ears_too(tmp_path: Path) -> None:
    """Three addresses and a key; from a file as well."""
    file = tmp_path / "key"
    file.write_text(f"{SECRET}\n", "utf-8")
    for given in ({"KEY": SECRET}, {"KEY_FILE": str(file)}):
        settings = found(Keyed(), variables=given, EAR=OPENAI)
        assert settings.values.key.get_secret_value() == key_of(settings.ear[0]) == SECRET
    assert key_of(found(EAR=OPENAI, EAR_KEY_FILE=str(file)).ear[0]) == SECRET
    assert found(EAR=OPENAI, KEY_FILE=str(file)).values == Desk.Settings()


def test_a_file_has_all_that_can_be_said_of_an_address(tmp_path: Path) -> None:
    """One or several, with names between."""
    file = tmp_path / "desk.toml"
    text = f"""
        ear = [{{url = "{OPENAI}", key = "{SECRET}", model = "whisper-1", streams = true, first_s = 5}}, "pocketsphinx"]
        voice = {{url = "{LOCAL}", voice = "af_sky", headers = {{x = "{SECRET}"}}}}
    """
    file.write_text("\n".join(line.strip() for line in text.splitlines()), "utf-8")
    settings = found(file=file)
    ear, local = settings.ear
    assert (ear.model, ear.streams, ear.first_s, key_of(ear), local) == ("whisper-1", True, 5.0, SECRET, "pocketsphinx")
    assert settings.voice[0].voice == "af_sky"
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"EAR": "https://"}, "VOICE_AGENT_DESK_EAR: is no address, such as https://api.openai.com/v1."),
        ({"EAR": f"https://me:{SECRET}@a/"}, "VOICE_AGENT_DESK_EAR: holds credentials; give the key as a setting"),
        ({"EAR": OPENAI, "EAR_KEY": f"{SECRET} x"}, "VOICE_AGENT_DESK_EAR: key: is empty, or holds a character"),
        ({"EAR": OPENAI, "EAR_KEY": "a,b"}, "VOICE_AGENT_DESK_EAR_KEY: there are 2 for 1 addresses."),
        ({"EAR": "good", "EAR_MODEL": "x"}, "VOICE_AGENT_DESK_EAR_MODEL: there is no address for it; set ear to one."),
        ({"VOICE_KEY": SECRET}, "VOICE_AGENT_DESK_VOICE_KEY: there is no address for it; set voice to one."),
        ({"VOICE": ",".join([OPENAI] * 9)}, "VOICE_AGENT_DESK_VOICE: 9 are too many; allowed: at most 8."),
    ],
)
def test_what_is_wrong_is_told_in_one_line_without_a_secret(given: dict[str, str], said: str) -> None:
    """Before the server starts."""
    with pytest.raises(SettingsError) as raised:
        found(variables=given)
    assert str(raised.value).startswith(said)
    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ear = 7", "desk.toml: ear: it must be names and addresses."),
        ("ear = {model = 'x'}", "desk.toml: ear: an address must have a url."),
        (f"ear = {{url = '{OPENAI}', kye = '{SECRET}'}}", "desk.toml: ear: 'kye' is not a setting of an address."),
        (f"voice = {{url = '{OPENAI}', first_s = 0}}", "desk.toml: voice: first_s: the value is too small"),
        (f"ear = '{OPENAI}'\near_key = 7", "desk.toml: ear_key: it must be text."),
    ],
)
def test_so_is_what_is_wrong_in_a_file(tmp_path: Path, text: str, said: str) -> None:
    """With the name in it."""
    file = tmp_path / "desk.toml"
    file.write_text(text, "utf-8")
    with pytest.raises(SettingsError) as raised:
        found(file=file)
    assert said in str(raised.value)
    assert SECRET not in str(raised.value)
