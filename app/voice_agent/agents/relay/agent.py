"""An agent that relays calls to a model of speech to speech behind an upstream Realtime API."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from voice_agent.agents.pipeline.last_resort import LastResort
from voice_agent.agents.relay.dialing import UpstreamDialer
from voice_agent.agents.relay.relay_settings import RelaySettings
from voice_agent.agents.relay.relayed_call import RelayedCall
from voice_agent.agents.tools.webhook import WebhookTool
from voice_agent.kit.agent import Agent, Kit
from voice_agent.kit.call import Call
from voice_agent.kit.ear import AgentEar
from voice_agent.kit.speech import SpeechInterrupted
from voice_agent.kit.tools import Tool
from voice_agent.kit.voice import Voice
from voice_agent.providers.client import ProviderClient


class Relay(Agent):
    """Hears and speaks with an upstream: OpenAI's, Azure's, or another server of this kind.

    The conversation is kept here. An upstream may end its session, or be lost, while somebody speaks: the next session
    is given the conversation, and goes on.
    """

    name = "relay"
    Settings = RelaySettings
    ear = AgentEar()
    """The upstream understands the caller, unless an ear is set."""
    voice = Voice()
    """The upstream speaks."""
    lead_ms = 400
    tools: Sequence[Tool] = ()
    """What the model may have done on the server, beside the client's functions and the webhooks of the settings."""

    def __init__(self) -> None:
        self._settings: RelaySettings
        self._last_resort: LastResort
        self._dialer: UpstreamDialer | None = None
        self._by_name: dict[str, Tool] = {}

    async def open(self, kit: Kit) -> None:
        """See `Agent.open`. No upstream is asked yet."""
        settings = kit.settings if isinstance(kit.settings, RelaySettings) else RelaySettings(**kit.settings)
        self._settings = settings
        webhooks = [WebhookTool(one, kit.http) for one in settings.tools]
        for tool in (*self.tools, *webhooks):
            if self._by_name.setdefault(tool.name, tool) is not tool:
                raise ValueError(f"There are two tools called {tool.name!r}.")
        call_back = settings.call_back_webhook
        self._last_resort = LastResort(settings, WebhookTool(call_back, kit.http) if call_back is not None else None)
        self._dialer = UpstreamDialer(
            settings.endpoints,
            kit.shared(ProviderClient).health,
            limit_s=settings.session_limit_s,
            renew_before_s=settings.renew_before_s,
        )

    async def close(self) -> None:
        """See `Agent.close`."""
        if self._dialer is not None:
            await self._dialer.close()

    async def run(self, call: Call) -> None:
        """See `Agent.run`. An event whose speech was interrupted is done."""
        assert self._dialer is not None
        relayed = RelayedCall(
            call,
            self._dialer,
            self._settings,
            self._by_name,
            self._last_resort,
            transcribes=isinstance(self.ear, AgentEar),
            speaks=type(self.voice) is not Voice,
        )
        try:
            async for event in call.events():
                with suppress(SpeechInterrupted):
                    await relayed.handle(event)
        finally:
            relayed.close()
