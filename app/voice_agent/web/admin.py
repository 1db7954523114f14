"""What an administrator may ask: calls, fleet and drain."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import structlog
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from voice_agent.call.drain import DrainMode
from voice_agent.errors import ConnectionRefused
from voice_agent.runtime.pod.fleet import sum_by_color
from voice_agent.settings import DAYS, Settings
from voice_agent.web.access import Access
from voice_agent.web.ports import CallPod

log = structlog.get_logger(__name__)


class DrainBody(BaseModel):
    """The body of ``POST /admin/drain``; what is left out comes from the settings."""

    model_config = ConfigDict(extra="forbid", strict=True)

    mode: DrainMode | None = None
    deadline_s: float | None = Field(default=None, ge=0, le=1 * DAYS, allow_inf_nan=False)


def routes(pod: CallPod, access: Access, settings: Settings) -> APIRouter:
    """Everything under ``/admin``."""

    async def admin_only(request: Request) -> None:
        """Reading a call, ending one and draining leave a line in the log, and so does every refusal."""
        client = request.client.host if request.client else None
        asked = {"method": request.method, "path": request.url.path, "client": client}
        try:
            access.check_admin(request.headers, client)
        except ConnectionRefused as refusal:
            log.warning("admin refused", code=refusal.code, **asked)
            raise
        is_look = request.method == "GET" and "call_id" not in request.path_params
        (log.debug if is_look else log.info)("admin", **asked)

    router = APIRouter(prefix="/admin", dependencies=[Depends(admin_only)])

    @router.get("/calls")
    async def calls() -> Response:
        listed = [_named(asdict(call)) for call in await pod.all_calls()]
        return _json({"pod": pod.status().pod, "color": pod.color, "calls": listed})

    @router.get("/calls/{call_id}")
    async def call(call_id: str) -> Response:
        record = await pod.call_record(call_id)
        if record is None:
            raise _no_such_call()
        return _json(_named(record))

    @router.delete("/calls/{call_id}")
    async def erase(call_id: str) -> Response:
        if not await pod.erase(call_id):
            raise _no_such_call()
        return _json({"call_id": call_id, "ended": True, "erased": True})

    @router.get("/fleet")
    async def fleet() -> Response:
        pods = await pod.fleet()
        colors = {color: asdict(found) for color, found in sum_by_color(pods).items()}
        return _json({"pods": [asdict(heartbeat) for heartbeat in pods], "colors": colors})

    @router.post("/drain")
    async def drain(request: Request) -> Response:
        asked = await _read_drain(request)
        mode = asked.mode or settings.drain_mode
        deadline_s = settings.drain_deadline if asked.deadline_s is None else asked.deadline_s
        if not await pod.begin_drain(mode, deadline_s, only=request.query_params.get("pod")):
            raise _no_such_pod()
        answer: dict[str, Any] = {"draining": True, "mode": mode, "deadline_s": deadline_s}
        answer["active_calls"] = pod.status().active_calls
        if mode is DrainMode.HANDOFF and "pod" not in request.query_params:
            found = await pod.ready_pods()
            answer |= {"ready_pods": found.pods, "waits": found.why_none}
        return _json(answer)

    @router.delete("/drain")
    async def cancel_drain(request: Request) -> Response:
        cancelled = await pod.end_drain(only=request.query_params.get("pod"))
        if cancelled is None:
            raise _no_such_pod()
        return _json({"draining": False, "cancelled": cancelled})

    return router


async def _read_drain(request: Request) -> DrainBody:
    body = await request.body()
    if not body.strip():
        return DrainBody()
    try:
        return DrainBody.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        param = ".".join(map(str, first["loc"])) or None
        raise ConnectionRefused(400, "invalid_parameter", f"{param or 'body'}: {first['msg']}", param=param) from None


def _named(call: dict[str, Any]) -> dict[str, Any]:
    """A call by `id` and by `call_id`: the list and the record say both."""
    call_id = call.get("call_id") or call["id"]
    return {"id": call_id, "call_id": call_id, **call}


def _json(content: dict[str, Any]) -> Response:
    return JSONResponse(content, headers={"Cache-Control": "no-store"})


def _no_such_call() -> ConnectionRefused:
    return ConnectionRefused(404, "call_not_found", "There is no such call.", param="call_id")


def _no_such_pod() -> ConnectionRefused:
    return ConnectionRefused(404, "pod_not_found", "No pod of this name is behind this port.", param="pod")
