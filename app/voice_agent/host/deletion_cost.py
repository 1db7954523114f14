"""Tells Kubernetes how many calls a pod has, so that a scale-in removes those with the fewest.

A ReplicaSet removes first the pods whose annotation `controller.kubernetes.io/pod-deletion-cost` is lowest (Kubernetes
documentation, "ReplicaSet", "Pod deletion cost"; it asks not to write it often). Nothing waits for this: what fails is
logged once, counted, and tried again later and later.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import structlog

from voice_agent.retry import Delays
from voice_agent.runtime.ports import Clock

ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
MERGE_PATCH = "application/merge-patch+json"
API = "https://kubernetes.default.svc"
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its token, the authority of the API server, and its namespace."""
EVERY_S = 30.0
"""At most so often: each time is a write for the whole cluster's store."""
TRIES = Delays(first_s=EVERY_S, longest_s=600.0)
ANSWER_S = 5.0

log = structlog.get_logger(__name__)


class DeletionCost:
    """One pod's; `run` is to be a task for as long as it lives."""

    def __init__(
        self,
        pod: str,
        calls: Callable[[], int],
        clock: Clock,
        failed: Callable[[], None],
        *,
        api: str = API,
        account: Path = SERVICE_ACCOUNT,
    ) -> None:
        """`pod`: its name in Kubernetes. `failed` is called when the API did not take it."""
        self._pod = pod
        self._calls = calls
        self._clock = clock
        self._failed = failed
        self._api = api
        self._account = account
        self._told: int | None = None
        """What the API took last; None: nothing yet."""
        self._delay_s = 0.0
        """Until the next try, while it fails."""

    async def run(self) -> None:
        """Tell it whenever it has changed, until cancelled."""
        while True:
            calls = self._calls()
            if calls != self._told:
                await self._try(calls)
            await self._clock.sleep(self._delay_s or EVERY_S)

    async def _try(self, calls: int) -> None:
        try:
            await self._tell(calls)
        except Exception as error:  # noqa: BLE001 - the root of each try: calls must not suffer for it
            if not self._delay_s:
                why = f"{type(error).__name__}: {error}"
                log.warning("Kubernetes is not told how many calls this pod has", error=why)
            self._delay_s = TRIES.after(self._delay_s)
            self._failed()
        else:
            if self._delay_s:
                log.info("Kubernetes is told how many calls this pod has", calls=calls)
            self._told, self._delay_s = calls, 0.0

    async def _tell(self, calls: int) -> None:
        """All that is in the files is read each time: the token is replaced every hour, the authority now and then."""
        import httpx

        token, namespace = (self._read(name) for name in ("token", "namespace"))
        context = ssl.create_default_context(cafile=self._account / "ca.crt")
        url = f"{self._api}/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(self._pod, safe='')}"
        async with httpx.AsyncClient(verify=context, timeout=ANSWER_S, trust_env=False) as client:
            answer = await client.patch(
                url,
                json={"metadata": {"annotations": {ANNOTATION: str(calls)}}},
                headers={"Authorization": f"Bearer {token}", "Content-Type": MERGE_PATCH},
            )
        answer.raise_for_status()

    def _read(self, name: str) -> str:
        return (self._account / name).read_text(encoding="utf-8").strip()


@asynccontextmanager
async def kept_told(cost: DeletionCost) -> AsyncIterator[None]:
    """Tell it for the length of a block."""
    task = asyncio.create_task(cost.run(), name="deletion cost")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
