"""Requests for a WebSocket that are refused before they are parsed."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from tests.web.rig import CALL_ID, CALL_KEY, ScriptedPod, refuse
from voice_agent.errors import ConnectionRefused
from voice_agent.web.addresses import CallerAddresses, ConnectRate
from voice_agent.web.connects import ConnectRules

CALLER = ip_address("203.0.113.9")


def rules(full: ConnectionRefused | None, per_minute: int = 1) -> ConnectRules:
    """Of a pod that takes new calls, or refuses them with `full`; time stands still."""
    pod = ScriptedPod()
    pod.full = full
    return ConnectRules(pod, CallerAddresses(()), ConnectRate(per_minute, lambda: 0.0))


@pytest.mark.parametrize(
    ("url", "is_refused"),
    [
        ("/realtime", True),
        ("/v1/realtime", True),
        ("/v1/realtime?model=echo", True),
        ("/openai/v1/realtime?model=echo", True),
        ("/openai/realtime?deployment=echo", True),
        (f"/openai/v1/realtime?call_id={CALL_ID}", False),
        ("/realtime?model=call_id", True),
        ("/realtime?recall_id=1", True),
        (f"/realtime?call_id={CALL_ID}", False),
        (f"/realtime?model=echo&call%5Fid={CALL_ID}", False),
        (f"/realtime?call_key={CALL_KEY}", False),
        (f"/realtime/{CALL_ID}", False),
        ("/elsewhere", False),
    ],
)
def test_a_pod_without_room_refuses_what_can_only_be_a_new_call(url: str, *, is_refused: bool) -> None:
    """Whatever may be a resume goes on to where that is known."""
    full = refuse(503, "at_capacity")
    assert rules(full).refusal(f"GET {url} HTTP/1.1\r\n\r\n".encode(), None) is (full if is_refused else None)


@pytest.mark.parametrize(
    ("url", "is_counted"),
    [
        ("/realtime", True),
        (f"/realtime?call_key={CALL_KEY}", True),
        (f"/realtime?model=call_id={CALL_ID}", True),
        (f"/realtime?call%5Fid={CALL_ID}", True),
        (f"/realtime?x=%26call_id={CALL_ID}", True),
        ("/elsewhere", True),
        (f"/realtime?call_id={CALL_ID}", False),
        (f"/realtime/{CALL_ID}", False),
    ],
)
def test_only_what_never_starts_a_call_is_not_counted(url: str, *, is_counted: bool) -> None:
    """However a name is written: what the application might take for a new call counts."""
    made = rules(None)
    head = f"GET {url} HTTP/1.1\r\n\r\n".encode()
    assert made.refusal(head, CALLER) is None
    again = made.refusal(head, CALLER)
    assert (again is not None and again.status == 429) == is_counted


def test_what_is_no_request_is_left_to_the_parser() -> None:
    """It says what is wrong."""
    assert rules(refuse(503, "at_capacity")).refusal(b"nonsense", CALLER) is None
