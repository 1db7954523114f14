"""What load balancers, orchestrators and Prometheus ask."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from voice_agent.runtime.pod.fleet import TAKES_CALLS
from voice_agent.web.ports import CallPod, MetricsPage
from voice_agent.web.reading import READ, options

RETRY_AFTER_S = 1
PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"
UNCACHED = {"Cache-Control": "no-store"}


def routes(pod: CallPod, metrics: MetricsPage) -> APIRouter:
    """``/healthz/realtime``, ``/healthz/live`` and ``/metrics``."""
    router = APIRouter()

    @router.api_route("/healthz/realtime", methods=READ)
    async def realtime() -> Response:
        status = pod.status()
        serves = status.status in TAKES_CALLS
        headers = UNCACHED if serves else UNCACHED | {"Retry-After": str(RETRY_AFTER_S)}
        return JSONResponse(asdict(status), status_code=200 if serves else 503, headers=headers)

    @router.api_route("/healthz/live", methods=READ)
    async def live() -> Response:
        return JSONResponse({"status": "ok"}, headers=UNCACHED)

    @router.api_route("/metrics", methods=READ)
    async def page() -> Response:
        return Response(await metrics.read(), media_type=PROMETHEUS_TEXT)

    router.include_router(options(("/healthz/realtime", "/healthz/live", "/metrics")))
    return router
