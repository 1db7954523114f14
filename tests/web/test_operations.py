"""Health, metrics, admin and the front page, over real HTTP.

Tests of `admin`, `application`, `health` and `reading`, too.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.web.rig import CALL_ID, running
from voice_agent.errors import StoreUnavailable
from voice_agent.stores.base import PodHeartbeat, PodState

HEALTH_FIELDS = {"status", "color", "pod", "version", "active_calls", "parked_calls", "capacity", "store"}
HEALTH_FIELDS |= {"drain_waits"}


@pytest.mark.parametrize(
    ("health", "status"), [("ok", 200), ("degraded", 200), ("draining", 503), ("overloaded", 503), ("failing", 503)]
)
async def test_health_says_whether_the_pod_takes_calls(health: str, status: int) -> None:
    """200 while it serves, else 503 with `Retry-After`; the same fields always; alive in every case."""
    async with running() as server:
        server.pod.health = PodState(health)
        response = await server.http.get("/healthz/realtime")
        assert response.status_code == status
        assert ("Retry-After" in response.headers) == (status == 503)
        assert set(response.json()) == HEALTH_FIELDS
        assert response.json()["status"] == health
        assert (await server.http.get("/healthz/live")).status_code == 200


async def test_metrics_are_served_as_prometheus_text() -> None:
    """With the pod's own gauges in it."""
    async with running() as server, server.connect():
        response = await server.http.get("/metrics")
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert 'voice_active_calls{color="green",version="1.2"} 1.0' in response.text


async def test_the_front_page_points_the_way() -> None:
    """Somebody who opens the address in a browser learns what this is."""
    async with running() as server:
        response = await server.http.get("/")
        assert response.status_code == 200
        assert "voice-agent call" in response.text
        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]


async def test_plain_http_gets_plain_errors() -> None:
    """Unknown paths and methods are JSON errors of the same shape; no docs are served."""
    async with running() as server:
        for path in ("/nothing", "/docs", "/openapi.json", "/healthz/live/"):
            response = await server.http.get(path)
            assert response.status_code == 404
            assert response.json()["error"]["code"] == "not_found"
        response = await server.http.post("/healthz/live")
        assert response.status_code == 405
        assert response.json()["error"]["code"] == "method_not_allowed"
        assert "Server" not in response.headers


async def test_admin_shows_and_ends_calls() -> None:
    """The list, one call's record, and hanging up; unknown calls are 404. Both name a call by `id` and `call_id`."""
    async with running() as server:
        server.pod.records[CALL_ID] = {"id": CALL_ID, "transcript": []}
        async with server.connect():
            listed = (await server.http.get("/admin/calls")).json()
            assert listed["calls"] == [{"id": CALL_ID, **asdict(call)} for call in server.pod.calls()]
            assert listed["color"] == "green"
        record = (await server.http.get(f"/admin/calls/{CALL_ID}")).json()
        assert record == {"id": CALL_ID, "call_id": CALL_ID, "transcript": []}
        assert (await server.http.delete(f"/admin/calls/{CALL_ID}")).json() == {
            "call_id": CALL_ID,
            "ended": True,
            "erased": True,
        }
        for method in ("GET", "DELETE"):
            response = await server.http.request(method, f"/admin/calls/{CALL_ID}")
            assert (response.status_code, response.json()["error"]["code"]) == (404, "call_not_found")


def heartbeat(name: str, color: str, status: str, active: int) -> PodHeartbeat:
    """A pod's heartbeat."""
    return PodHeartbeat(name, color, "1", status, active, 1, 10, 0, 0, calls_not_resumable=1)


async def test_admin_sums_the_fleet_per_color() -> None:
    """Every pod, and what the pods of each color add up to."""
    async with running() as server:
        server.pod.heartbeats = [
            heartbeat("b", "green", "ok", 3),
            heartbeat("a", "blue", "draining", 2),
            heartbeat("c", "green", "failing", 4),
        ]
        fleet = (await server.http.get("/admin/fleet")).json()
        assert [pod["name"] for pod in fleet["pods"]] == ["b", "a", "c"]
        assert fleet["colors"] == {
            "blue": {
                "pods": 1,
                "taking_calls": 0,
                "active_calls": 2,
                "parked_calls": 1,
                "capacity": 10,
                "calls_not_resumable": 1,
            },
            "green": {
                "pods": 2,
                "taking_calls": 1,
                "active_calls": 7,
                "parked_calls": 2,
                "capacity": 20,
                "calls_not_resumable": 2,
            },
        }
        server.pod.fleet_error = StoreUnavailable("secret address")
        response = await server.http.get("/admin/fleet")
        assert response.status_code == 503
        assert "secret address" not in response.text


