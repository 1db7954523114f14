"""An edge as load balancers, Prometheus and an operator see it.

Here are the tests of `application`, `dialing`, `edge_admission`, `pod_socket` and `upstreams`, and those of
`voice_agent.bootstrap_edge` and `voice_agent.edge_settings`.
"""

from __future__ import annotations

import asyncio
import gc
from typing import Any
from unittest.mock import Mock

import httpx
import orjson
import pytest
from websockets.exceptions import InvalidStatus

from tests.edge.rig import CALL_ID, PlainCaller, edge_rig
from tests.servers import free_port
from tests.waiting import PATIENCE_S, until
from voice_agent.call.drain import DrainMode
from voice_agent.edge import dialing, pod_socket
from voice_agent.edge import edge as edge_module
from voice_agent.runtime.pod.overload import OverloadDetector


async def test_a_pods_refusal_is_the_callers() -> None:
    """Status, body and headers."""
    async with edge_rig() as its:
        body = orjson.dumps({"error": {"code": "too_many_calls"}})
        its.pods.refuse(429, body, Retry_After="7", X_Voice_Pod="blue-1")
        with pytest.raises(InvalidStatus) as refused:
            await its.connect().__aenter__()
        response = refused.value.response
        assert (response.status_code, response.body) == (429, body)
        assert (response.headers["Retry-After"], response.headers["X-Voice-Pod"]) == ("7", "blue-1")


async def test_what_a_pod_says_with_its_yes_is_the_callers() -> None:
    """The subprotocol that it chose, and its headers."""
    async with edge_rig() as its:
        caller = await its.call(subprotocols=["realtime", "openai-insecure-api-key.k"])
        assert caller.socket.subprotocol == "realtime"
        assert caller.socket.response is not None
        assert caller.socket.response.headers["X-Call-Id"] == CALL_ID


async def test_without_any_pod_a_caller_is_refused() -> None:
    """And told when to come again; health says so."""
    async with edge_rig() as its:
        await until(lambda: its.edge.upstreams.take_calls)
        await its.pods.close()
        with pytest.raises(InvalidStatus) as refused:
            await its.connect().__aenter__()
        assert refused.value.response.status_code == 503
        assert orjson.loads(refused.value.response.body or b"")["error"]["code"] == "no_pod"
        await until(lambda: not its.edge.upstreams.take_calls)
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"{its.http}/healthz/realtime")).status_code == 503
            assert (await client.get(f"{its.http}/healthz/live")).status_code == 200


async def test_of_several_addresses_one_that_does_not_answer_is_passed_over() -> None:
    """A caller need not know."""
    async with edge_rig(more_urls=(f"ws://127.0.0.1:{free_port()}",)) as its:
        for _ in range(2):
            await its.call()
        await until(lambda: sum(its.edge.upstreams.answering.values()) == 1)


async def test_health_and_metrics_tell_what_is_held() -> None:
    """As those of a pod do; nothing else is served by plain HTTP."""
    async with edge_rig(max_calls=2) as its, httpx.AsyncClient(base_url=its.http, trust_env=False) as client:
        await until(lambda: its.edge.upstreams.take_calls)
        await its.call()
        health = (await client.get("/healthz/realtime")).json()
        assert (health["status"], health["color"], health["pod"]) == ("ok", "edge", "edge-a")
        assert (health["active_calls"], health["capacity"], health["store"]) == (1, 2, "upstream:ok")
        page = (await client.get("/metrics")).text
        assert "voice_edge_calls 1.0" in page
        assert "voice_edge_capacity_calls 2.0" in page
        assert (await client.get("/admin/calls")).status_code == 404


async def test_no_more_callers_are_held_than_may_be() -> None:
    """The next one is refused without asking a pod."""
    async with edge_rig(max_calls=1) as its:
        await its.call()
        with pytest.raises(InvalidStatus) as refused:
            await its.connect().__aenter__()
        assert refused.value.response.status_code == 503
        assert len(its.pods.connections) == 1
        assert its.metric('voice_edge_refusals_total{reason="capacity",status="503"}') == 1


