"""What an agent is: one per pod, and `run` once for each owner of each call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from voice_agent.kit.call import Call
from voice_agent.kit.ear import Ear
from voice_agent.kit.voice import Voice

if TYPE_CHECKING:
    import httpx


@dataclass(slots=True)
class Kit:
    """What a pod gives an agent to work with."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """This agent's own settings: ``VOICE_AGENT_<NAME>_…``, over those of its TOML file. Names in lower case."""
    ears: Mapping[str, Ear] = field(default_factory=dict)
    """By name; all are opened."""
    voices: Mapping[str, Voice] = field(default_factory=dict)
    _http: httpx.AsyncClient | None = None

    @property
    def http(self) -> httpx.AsyncClient:
        """One client for all agents of the pod, made when it is first asked for; the pod closes it."""
        if self._http is None:
            import httpx

            self._http = httpx.AsyncClient()
        return self._http

    async def close(self) -> None:
        """Close what it holds."""
        if self._http is not None:
            await self._http.aclose()


class Agent:
    """Something that answers calls. One instance serves all calls of a pod; every method has a default."""

    name: str = ""
    ear: Ear | None = None
    """Which one hears its callers; None: the server's own. A plain `Ear()` understands nothing."""
    voice: Voice | None = None
    """Which one says what `Speech.text` is given; None: the server's own, without which it is not served.

    A plain `Voice()` is for an agent that has no text said.
    """
    lead_ms: int | None = None
    """How far ahead of real time its audio may be sent, in milliseconds; None: as its voice says."""

    async def open(self, kit: Kit) -> None:
        """Load models, start what is needed. Called once; the server takes no calls before it returns."""

    async def ready(self) -> None:
        """Wait until calls need not wait for it any more. Raises what keeps it from that: the server then leaves."""

    async def close(self) -> None:
        """Release what `open` acquired."""

    async def run(self, call: Call) -> None:
        """Handle the events of a call, on this pod, until it ends or goes to another; then it is cancelled.

        The default acknowledges everything and says nothing.
        """
        async for _event in call.events():
            pass
