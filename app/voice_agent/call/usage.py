"""What the requests to providers that are made for a call have used.

Theory of operation. A request is *open* from the write before it is sent until it is over. Then it is added to the sums
of its provider and model: with its figures, or, if none were told, as unknown. ::

    begun ──> open ──┬── known     figures are added to the sums
       │             ├── unknown   it failed, was cancelled, or its pod died: what it used is not known
       │             └── withdrawn it was never sent
       └── MAX_OPEN are open: unknown at once

A unit of which no request told anything is missing in the sums: it is not known, which is not nothing. Sums only grow,
and change in the same writes as the rest of the call, so a pod that has lost the call adds nothing to them. `metering`
has the rules, `usage_fields` stores it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

INPUT_TOKENS, OUTPUT_TOKENS = "input_tokens", "output_tokens"
CACHED_INPUT_TOKENS, INPUT_AUDIO_TOKENS = "cached_input_tokens", "input_audio_tokens"
OUTPUT_AUDIO_TOKENS = "output_audio_tokens"
CHARACTERS, AUDIO_MS = "characters", "audio_ms"
TOKENS = (INPUT_TOKENS, OUTPUT_TOKENS, CACHED_INPUT_TOKENS, INPUT_AUDIO_TOKENS, OUTPUT_AUDIO_TOKENS)
UNITS = (*TOKENS, CHARACTERS, AUDIO_MS)
"""In which usage is counted. Cached and audio tokens are among the input and output tokens."""

MAX_PAIRS = 32
"""Providers with their models in one call: stops names that are made up for each request from filling the record.
Beyond it requests are counted as those of `OTHER`."""
OTHER = "other"
MAX_OPEN = 64
"""Requests of one call at one time: stops an agent that begins requests without end from filling the record. What is
begun beyond it is counted as unknown."""
MAX_UNKNOWN_IDS = 64
"""So many ids of requests whose usage is not known are kept, the newest: with them a provider can be asked."""
MAX_FIGURE = 10**12
"""Of one request: no request uses so much, so a larger figure is a provider's mistake."""
MAX_SUM = 2**53 - 1
"""What JSON carries exactly: sums stop there."""
MAX_PROVIDER_CHARS = 64
MAX_MODEL_CHARS = 128
"""They stand in the record and in labels of metrics."""

Figures = Mapping[str, int]
"""What was used, by unit; a unit that is missing is not known."""


class Settled(NamedTuple):
    """What the requests to one provider's model that are over have used."""

    known: int
    """So many told what they used."""
    unknown: int
    figures: Figures


NOTHING_SETTLED = Settled(0, 0, {})
Sums = Mapping[str, Settled]
"""By ``provider/model``."""


@dataclass(slots=True)
class UsageSum:
    """Of one provider's model, in one call."""

    known: int = 0
    unknown: int = 0
    """Requests that are over, by whether they told what they used."""
    figures: dict[str, int] = field(default_factory=dict)
    extras: dict[str, Any] = field(default_factory=dict)
    """Fields of a newer version; kept as they are."""


@dataclass(slots=True)
class OpenRequest:
    """One that is not over."""

    pair: str
    """``provider/model``."""
    response_id: str | None = None
    """The response for which it is made, if that is known."""
    extras: dict[str, Any] = field(default_factory=dict)
    """Fields of a newer version; kept as they are."""


@dataclass(slots=True)
class UsageLedger:
    """All of one call's."""

    sums: dict[str, UsageSum] = field(default_factory=dict)
    open: dict[str, OpenRequest] = field(default_factory=dict)
    """By id, oldest first."""
    unknown_ids: list[str] = field(default_factory=list)
    """Of requests whose usage is not known; the newest `MAX_UNKNOWN_IDS`."""
    extras: dict[str, Any] = field(default_factory=dict)
    """Fields of a newer version; kept as they are."""
    stored: Sums = field(default_factory=dict)
    """What the store held when this pod claimed the call: earlier owners have counted it."""

    def settled(self) -> Sums:
        """The sums as they are now; they do not change any more."""
        return {pair: Settled(one.known, one.unknown, dict(one.figures)) for pair, one in self.sums.items()}

    def pair(self, provider: str, model: str) -> str:
        """Under which name a request is counted."""
        pair = f"{provider}/{model}"
        named = {*self.sums, *(one.pair for one in self.open.values())}
        return pair if pair in named or len(named) < MAX_PAIRS else f"{OTHER}/{OTHER}"

    def described(self) -> dict[str, dict[str, int | None]]:
        """For operators, by pair: `requests` that are over, how many of them `unknown`, each unit; None: not known."""
        return {
            pair: {
                "requests": one.known + one.unknown,
                "unknown": one.unknown,
                **{unit: one.figures.get(unit) for unit in UNITS},
            }
            for pair, one in self.sums.items()
        }

    def settle(self, request_id: str, pair: str, figures: Figures) -> None:
        """A request is over, and used `figures`; {}: that is not known."""
        total = self.sums.setdefault(pair, UsageSum())
        if figures:
            total.known += 1
            add(total.figures, figures)
        else:
            total.unknown += 1
            self.unknown_ids = [*self.unknown_ids, request_id][-MAX_UNKNOWN_IDS:]


@dataclass(slots=True)
class ResponseUsage:
    """Of the tokens that the requests made for one response have used, as far as those are over."""

    figures: dict[str, int] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    """Units of which some request did not tell what it used, so that their sums are not known."""
    extras: dict[str, Any] = field(default_factory=dict)
    """Fields of a newer version; kept as they are."""

    def add(self, figures: Figures) -> None:
        """A request is over. One that tells of no tokens uses none, unless it tells nothing at all ({})."""
        if figures and not any(unit in figures for unit in TOKENS):
            return
        add(self.figures, {unit: figures[unit] for unit in TOKENS if unit in figures})
        self.unknown = [unit for unit in TOKENS if unit in self.unknown or unit not in figures]

    def known(self, unit: str) -> int | None:
        """The sum of one unit; None: it is not known."""
        return None if unit in self.unknown else self.figures.get(unit)


def add(sums: dict[str, int], figures: Figures) -> None:
    """Add up, by unit."""
    for unit, figure in figures.items():
        sums[unit] = min(MAX_SUM, sums.get(unit, 0) + figure)


def settled_since(before: Sums, now: Sums) -> Iterator[tuple[str, Settled]]:
    """What of `now` is not in `before`, by pair; nothing is where nothing was added."""
    for pair, sums in now.items():
        was = before.get(pair, NOTHING_SETTLED)
        grown = {unit: figure - was.figures.get(unit, 0) for unit, figure in sums.figures.items()}
        known, unknown = sums.known - was.known, sums.unknown - was.unknown
        if known or unknown:
            yield pair, Settled(known, unknown, {unit: figure for unit, figure in grown.items() if figure})
