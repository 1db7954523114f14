"""A caller's request goes on as it came, but for what the edge says of itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from voice_agent.edge.requests import CallerRequest

HEADERS = (
    (b"host", b"voice.example.com"),
    (b"connection", b"Upgrade"),
    (b"sec-websocket-key", b"x"),
    (b"authorization", b"Bearer k"),
    (b"x-forwarded-for", b"1.2.3.4"),
    (b"x-resume-token", b"old"),
    (b"user-agent", "a\u00e9".encode("latin-1")),
)


def request(query: bytes, path: bytes = b"/v1/realtime", address: str = "10.0.0.9") -> CallerRequest:
    """What a caller asked for."""
    return CallerRequest(path, query, HEADERS, ("realtime",), address)


def test_the_first_pod_gets_what_the_caller_said() -> None:
    """Byte for byte, whatever its encoding; the caller's own word on resuming gives way to the edge's."""
    asked = request(b"model=a%2Fb&x=%ff&resumable=1&re%73umable=0&received=1&directed=0").first()
    assert asked.target == "/v1/realtime?model=a%2Fb&x=%ff&resumable=now&received=1&directed=1"
    assert asked.subprotocols == ("realtime",)
    assert asked.headers == [
        ("authorization", "Bearer k"),
        ("x-resume-token", "old"),
        ("user-agent", "a\u00e9"),
        ("X-Forwarded-For", "10.0.0.9"),
        ("X-Forwarded-Host", "voice.example.com"),
    ]
    assert request(b"").first().target == "/v1/realtime?resumable=now&received=1&directed=1"


def test_an_edge_that_asks_no_pod_by_its_address_asks_for_none() -> None:
    """Nor does its caller."""
    asked = replace(request(b"directed=1"), is_directed=False)
    assert asked.first().target == "/v1/realtime?resumable=now&received=1"


@pytest.mark.parametrize("path", [b"/openai/v1/realtime", b"/realtime/call_aaaaaaaaaaaaaaaaaaaaaaaaaa"])
def test_a_later_one_is_asked_to_go_on(path: bytes) -> None:
    """What the caller resumed by, or started with, is not said again; its token is that of the call."""
    query = b"call_key=secret&call_id=other&resume_token=old&last_event_id=evt_1&model=m&tenant=7"
    asked = request(query, path).resume("call_x", "new", 41)
    own = "/realtime" if path.startswith(b"/realtime/") else path.decode()
    assert asked.target == f"{own}?tenant=7&call_id=call_x&last_event_id=evt_41&resumable=now&received=1&directed=1"
    assert [value for name, value in asked.headers if name.lower() == "x-resume-token"] == ["new"]


@pytest.mark.parametrize(
    ("query", "comes_back"),
    [
        (b"", False),
        (b"model=echo", False),
        (b"resumable=0", False),
        (b"resumable=1", True),
        (b"resumable=TRUE", True),
        (b"resumable=now", True),
        (b"call%5Fkey=x", True),
        (b"call_id=x", True),
        (b"going_away=1", True),
    ],
)
def test_who_comes_back_by_itself_says_so(query: bytes, *, comes_back: bool) -> None:
    """Its events must stay in the outbox."""
    assert request(query).comes_back is comes_back
    assert not request(query).wants_received
    assert request(query + b"&received=1").wants_received


@pytest.mark.parametrize(
    "path", [b"/realtime/call_aaaaaaaaaaaaaaaaaaaaaaaaaa", b"/re%61ltime/call_aaaaaaaaaaaaaaaaaaaaaaaaaa"]
)
def test_who_resumes_by_the_path_comes_back(path: bytes) -> None:
    """However it is written: nothing is acknowledged for it, and it is sent away when the edge leaves."""
    asked = request(b"resume_token=t", path)
    assert asked.comes_back
    assert asked.may_resume
    assert asked.is_call
    assert asked.resume("call_x", "new", 1).target.startswith("/realtime?")
    assert not request(b"model=echo").comes_back
    assert not request(b"model=echo").may_resume
