"""Looking at the fleet and draining it: through one pod's admin door, or through the store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from app.errors import VoiceAgentError
from app.runtime.fleet import ColorSum, sum_by_color
from app.runtime.ports import Clock
from app.stores.base import DrainWish, PodBeat, Store

ANSWER_S = 5.0
LOOK_S = 0.5


class FleetError(VoiceAgentError):
    """A pod or the fleet could not be asked, or did not do what it was told in time."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Every living pod, and the sums per color."""

    pods: list[PodBeat]

    @property
    def colors(self) -> dict[str, ColorSum]:
        """One sum per color."""
        return sum_by_color(self.pods)

    def as_json(self) -> dict[str, Any]:
        """The shape of ``GET /admin/fleet``."""
        return {
            "pods": [asdict(pod) for pod in self.pods],
            "colors": {color: asdict(found) for color, found in self.colors.items()},
        }

    def is_drained(self, color: str) -> bool:
        """Whether every pod of the color is draining and has no call left; also true when it has no pod."""
        return all(pod.status == "draining" and pod.active_calls == 0 for pod in self.pods if pod.color == color)


class RemotePod:
    """One pod, through its admin door. Every method raises `FleetError` when the pod does not do it."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def fleet(self) -> Fleet:
        """What this pod knows of all pods."""
        found = await self._ask("GET", "/admin/fleet")
        return Fleet([PodBeat(**beat) for beat in found["pods"]])

    async def drain(self, mode: str | None, deadline_s: float | None) -> dict[str, Any]:
        """Start a drain; None leaves it to the pod's settings. Returns its mode, deadline and calls."""
        wish = {"mode": mode, "deadline_s": deadline_s}
        return await self._ask("POST", "/admin/drain", {key: value for key, value in wish.items() if value is not None})

    async def cancel_drain(self) -> bool:
        """Take calls again; False if there was no drain."""
        return bool((await self._ask("DELETE", "/admin/drain"))["cancelled"])

    async def active_calls(self) -> int | None:
        """Calls attached now; None once the pod is gone."""
        try:
            response = await self._request("GET", "/healthz/realtime", None)
        except httpx.ConnectError:
            return None
        except httpx.HTTPError as error:
            raise self._silent(error) from error
        return int(response.json()["active_calls"])

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            response = await self._request(method, path, body)
        except httpx.HTTPError as error:
            raise self._silent(error) from error
        try:
            answer: dict[str, Any] = response.json()
        except ValueError as error:
            raise FleetError(f"{self._url} is not a voice-agent: {path} does not answer with JSON.") from error
        if response.status_code != 200:
            message = answer.get("error", {}).get("message", "no reason given")
            raise FleetError(f"{self._url} refused with {response.status_code}: {message}")
        return answer

    async def _request(self, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
        async with httpx.AsyncClient(timeout=ANSWER_S, trust_env=False) as http:
            return await http.request(method, self._url + path, json=body, headers=self._headers)

    def _silent(self, error: httpx.HTTPError) -> FleetError:
        return FleetError(f"No pod answers at {self._url} ({str(error) or type(error).__name__}).")


async def wish_drain(store: Store, color: str, mode: str, deadline_s: int, clock: Clock) -> DrainWish:
    """Ask every pod of a color to drain; each obeys at its next heartbeat."""
    wish = DrainWish(mode=mode, deadline_s=deadline_s, requested_at_ms=clock.wall_ms())
    await store.wish_drain(color, wish)
    return wish


async def until_drained(is_drained: Callable[[], Awaitable[bool]], what: str, timeout_s: float, clock: Clock) -> None:
    """Ask again and again; raises `FleetError` when `timeout_s` is over first."""
    try:
        async with asyncio.timeout(timeout_s):
            while not await is_drained():
                await clock.sleep(LOOK_S)
    except TimeoutError:
        raise FleetError(f"{what} still has calls after {timeout_s:g} s.") from None
