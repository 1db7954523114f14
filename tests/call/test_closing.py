"""Close codes."""

from __future__ import annotations

import pytest
from websockets import frames

from voice_agent.call.closing import MAY_RESUME, MOVED_TO, REASONS, CloseCode, address_in, moved_to

OURS = range(4400, 4500)


def test_standard_codes_are_those_of_the_library() -> None:
    """Each code below 4000 has the name and number of the registry, and each of ours is in our own range."""
    standard = {code.name: int(code) for code in CloseCode if code < 4000}
    assert standard.items() <= {code.name: int(code) for code in frames.CloseCode}.items()
    assert all(code in OURS for code in CloseCode if code >= 4000)


def test_reasons_fit_a_close_frame() -> None:
    """No reason is cut on its way to the client."""
    assert all(len(reason.encode()) <= 123 for reason in REASONS.values())


def test_a_call_that_ended_is_not_resumed() -> None:
    """After a hang-up, and after each code of ours, the client stays away."""
    assert not MAY_RESUME & {code for code in CloseCode if code in OURS or code == CloseCode.NORMAL_CLOSURE}


@pytest.mark.parametrize(
    "address",
    ["ws://10.0.3.7:8080", "wss://pod-1.voice.svc:443", "ws://[fd00::1]:8080", "ws://" + "a" * 64 + ":65535"],
)
def test_a_close_may_name_the_pod_that_is_to_go_on(address: str) -> None:
    """In so few bytes that it fits into a close frame (RFC 6455, 5.5)."""
    reason = moved_to(address)
    assert address_in(reason) == address
    assert len(reason.encode()) <= 123


@pytest.mark.parametrize(
    "address",
    [
        "",
        "10.0.3.7:8080",
        "http://10.0.3.7:8080",
        "ws://10.0.3.7",
        "ws://10.0.3.7:8080/v1/realtime",
        "ws://10.0.3.7:8080?x=1",
        "ws://user@10.0.3.7:8080",
        "ws://10.0.3.7:8080\n",
        "ws://-x:1",
        "ws://:8080",
        "ws://" + "a" * 65 + ":80",
        "ws://10.0.3.7:808080",
    ],
)
def test_what_is_no_address_of_a_pod_is_named_by_nobody(address: str) -> None:
    """Nor taken from a reason: an edge goes where it says."""
    assert moved_to(address) == ""
    assert address_in(MOVED_TO + address) == ""
    assert address_in(address) == ""


def test_a_reason_that_names_no_pod_is_another_reason() -> None:
    """As those are that are given otherwise."""
    assert not any(map(address_in, REASONS.values()))
