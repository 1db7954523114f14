"""Whether the pods behind the load balancer take calls, asked every few seconds."""

from __future__ import annotations

import asyncio

import httpx

from voice_agent.edge.dialing import Dialer

ASK_S = 2.0
ANSWER_S = 2.0


class Upstreams:
    """`watch` is to be a task for as long as the edge lives."""

    def __init__(self, dialer: Dialer) -> None:
        self.dialer = dialer
        self.answering: dict[str, bool] = dict.fromkeys(dialer.urls, False)
        """By address, whether it takes calls."""

    @property
    def take_calls(self) -> bool:
        """Whether one of them does."""
        return any(self.answering.values())

    async def watch(self) -> None:
        """Ask each of them, again and again, until cancelled."""
        async with httpx.AsyncClient(timeout=ANSWER_S, trust_env=False, verify=self.dialer.tls) as client:
            while True:
                await asyncio.gather(*(self._ask(client, url) for url in self.answering))
                await asyncio.sleep(ASK_S)

    async def _ask(self, client: httpx.AsyncClient, url: str) -> None:
        address = url.replace("ws", "http", 1).rstrip("/")
        try:
            answer = await client.get(f"{address}/healthz/realtime")
        except httpx.HTTPError:
            self.answering[url] = False
        else:
            self.answering[url] = answer.status_code == httpx.codes.OK
