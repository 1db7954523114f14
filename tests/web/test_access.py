"""Who may connect, decided without a server."""

from __future__ import annotations

import socket

import pytest
from starlette.datastructures import Headers

from voice_agent.errors import ConnectionRefused
from voice_agent.settings import Settings
from voice_agent.web.access import Access

OWN = socket.gethostname().lower()


def allows(settings: Settings, host: str) -> bool:
    """Whether a page of a host may connect to that same host."""
    try:
        Access(settings).check_origin(Headers({"origin": f"http://{host}", "host": host}))
    except ConnectionRefused:
        return False
    return True


@pytest.mark.parametrize(
    ("host", "allowed"),
    [("192.0.2.7:8080", True), ("[2001:db8::7]:8080", True), (f"{OWN}:8080", True), ("evil.example:8080", False)],
)
def test_without_keys_no_page_may_rebind_its_name_to_a_public_address(host: str, allowed: bool) -> None:
    """Open to a network, a page that resolves its own name to this machine stays out, as on loopback."""
    assert allows(Settings(host="0.0.0.0"), host) is allowed


def test_with_keys_a_pod_may_be_called_anything() -> None:
    """A page that rebinds its name has no key."""
    assert allows(Settings(host="0.0.0.0", api_keys="key"), "voice.example.com")
