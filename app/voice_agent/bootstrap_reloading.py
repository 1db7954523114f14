"""Loads agents anew while their author writes them: calls go on under the new ones, as on another pod."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog

from voice_agent.agents.file_changes import FileChanges
from voice_agent.bootstrap_agents import PodAgents
from voice_agent.errors import VoiceAgentError
from voice_agent.invalid_settings import in_one_line
from voice_agent.kit.agent import Agent
from voice_agent.runtime.pod.owned_calls import OwnedCalls
from voice_agent.runtime.ports import Clock

LOOK_S = 1.0
"""How often files are looked at."""

log = structlog.get_logger(__name__)


class Reloader:
    """Looks at the files that a pod's agents are from."""

    def __init__(self, agents: PodAgents, owned: OwnedCalls) -> None:
        """`owned`: the calls that are to go on under a new agent. The agents have just been loaded."""
        self._agents = agents
        self._owned = owned
        self._changes: defaultdict[str, FileChanges] = defaultdict(FileChanges)
        self._retired: list[Agent] = []
        """In whose place others are; still open."""
        self._changed()

    async def look(self) -> None:
        """Load each agent anew whose files have changed. What is wrong with a new one is logged; the old one stays."""
        retired, self._retired = self._retired, []
        changed = self._changed()
        for name in changed:
            try:
                self._retired.append(await self._agents.reload(name))
            except Exception as error:  # noqa: BLE001 whatever an author's file does must not end the pod
                why = in_one_line(str(error) if isinstance(error, VoiceAgentError) else repr(error))
                log.warning("agent not loaded", agent=name, reason=why)
            else:
                log.info("agent loaded anew", agent=name)
        for one in [one for one in self._agents.registry.served.values() if one.source is not None]:
            await self._owned.change_agent(one.agent)
        # A call that was being taken over meanwhile had got the old one, and has been given to the new one by now.
        if retired or changed:
            await self._retire(retired)

    async def close(self) -> None:
        """Close what is still open of agents that are no longer served."""
        retired, self._retired = self._retired, []
        await self._retire(retired)

    async def _retire(self, agents: list[Agent]) -> None:
        try:
            await self._agents.retire(agents, besides=self._retired)
        except Exception:
            log.exception("closing an agent failed")

    def _changed(self) -> list[str]:
        served = self._agents.registry.served
        sources = {name: one.source for name, one in served.items() if one.source is not None}
        # What is missing is being saved by an editor that writes another first: it changes again in a moment.
        return [
            name
            for name, source in sources.items()
            if self._changes[name].look(self._agents.watched(name)) and source.exists
        ]


@asynccontextmanager
async def reloading(agents: PodAgents, owned: OwnedCalls, clock: Clock) -> AsyncIterator[None]:
    """While this is open, agents are loaded anew as soon as their files change."""
    reloader = Reloader(agents, owned)

    async def keep_looking() -> None:
        while True:
            await clock.sleep(LOOK_S)
            try:
                await reloader.look()
            except Exception:
                # The root of the task: the next save is another try.
                log.exception("loading agents anew failed")

    looking = asyncio.create_task(keep_looking(), name="reload")
    try:
        yield
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
        await reloader.close()
