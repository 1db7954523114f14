"""What is refused is refused before the upgrade, with a status and a reason."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.e2e.pods import PodProcess, pods
from tests.waiting import PATIENCE_S


async def start_call(
    pod: PodProcess, key: str = "right-key-0123456789", **query: str
) -> tuple[ClientConnection, dict[str, Any]]:
    """An open call and its ``session.call``."""
    asked = "&".join(f"{name}={value}" for name, value in {"model": "echo", **query}.items())
    socket = await connect(f"{pod.url}?{asked}", additional_headers={"Authorization": f"Bearer {key}"})
    return socket, orjson.loads(await socket.recv())["session"]["call"]


async def refusal(pod: PodProcess, query: str, **headers: str) -> tuple[int, dict[str, Any], str | None]:
    """Status, error and Retry-After of a connection that must not be upgraded."""
    with pytest.raises(InvalidStatus) as refused:
        await connect(
            f"{pod.url}?{query}", additional_headers={name.replace("_", "-"): v for name, v in headers.items()}
        )
    response = refused.value.response
    return response.status_code, orjson.loads(response.body or b"")["error"], response.headers.get("Retry-After")


async def test_each_refusal_has_its_status(redis_url: str) -> None:
    """Keys, tokens, unknown, ended and expired calls, bad parameters, a full and a draining pod."""
    keys = "right-key-0123456789,other-key-0123456789"
    key = {"Authorization": "Bearer right-key-0123456789"}
    async with pods(redis_url) as its:
        pod = await its.start(api_keys=keys, max_calls=2, max_calls_per_key=1, resume_window=1, call_ttl=60)
        assert (await refusal(pod, "model=echo"))[0] == 401
        assert (await refusal(pod, "model=echo", Authorization="Bearer wrong"))[0] == 401
        status, error, _ = await refusal(pod, "model=nobody", **key)
        assert (status, error["param"]) == (400, "model")

        first, call = await start_call(pod)
        assert (await refusal(pod, "model=echo", **key))[0] == 429
        second, other = await start_call(pod, "other-key-0123456789")
        status, _, retry_after = await refusal(pod, "model=echo", **key)
        assert (status, retry_after) == (503, "1")
        await second.close()
        await until_active(pod, 1)

        resume = f"call_id={call['id']}&last_event_id=evt_0&resume_token="
        assert (await refusal(pod, resume + "0" * 64))[0] == 403
        assert (await refusal(pod, resume + other["resume_token"]))[0] == 403
        assert (await refusal(pod, f"call_id={other['id']}&resume_token={other['resume_token']}"))[0] == 410
        status, error, _ = await refusal(
            pod, f"call_id={call['id']}&resume_token={call['resume_token']}&last_event_id=41"
        )
        assert (status, error["param"]) == (400, "last_event_id")

        first.transport.abort()
        async with asyncio.timeout(PATIENCE_S):
            while not (await pod.metrics())['voice_calls_total{outcome="abandoned"}']:
                await asyncio.sleep(0.05)
        status, error, _ = await refusal(pod, resume + call["resume_token"])
        assert (status, error["code"]) == (410, "call_ended")

        kept, _ = await start_call(pod)
        pod.terminate()
        await pod.until_health(status="draining")
        status, error, retry_after = await refusal(pod, "model=echo", Authorization="Bearer other-key-0123456789")
        assert (status, error["code"], retry_after) == (503, "draining", "1")
        assert (await refusal(pod, resume + call["resume_token"]))[0] == 503
        await kept.close()
        assert await pod.exit_status() == 0


async def until_active(pod: PodProcess, calls: int) -> None:
    """Wait until the pod counts so many active calls."""
    await pod.until_health(active_calls=calls)


async def test_a_record_that_is_gone_is_404(redis_url: str, shared_redis: Any) -> None:
    """With no record at all the call is unknown, even with its right token."""
    import redis.asyncio

    async with pods(redis_url) as its:
        pod = await its.start()
        socket, call = await start_call(pod)
        await socket.close()
        await until_active(pod, 0)
        async with redis.asyncio.Redis.from_url(redis_url) as client:
            await client.delete(f"call:{{{call['id']}}}")
        status, error, _ = await refusal(pod, f"call_id={call['id']}&resume_token={call['resume_token']}")
        assert (status, error["code"]) == (404, "call_not_found")


async def test_a_revoked_key_has_no_call(redis_url: str) -> None:
    """Neither a new one nor, on a pod that knows it, one that another pod began; there it is over for good."""
    keys = "right-key-0123456789,other-key-0123456789"
    async with pods(redis_url) as its:
        blue = await its.start(api_keys=keys)
        green = await its.start("green", api_keys=keys, revoked_api_keys="right-key-0123456789")
        socket, call = await start_call(blue)
        resume = f"call_id={call['id']}&resume_token={call['resume_token']}"
        status, error, _ = await refusal(green, "model=echo", Authorization="Bearer right-key-0123456789")
        assert (status, error["code"]) == (401, "revoked_api_key")
        status, error, _ = await refusal(green, resume)
        assert (status, error["code"]) == (401, "revoked_api_key")
        assert (await refusal(blue, resume))[0] == 410
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code in {4409, 4410}
        kept, _ = await start_call(green, "other-key-0123456789")
        await kept.close()