async def test_an_edge_whose_loop_is_late_takes_only_callers_whose_call_may_exist(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """New ones are refused, and told when to come again; health says it, and all is well once the loop is."""
    is_late = True

    def sample(detector: OverloadDetector, now_s: float, lag_s: float) -> bool:
        detector.overloaded = is_late
        return True

    monkeypatch.setattr(OverloadDetector, "sample", sample)
    async with edge_rig() as its, httpx.AsyncClient(base_url=its.http, trust_env=False) as client:
        await until(lambda: its.edge.upstreams.take_calls and its.edge.admission.overloaded)
        with pytest.raises(InvalidStatus) as refused:
            await its.connect().__aenter__()
        assert (refused.value.response.status_code, refused.value.response.headers["Retry-After"]) == (503, "1")
        assert its.metric('voice_edge_refusals_total{reason="overloaded",status="503"}') == 1
        assert its.metric('voice_edge_limits_total{limit="overload"}') == 1
        health = await client.get("/healthz/realtime")
        assert (health.status_code, health.json()["status"]) == (200, "overloaded")
        await its.call(f"/v1/realtime?call_id={CALL_ID}&last_event_id=evt_0")
        await its.call("/v1/realtime?call_key=" + "k" * 32)
        await its.call(f"/realtime/{CALL_ID}")
        is_late = False
        await until(lambda: not its.edge.admission.overloaded)
        await its.call()


async def test_an_edge_that_leaves_sends_those_away_who_can_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others may end; nobody new is taken."""
    monkeypatch.setattr(edge_module, "LEAVE_SPREAD_S", 0.01)
    async with edge_rig() as its:
        plain = await its.call()
        comes_back = await its.call("/realtime?resumable=1")
        its.edge.drain(DrainMode.HANDOFF, 60)
        assert (await comes_back.closed())[0] == 1012
        with pytest.raises(InvalidStatus) as refused:
            await its.connect().__aenter__()
        assert refused.value.response.status_code == 503
        assert its.edge.status().status == "draining"
        pod = its.pods.connections[0]
        await pod.say(event_id="evt_1", type="response.done")
        await plain.hear(2)
        await plain.socket.close(1000)
        await asyncio.wait_for(its.edge.wait_drained(), PATIENCE_S)


async def test_at_the_deadline_an_edge_sends_everybody_away() -> None:
    """Who cannot come back is counted as lost."""
    async with edge_rig() as its:
        plain = await its.call()
        its.edge.drain(DrainMode.FINISH, 0)
        assert (await plain.closed())[0] == 1012
        assert its.metric('voice_edge_lost_total{cause="drain"}') == 1
        await until(lambda: its.pods.connections[0].closed_with == 1001)


async def test_a_pod_that_falls_silent_is_taken_for_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its host may have vanished without a word; one that answers pings is there. The silence is part of the gap."""
    monkeypatch.setattr(pod_socket, "SILENT_S", 0.0)
    monkeypatch.setattr(pod_socket, "DEAD_S", 0.5)
    monkeypatch.setattr(edge_module, "LOOK_S", 0.05)
    async with edge_rig() as its:
        await its.call()
        pod = await its.pods.connection(0)
        await asyncio.sleep(0.7)  # longer than a silent pod is waited for
        assert its.edge.away == 0
        pod.socket.transport.pause_reading()
        again = await its.pods.connection(1)
        await again.greet()
        await until(lambda: its.edge.away == 0)
        assert its.metric("voice_edge_gap_seconds_sum") >= pod_socket.DEAD_S


async def test_a_pod_that_falls_silent_before_it_has_replayed_all_is_taken_for_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The edge waits for what the greeting promised, and no longer than for any other pod."""
    monkeypatch.setattr(pod_socket, "SILENT_S", 0.0)
    monkeypatch.setattr(pod_socket, "DEAD_S", 0.2)
    monkeypatch.setattr(edge_module, "LOOK_S", 0.05)
    async with edge_rig() as its:
        await its.call()
        await (await its.pods.connection(0)).socket.close(1012)
        replaying = await its.pods.connection(1)
        await replaying.greet(call={"newest_event_id": "evt_3"})
        replaying.socket.transport.pause_reading()
        assert (await its.pods.connection(2)).query["last_event_id"] == "evt_0"


async def test_a_refusal_that_comes_when_nobody_waits_any_more_is_no_error() -> None:
    """As when a try is given up in the same turn of the loop."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    upgrade = dialing._Upgrade("ws://pod/", dialing.UpgradeRequest("/", [], []))
    upgrade.connection_made(Mock(spec=asyncio.Transport))
    upgrade.data_received(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
    assert upgrade.answer.done()
    del upgrade
    gc.collect()
    assert told == []


async def test_an_edge_that_stood_still_asks_a_pod_before_it_gives_it_up() -> None:
    """All of its calls would go elsewhere at once: what their pods said meanwhile was not read, or not asked for."""
    async with edge_rig() as its:
        await its.call()
        (call,) = its.edge._calls
        pod = call._pod
        silent_since_s = pod._heard_s = pod._heard_s - 60
        call.look()
        await until(lambda: pod._heard_s > silent_since_s)
        assert its.edge.away == 0
        assert len(its.pods.connections) == 1


async def test_a_pod_that_does_not_answer_in_time_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A load balancer may have one in its list that has fallen silent."""
    monkeypatch.setattr(dialing, "FIRST_DIAL_S", 0.3)
    taken: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: taken.append(writer), "127.0.0.1")
    url = f"ws://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    async with edge_rig(more_urls=(url,)) as its:
        opening = asyncio.ensure_future(its.connect().__aenter__())
        await (await its.pods.connection(0)).greet()
        await PlainCaller(await opening).hear(1)
    silent.close()
    for writer in taken:
        writer.close()


async def test_a_pod_that_has_answered_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its store may be slow: it has made the call, and another pod would make a second."""
    monkeypatch.setattr(dialing, "FIRST_DIAL_S", 0.3)
    async with edge_rig() as its:
        opening = asyncio.ensure_future(its.connect().__aenter__())
        pod = await its.pods.connection(0)
        await asyncio.sleep(0.6)  # longer than an answer is waited for
        await pod.greet()
        await PlainCaller(await opening).hear(1)
        assert len(its.pods.connections) == 1


async def test_a_server_that_cannot_resume_is_passed_on_as_it_is() -> None:
    """Every event, whatever its id; and its end is the caller's."""
    async with edge_rig() as its:
        opening = asyncio.ensure_future(its.connect().__aenter__())
        pod = await its.pods.connection(0)
        await pod.say(type="session.created", event_id="event_abc", session={"id": "sess_1"})
        caller = PlainCaller(await opening)
        await pod.say(type="response.done", event_id="event_def")
        await pod.say(type="error", event_id="event_ghi", error={})
        events = await caller.hear(3)
        assert [event["event_id"] for event in events] == ["event_abc", "event_def", "event_ghi"]
        await pod.socket.close(1012)
        assert (await caller.closed())[0] == 1012


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 101 Fine\r\n\r\n", b"x" * 200_000])
async def test_what_is_no_answer_is_no_pod(answer: bytes) -> None:
    """A balancer that breaks off, or another program altogether."""

    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    port = free_port()
    async with await asyncio.start_server(nonsense, "127.0.0.1", port), edge_rig() as its:
        its.edge.upstreams.dialer.urls = (f"ws://127.0.0.1:{port}",)
        with pytest.raises(InvalidStatus) as refused:
            await its.connect().__aenter__()
        assert refused.value.response.status_code == 503


async def test_an_edge_needs_two_descriptors_for_a_call() -> None:
    """The caller's and the pod's: what is too few is told at the start."""
    async with edge_rig(max_calls=1000) as its:
        assert its.server._connections > 2000
