"""The provider of simulated calls: it knows what it was asked for each call, and holds record and metrics against it.

A request stands in the record of its call before it is sent. What the record says is known is the sum over all requests
that were sent, without those that it names as open or unknown: whichever pods made them, and whatever became of these.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson

from tests.simulation.witness import Known, Witness
from voice_agent.call.usage import MAX_UNKNOWN_IDS, Settled
from voice_agent.kit.usage import METER, metered

PROVIDER = "simulated"


@dataclass(slots=True)
class Account:
    """Of one call."""

    sent: dict[str, dict[str, int]] = field(default_factory=dict)
    """By request, what it uses."""
    stored: dict[str, Any] = field(default_factory=lambda: {"sums": {}, "open": {}, "unknown_ids": []})
    """What the record in the store says."""
    is_excused: bool = False
    """A request was sent while the store was given up: the pod that sent it may be the only one to know."""
    shown: Counter[str] = field(default_factory=Counter)
    """What all pods' metrics have of it."""

    @property
    def sums(self) -> dict[str, int]:
        """Of the record. There is one model a call, named after it."""
        return next(iter(self.stored["sums"].values()), {"known": 0, "unknown": 0})


class Accounts:
    """Those of a whole run."""

    def __init__(self, random: Random, witness: Witness, *, is_asked: bool) -> None:
        """`is_asked`: whether agents and ears ask it at all."""
        self._is_asked = is_asked
        self.lacks: Callable[[str], bool] = lambda call_id: False
        """Whether the store is given up for a call, by the pod whose turn it is."""
        self._random = random
        self._witness = witness
        self._accounts: dict[str, Account] = {}
        witness.usage_written = self.written

    async def ask(self) -> None:
        """One request, for the call in whose task this is. It takes a moment, and one in eight tells no figures."""
        if not self._is_asked:
            return
        meter: Any = METER.get()
        call_id = meter._call.call_id
        async with metered(PROVIDER, call_id) as request:
            figures = {"input_tokens": self._random.randrange(100), "output_tokens": self._random.randrange(9)}
            self._sent(call_id, request.id, figures)
            await asyncio.sleep(self._random.uniform(0.0, 0.2))
            if self._random.random() < 7 / 8:
                request.tokens(input=figures["input_tokens"], output=figures["output_tokens"])
            else:
                figures.clear()

    def _sent(self, call_id: str, request_id: str, figures: dict[str, int]) -> None:
        account, known = self._of(call_id)
        account.sent[request_id] = figures
        self._witness.counts["requests"] += 1
        if self.lacks(call_id):
            account.is_excused = True
        told = {*account.stored["open"], *account.stored["unknown_ids"]}
        if not account.is_excused and not known.was_lost and request_id not in told:
            self._witness.broken("usage: a request was sent of which the record does not know")

    def written(self, call_id: str, packed: bytes) -> None:
        """The record in the store has this field now."""
        account, known = self._of(call_id)
        account.stored = orjson.loads(packed)
        if account.is_excused or known.was_lost or len(account.stored["unknown_ids"]) == MAX_UNKNOWN_IDS:
            return
        left_out = {*account.stored["open"], *account.stored["unknown_ids"]}
        over = [figures for request_id, figures in account.sent.items() if request_id not in left_out]
        expected = Counter(known=len(over), unknown=len(account.stored["unknown_ids"]))
        for figures in over:
            expected.update(figures)
        if Counter(account.sums) != expected:
            self._witness.broken(f"usage: the record has {account.sums}, and {dict(expected)} were used")

    def shown(self, call_id: str, settled: Settled) -> None:
        """A pod counts."""
        account, known = self._of(call_id)
        account.shown.update({"known": settled.known, "unknown": settled.unknown, **settled.figures})
        if not known.was_lost and not account.shown <= Counter(account.sums):
            self._witness.broken(f"usage: metrics have {dict(account.shown)}, and the record {account.sums}")

    def _of(self, call_id: str) -> tuple[Account, Known]:
        return self._accounts.setdefault(call_id, Account()), self._witness.known(call_id)
