"""What is kept of a caller's first request."""

from __future__ import annotations

from urllib.parse import urlencode

import orjson
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from tests.web.rig import running
from voice_agent.call.record import MAX_CALLER_BYTES
from voice_agent.edge.requests import CallerRequest
from voice_agent.runtime.ports import StartCall
from voice_agent.web.caller_facts import MAX_PARAMETERS, caller_facts

NOTHING: dict[str, dict[str, str]] = {"query": {}, "headers": {}}


def headers(**named: str) -> Headers:
    """Of these names, with hyphens."""
    return Headers({name.replace("_", "-"): value for name, value in named.items()})


def facts(query: str = "", **named: str) -> dict[str, dict[str, str]]:
    """What is kept of a request with these."""
    return caller_facts(query.encode(), headers(**named))


def test_what_a_client_says_of_its_own_is_kept() -> None:
    """Its parameters, and headers that tell who it is."""
    kept = facts("customer=4711&plan=g%C3%BCnstig+1&empty=", User_Agent="phone/1", X_Tenant="acme", Origin="https://a")
    assert kept == {
        "query": {"customer": "4711", "plan": "günstig 1", "empty": ""},
        "headers": {"user-agent": "phone/1", "x-tenant": "acme", "origin": "https://a"},
    }


@pytest.mark.parametrize(
    "name",
    "call_key resume_token api_key apikey access-token Authorization client_secret X-Amz-Signature sessionCookie jwt "
    "password credentials".split(),
)
def test_what_is_named_like_a_secret_is_left_out(name: str) -> None:
    """In the URL and in headers; the record of a call would keep it."""
    assert facts(f"{name}=open", **{f"x-{name}": "open"}) == NOTHING


@pytest.mark.parametrize(
    "name", "authorization api-key cookie host accept sec-websocket-protocol referer forwarded via".split()
)
def test_other_headers_are_left_out(name: str) -> None:
    """They hold keys, or say nothing of who calls."""
    assert facts(**{name: "x"}) == NOTHING


def test_what_the_protocol_and_proxies_say_is_left_out() -> None:
    """It is another one over an edge."""
    query = "model=echo&call_id=x&last_event_id=evt_1&resumable=1&going_away=1&received=1&directed=1&intent=x"
    assert facts(query, X_Forwarded_For="192.0.2.1", X_Real_IP="192.0.2.1", X_Voice_Color="blue") == NOTHING


def test_what_is_given_twice_is_kept_as_it_was_first() -> None:
    """Nobody can put another one behind it."""
    assert facts("a=1&a=2")["query"] == {"a": "1"}


def test_what_is_no_text_is_left_out() -> None:
    """It may be in any encoding."""
    assert facts("a=%ff&%fe=1&&=3&b=2")["query"] == {"b": "2"}


def test_what_does_not_fit_is_left_out_the_longest_first() -> None:
    """So that one long parameter does not cost the agent all the others."""
    long, longer = "l" * 2_000, "m" * 2_001
    kept = facts(f"a={long}&b={longer}&c=3", x_d="4", x_e="e" * 3_000)
    assert kept == {"query": {"a": long, "b": longer, "c": "3"}, "headers": {"x-d": "4"}}
    assert len(orjson.dumps(kept)) <= MAX_CALLER_BYTES


def test_a_url_of_many_parameters_costs_little() -> None:
    """Those behind the first are not even decoded."""
    assert len(facts("&".join(f"{n}={n}" for n in range(10_000)))["query"]) == MAX_PARAMETERS


@given(st.dictionaries(st.text(), st.text(max_size=3000)), st.integers(0, 5_000))
def test_the_record_holds_what_is_kept(query: dict[str, str], size: int) -> None:
    """However its characters are written in JSON."""
    kept = facts(urlencode(query, errors="ignore"), x_size="\x1f" * size)
    assert len(orjson.dumps(kept)) <= MAX_CALLER_BYTES


async def test_it_is_the_same_over_an_edge() -> None:
    """What the edge adds says nothing of who calls, and what it replaces was the protocol's."""
    named = {"User-Agent": "phone/1", "X-Tenant": "acme", "Authorization": "Bearer abc"}
    query = b"model=echo&customer=4711&resumable=1&api_token=abc"
    asked = CallerRequest(
        path=b"/v1/realtime",
        query=query,
        headers=tuple((name.lower().encode(), value.encode()) for name, value in {"Host": "edge", **named}.items()),
        subprotocols=(),
        address="192.0.2.1",
    ).first()
    over_edge = caller_facts(asked.target.partition("?")[2].encode("latin-1"), Headers(dict(asked.headers)))
    assert over_edge == caller_facts(query, Headers(named))
    assert over_edge == {"query": {"customer": "4711"}, "headers": {"user-agent": "phone/1", "x-tenant": "acme"}}


async def test_the_pod_is_told_and_no_log_is() -> None:
    """With the request for the call, whose printed form does not show it either."""
    with structlog.testing.capture_logs() as lines:
        async with running() as server, server.connect("/v1/realtime?customer=4711", user_agent_header="phone/1"):
            (asked,) = server.pod.requests
    assert isinstance(asked, StartCall)
    assert asked.caller == {"query": {"customer": "4711"}, "headers": {"user-agent": "phone/1"}}
    assert "4711" not in f"{asked!r}{lines}"
