"""What the fleet looks like, and one pod's admin door."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import httpx

from voice_agent.call.drain import DrainMode
from voice_agent.client.trust import verification
from voice_agent.errors import VoiceAgentError
from voice_agent.runtime.pod.fleet import ColorSum, sum_by_color
from voice_agent.stores.base import PodCounters, PodHeartbeat

ANSWER_S = 5.0


class FleetError(VoiceAgentError):
    """A pod or the fleet could not be asked, or did not do what it was told in time."""


class PodSilent(FleetError):
    """A pod did not answer, or broke off: it may be leaving, or back in a moment."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Every living pod, and the sums per color."""

    pods: list[PodHeartbeat]

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


class RemotePod:
    """One pod, through its admin door. Every method raises `FleetError` when the pod does not do it."""

    def __init__(self, url: str, token: str | None = None, *, own: Path | None = None) -> None:
        """`own`: the pod's certificate, if that is known; else the system says whose are believed."""
        self.url = url.rstrip("/")
        self._verify = verification(url, own=own)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def fleet(self) -> Fleet:
        """What this pod knows of all pods."""
        found = await self._ask("GET", "/admin/fleet")
        try:
            return Fleet([_heartbeat(said) for said in found["pods"]])
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise FleetError(f"{self.url} says of its fleet what this version does not understand.") from error

    async def drain(self, mode: DrainMode | None, deadline_s: float | None) -> dict[str, Any]:
        """Start a drain; None leaves it to the pod's settings. Returns its mode, deadline and calls."""
        request = {"mode": mode, "deadline_s": deadline_s}
        return await self._ask(
            "POST", "/admin/drain", {key: value for key, value in request.items() if value is not None}
        )

    async def cancel_drain(self) -> bool:
        """Take calls again; False if there was no drain."""
        return bool((await self._ask("DELETE", "/admin/drain"))["cancelled"])

    async def health(self) -> dict[str, Any] | None:
        """What it says of itself, with `status` and `active_calls`; None once nobody listens at its address.

        That is known only where the connection is refused: a name that is not found, or a network that is down, says
        nothing of the pod.
        """
        try:
            response = await self._request("GET", "/healthz/realtime", None)
        except httpx.HTTPError as error:
            if isinstance(error, httpx.ConnectError) and _is_refusal(error):
                return None
            raise self._silent(error) from error
        health = self._parsed(response, "/healthz/realtime")
        if not {"status", "active_calls"} <= health.keys():
            raise FleetError(f"{self.url} is not a voice-agent: its health check says neither status nor calls.")
        return health

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            response = await self._request(method, path, body)
        except httpx.HTTPError as error:
            raise self._silent(error) from error
        answer = self._parsed(response, path)
        if response.status_code != 200:
            said = answer.get("error")
            message = said.get("message", "") if isinstance(said, dict) else ""
            raise FleetError(f"{self.url} refused with {response.status_code}: {message or 'no reason given'}")
        return answer

    def _parsed(self, response: httpx.Response, path: str) -> dict[str, Any]:
        try:
            answer: Any = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise FleetError(f"{self.url} is not a voice-agent: {path} does not answer with a JSON object.")
        return answer

    async def _request(self, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
        async with httpx.AsyncClient(timeout=ANSWER_S, trust_env=False, verify=self._verify) as http:
            return await http.request(method, self.url + path, json=body, headers=self._headers)

    def _silent(self, error: httpx.HTTPError) -> PodSilent:
        return PodSilent(f"No pod answers at {self.url} ({str(error) or type(error).__name__}).")


def _is_refusal(error: BaseException) -> bool:
    """Whether each address that was tried said that nobody listens there."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_refusal, error.exceptions))
    before = error.__cause__ or error.__context__
    return isinstance(error, ConnectionRefusedError) or (before is not None and _is_refusal(before))


def _heartbeat(said: dict[str, Any]) -> PodHeartbeat:
    """A pod of a newer version may say more, one of an older version less."""
    counters = said.get("counters")
    counted = None if counters is None else PodCounters(**_known(PodCounters, counters))
    oldest, newest = said.get("reads_schemas", (0, 0))
    return PodHeartbeat(**{**_known(PodHeartbeat, said), "counters": counted, "reads_schemas": (oldest, newest)})


def _known(kind: type[PodHeartbeat | PodCounters], said: dict[str, Any]) -> dict[str, Any]:
    return {field.name: said[field.name] for field in fields(kind) if field.name in said}