async def test_admin_starts_and_cancels_a_drain() -> None:
    """Mode and deadline come from the body, what it leaves out from the settings."""
    async with running(drain_mode="finish", drain_deadline=77) as server, server.connect():
        response = await server.http.post("/admin/drain", json={"mode": "handoff", "deadline_s": 5})
        begun = {"draining": True, "mode": "handoff", "deadline_s": 5, "active_calls": 1}
        assert response.json() == begun | {"ready_pods": ["pod-b"], "waits": ""}
        await server.http.post("/admin/drain")
        await server.http.post("/admin/drain", json={"deadline_s": 1.5})
        assert server.pod.drains == [("handoff", 5), ("finish", 77), ("finish", 1.5)]
        assert (await server.http.get("/healthz/realtime")).status_code == 503
        assert (await server.http.delete("/admin/drain")).json() == {"draining": False, "cancelled": True}
        assert (await server.http.delete("/admin/drain")).json() == {"draining": False, "cancelled": False}
        assert (await server.http.get("/healthz/realtime")).status_code == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ('{"mode": "quickly"}', "mode"),
        ('{"deadline_s": -1}', "deadline_s"),
        ('{"deadline_s": "5"}', "deadline_s"),
        ('{"deadline_s": NaN}', "deadline_s"),
        ('{"deadlines": 5}', "deadlines"),
        ("[]", None),
        ("nonsense", None),
    ],
)
async def test_a_wrong_drain_request_is_400_and_drains_nothing(body: str, param: str | None) -> None:
    """The field that is wrong is named."""
    async with running() as server:
        response = await server.http.post("/admin/drain", content=body)
        assert (response.status_code, response.json()["error"]["param"]) == (400, param)
        assert server.pod.drains == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer opens-admin"}, 200),
        ({"Authorization": "bearer opens-admin", "X-Forwarded-For": "10.0.0.1"}, 200),
        ({"Authorization": "Bearer opens-admim"}, 401),
        ({"Authorization": "opens-admin"}, 401),
        ({}, 401),
    ],
)
async def test_with_a_token_set_admin_needs_it(headers: dict[str, str], status: int) -> None:
    """Even from loopback."""
    async with running(admin_token="opens-admin") as server:
        assert (await server.http.get("/admin/calls", headers=headers)).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"X-Forwarded-For": "127.0.0.1"}, 403),
        ({"Forwarded": "for=10.0.0.1"}, 403),
        ({"Host": "voice.example.com"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost:8080"}, 200),
    ],
)
async def test_without_a_token_only_loopback_administers(headers: dict[str, str], status: int) -> None:
    """A request that a proxy passed on, or that a foreign page sends, is not loopback."""
    async with running() as server:
        response: Any = await server.http.post("/admin/drain", headers=headers)
        assert response.status_code == status
        assert bool(server.pod.drains) == (status == 200)


@pytest.mark.parametrize("path", ["/", "/healthz/realtime", "/healthz/live", "/metrics"])
async def test_what_is_read_answers_head_and_options(path: str) -> None:
    """As uptime checks and gateways ask; the same status and headers as of a GET, and no body."""
    async with running() as server:
        got, head = await server.http.get(path), await server.http.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["Content-Type"] == got.headers["Content-Type"]
        server.pod.health = PodState.FAILING
        if path == "/healthz/realtime":
            assert (await server.http.head(path)).status_code == 503
        allowed = await server.http.options(path)
        assert (allowed.status_code, allowed.headers["Allow"]) == (204, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize("path", ["/realtime", "/v1/realtime", f"/realtime/{CALL_ID}"])
async def test_plain_http_to_a_call_is_told_what_is_missing(path: str) -> None:
    """Somebody tried with curl, or a proxy dropped the headers of the upgrade: 426, and what to do."""
    async with running() as server:
        response = await server.http.get(path)
        assert (response.status_code, response.json()["error"]["code"]) == (426, "upgrade_required")
        assert response.headers["Upgrade"] == "websocket"
        assert "Upgrade and Connection" in response.json()["error"]["message"]


async def test_nobody_is_led_to_the_host_that_they_named() -> None:
    """A path with a slash too much is unknown: a redirect would carry the caller's Host."""
    async with running() as server:
        response = await server.http.get("/healthz/live/", headers={"Host": "evil.example"})
        assert response.status_code == 404
        assert "evil.example" not in str(response.headers) + response.text


async def test_who_administers_leaves_a_line() -> None:
    """Reading a call, ending one, a drain, and who may not: each is in the log, by whom and what; a look is not."""
    with capture_logs() as lines:
        async with running(admin_token="secret-token") as server:
            known = {"Authorization": "Bearer secret-token"}
            await server.http.get(f"/admin/calls/{CALL_ID}", headers=known)
            await server.http.delete(f"/admin/calls/{CALL_ID}", headers=known)
            await server.http.post("/admin/drain", headers=known)
            await server.http.get("/admin/fleet", headers=known)
            await server.http.get("/admin/fleet", headers={"Authorization": "Bearer guess"})
    told = [line for line in lines if line["event"].startswith("admin")]
    assert [(line["log_level"], line["method"], line["path"]) for line in told] == [
        ("info", "GET", f"/admin/calls/{CALL_ID}"),
        ("info", "DELETE", f"/admin/calls/{CALL_ID}"),
        ("info", "POST", "/admin/drain"),
        ("debug", "GET", "/admin/fleet"),
        ("warning", "GET", "/admin/fleet"),
    ]
    assert {line["client"] for line in told} == {"127.0.0.1"}
    assert "secret-token" not in str(told)
