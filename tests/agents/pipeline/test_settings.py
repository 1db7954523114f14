"""Settings of a pipeline: three addresses and a key are enough."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest

from voice_agent.agent_settings import agent_settings
from voice_agent.agents.pipeline import Pipeline
from voice_agent.agents.pipeline.settings import Continuation, PipelineSettings, recording
from voice_agent.errors import SettingsError

OPENAI = "https://api.openai.com/v1"
PREFIX = "VOICE_AGENT_PIPELINE_"


def set_to(**values: str) -> PipelineSettings:
    found = agent_settings(Pipeline(), {PREFIX + name: value for name, value in values.items()})
    assert isinstance(found.values, PipelineSettings)
    return found.values


def test_an_address_and_a_key_are_enough() -> None:
    """The rest has a default."""
    settings = set_to(MODEL=OPENAI, MODEL_NAME="gpt-5-mini", KEY="sk-1")
    [model] = settings.endpoints
    assert (model.url, model.model, model.name) == (OPENAI, "gpt-5-mini", "api.openai.com")
    assert model.request_headers() == {"Authorization": "Bearer sk-1"}
    assert settings.continuation_of(model) is Continuation.INSTRUCTION


def test_several_addresses_are_asked_in_their_order_and_a_key_of_the_model_comes_first() -> None:
    """With commas. One provider's key is not sent to another: several stand in the order of the addresses."""
    addresses = f"{OPENAI}, http://local:8000/v1, {OPENAI}/other"
    settings = set_to(MODEL=addresses, KEY="sk-1", MODEL_KEY="sk-2")
    assert [model.name for model in settings.endpoints] == ["api.openai.com", "local:8000", "api.openai.com"]
    sent = [model.request_headers().get("Authorization") for model in settings.endpoints]
    assert sent == ["Bearer sk-2", None, "Bearer sk-2"]
    several = set_to(MODEL=addresses, MODEL_KEY="sk-1, sk-2,sk-3").endpoints
    assert [model.request_headers()["Authorization"][-4:] for model in several] == ["sk-1", "sk-2", "sk-3"]


def test_a_file_says_more_of_each_model(tmp_path: Path) -> None:
    """Its own key, and how it goes on with an answer."""
    file = tmp_path / "pipeline.toml"
    file.write_text(
        f"""
        key = "sk-1"
        [[models]]
        url = "{OPENAI}"
        model = "gpt-5-mini"
        [[models]]
        url = "http://local:8000/v1"
        key = "own"
        continuation = "continue_final_message"
        first_s = 5
        """
    )
    first, second = set_to(SETTINGS=str(file)).endpoints
    assert first.request_headers() == {"Authorization": "Bearer sk-1"}
    assert second.request_headers() == {"Authorization": "Bearer own"}
    assert set_to(SETTINGS=str(file)).continuation_of(second) is Continuation.CONTINUE_FINAL_MESSAGE
    assert second.first_s == 5


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({}, "The settings of the agent 'pipeline': set either MODEL, to an address such as "),
        ({"MODEL": "nowhere"}, "The settings of the agent 'pipeline': url: is no address, such as "),
        ({"MODEL": OPENAI, "TEMPERATURE": "3"}, "VOICE_AGENT_PIPELINE_TEMPERATURE"),
        ({"MODEL": OPENAI, "APOLOGY_AUDIO": "/nowhere.wav"}, "VOICE_AGENT_PIPELINE_APOLOGY_AUDIO: cannot be read: "),
        (
            {"MODEL": OPENAI, "KEY": "a,b"},
            "The settings of the agent 'pipeline': there are 2 keys for 1 addresses.",
        ),
        ({"MODEL": OPENAI, "KEY": " "}, "The settings of the agent 'pipeline': a key is empty"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(values: dict[str, str], line: str) -> None:
    """Before the server starts, and without a secret."""
    with pytest.raises(SettingsError) as caught:
        set_to(**values)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_a_recording_is_read_as_it_is_said(tmp_path: Path) -> None:
    """PCM16, mono, at 24 000 Hz, and nothing else."""
    path = tmp_path / "sorry.wav"
    for rate_hz in (24_000, 16_000):
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate_hz)
            file.writeframes(b"\1\2" * 100)
        if rate_hz == 24_000:
            assert recording(path) == b"\1\2" * 100
    with pytest.raises(ValueError, match="is no recording in PCM16"):
        recording(path)
    path.write_bytes(b"RIFF")
    with pytest.raises(ValueError, match="cannot be read"):
        recording(path)
