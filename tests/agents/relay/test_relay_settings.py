"""Where upstreams are, and what a relay is told. Tests of `relay_settings` and `address`."""

from __future__ import annotations

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
        RelaySettings(url=[url])
    with pytest.raises(SettingsError, match="VOICE_AGENT_RELAY_URL") as raised:
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
    assert [(one.name, one.model) for one in found.endpoints()] == [("one.example", "m"), ("two.example", "m")]
    assert "sk-hidden" not in repr(found)
