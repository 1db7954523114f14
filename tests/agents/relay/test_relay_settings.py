"""Where upstreams are, and what a relay is told. Tests of `relay_settings` and `address`."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from voice_agent.agent_settings import agent_settings
from voice_agent.agents.relay import Relay
from voice_agent.agents.relay.address import upstream_endpoint, websocket_address
from voice_agent.agents.relay.relay_settings import RelaySettings
from voice_agent.errors import SettingsError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("wss://api.openai.com/v1/realtime?model=gpt-realtime", "wss://api.openai.com/v1/realtime?model=gpt-realtime"),
        ("https://api.openai.com/v1", "wss://api.openai.com/v1/realtime?model=else"),
        ("https://api.openai.com/v1/", "wss://api.openai.com/v1/realtime?model=else"),
        ("ws://127.0.0.1:8080/v1/realtime", "ws://127.0.0.1:8080/v1/realtime?model=else"),
        (
            "wss://house.openai.azure.com/openai/realtime?api-version=2025-08-28&deployment=voice",
            "wss://house.openai.azure.com/openai/realtime?api-version=2025-08-28&deployment=voice",
        ),
        (
            "https://house.openai.azure.com/openai/v1/realtime?model=voice",
            "wss://house.openai.azure.com/openai/v1/realtime?model=voice",
        ),
    ],
)
def test_an_upstream_is_named_by_its_address_or_its_base(url: str, address: str) -> None:
    """The model of the settings is for those that name none."""
    endpoint = upstream_endpoint(url, "else")
    assert websocket_address(endpoint) == address
    assert endpoint.model == ("else" if "model=else" in address else address.rpartition("=")[2])


def test_azure_is_shown_its_key_in_a_header_of_its_own() -> None:
    """And all others a bearer token."""
    key = SecretStr("secret")
    azure = upstream_endpoint("wss://house.openai.azure.com/openai/v1/realtime", key=key)
    assert azure.request_headers() == {"api-key": "secret"}
    other = upstream_endpoint("wss://api.openai.com/v1/realtime", key=key)
    assert other.request_headers() == {"Authorization": "Bearer secret"}
    assert "secret" not in repr([azure, other])


@pytest.mark.parametrize(
    "url", ["api.openai.com", "ftp://api.openai.com", "wss://", "wss://me:key@host/v1", "", "wss://["]
)
def test_what_is_no_address_is_refused_before_the_server_starts(url: str) -> None:
    """In one line, without a key that it may hold."""
    with pytest.raises(ValidationError):
        RelaySettings.model_validate({"url": [url]})
    with pytest.raises(SettingsError) as raised:
        agent_settings(Relay(), {"VOICE_AGENT_RELAY_URL": url})
    assert "\n" not in str(raised.value)


def test_several_upstreams_are_separated_by_commas() -> None:
    """The best first."""
    variables = {
        "VOICE_AGENT_RELAY_URL": "wss://one.example/v1, wss://two.example/v1",
        "VOICE_AGENT_RELAY_MODEL": "m",
        "VOICE_AGENT_RELAY_KEY": "sk-hidden",
    }
    found = agent_settings(Relay(), variables).values
    assert [(one.name, one.model) for one in found.endpoints] == [("one.example", "m"), ("two.example", "m")]
    assert "sk-hidden" not in repr(found)


def test_a_key_goes_to_its_own_host_only() -> None:
    """A lone one to the host of the first address, several to the addresses in their order."""
    urls = "wss://one.example/v1, wss://two.example/v1, https://one.example/other"
    sent = {}
    for keys in ("a", "a, b,c"):
        found = agent_settings(Relay(), {"VOICE_AGENT_RELAY_URL": urls, "VOICE_AGENT_RELAY_KEY": keys}).values
        sent[keys] = [one.request_headers().get("Authorization") for one in found.endpoints]
    assert sent == {"a": ["Bearer a", None, "Bearer a"], "a, b,c": ["Bearer a", "Bearer b", "Bearer c"]}


def test_a_file_says_more_of_each_upstream(tmp_path: Path) -> None:
    """Its own key and model; the key beside them is for those at the first one's host that have none."""
    file = tmp_path / "relay.toml"
    file.write_text(
        """
        key = "sk-1"
        model = "else"
        [[upstreams]]
        url = "wss://one.example/v1/realtime?model=first"
        [[upstreams]]
        url = "wss://two.example/v1"
        key = "own"
        model = "second"
        [[upstreams]]
        url = "wss://three.example/v1"
        """
    )
    found = agent_settings(Relay(), {"VOICE_AGENT_RELAY_SETTINGS": str(file)}).values
    assert [(one.model, one.request_headers().get("Authorization")) for one in found.endpoints] == [
        ("first", "Bearer sk-1"),
        ("second", "Bearer own"),
        ("else", None),
    ]
    assert "own" not in repr(found)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "set either URL, to an address such as "),
        ({"URL": "wss://one.example/v1", "KEY": "a,b"}, "there are 2 keys for 1 addresses"),
        ({"URL": "wss://one.example/v1", "KEY": " "}, "a key is empty"),
        ({"URL": "ftp://one.example"}, "url: is no address"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(values: dict[str, str], said: str) -> None:
    """Before the server starts."""
    with pytest.raises(SettingsError) as raised:
        agent_settings(Relay(), {f"VOICE_AGENT_RELAY_{name}": value for name, value in values.items()})
    assert str(raised.value).startswith(f"The settings of the agent 'relay': {said}")
    assert "\n" not in str(raised.value)
