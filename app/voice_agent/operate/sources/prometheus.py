"""Numbers from Prometheus, over its HTTP API.

The scraped series carry a label that names the color (the ServiceMonitor in ``k8s/`` adds
it). Calls are only told when they are known: every pod of the color is scraped (`up`), and
the oldest of its samples is fresh, by Prometheus' own clock.

Counters start from 0 with each pod and leave with it, so their plain sum shrinks when a pod
goes. Therefore they are asked for one by one, and this object keeps what each had reached: a
pod that is gone keeps counting with its last value, and one that starts again adds to it. So
what `look` returns never goes down, but counts only from what the first look saw.

Sources: Prometheus HTTP API, "Instant queries" (NaN and warnings included); `voice_agent.observe.metric_table`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from voice_agent.client.trust import verification
from voice_agent.operate.ports import Numbers, WatchError

FRESH_S = 30.0
ANSWER_S = 5.0
LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")
Labels = frozenset[tuple[str, str]]

ACTIVE = "voice_active_calls"
ENDED = "voice_calls_total"
DROPPED = "voice_calls_dropped_total"
RESUMED = "voice_resumes_total"
TURNS = 'voice_turn_seconds_bucket{stage="first_audio"}'
COUNTERS = (ENDED, DROPPED, RESUMED, TURNS)


@dataclass(slots=True)
class _Count:
    """One pod's counter."""

    last: float = 0.0
    before_restarts: float = 0.0

    def saw(self, value: float) -> None:
        if value < self.last:
            self.before_restarts += self.last
        self.last = value

    @property
    def total(self) -> int:
        return round(self.before_restarts + self.last)


@dataclass(frozen=True, slots=True)
class _Sample:
    labels: Mapping[str, str]
    value: float


@dataclass
class PrometheusWatch:
    """`Watch` over the series that Prometheus scrapes of the pods."""

    url: str
    """Where its web interface is, such as ``http://prometheus:9090``; may hold ``user:password@``."""
    color_label: str = "color"
    fresh_s: float = FRESH_S
    """A sample older than that says nothing about now."""
    transport: httpx.AsyncBaseTransport | None = None
    """Another way to the server, for tests."""
    _counts: dict[tuple[str, Labels], _Count] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Raises `WatchError` for what is no address, or no name of a label."""
        try:
            self._address = httpx.URL(self.url)
        except httpx.InvalidURL:
            self._address = httpx.URL()
        if self._address.scheme not in {"http", "https"} or not self._address.host:
            raise WatchError("the address of Prometheus is no URL such as http://prometheus:9090")
        if not LABEL.match(self.color_label):
            raise WatchError(f"{self.color_label!r} is no name of a Prometheus label")

    @property
    def name(self) -> str:
        """For people; without the password."""
        return f"prometheus at {self._address.copy_with(username=None, password=None)}"

    async def look(self, colors: Sequence[str]) -> Mapping[str, Numbers]:
        """As `Watch.look`: five questions about the calls, two about whether the answers are worth anything."""
        verify = verification(self.url)
        async with httpx.AsyncClient(
            timeout=ANSWER_S, trust_env=False, transport=self.transport, verify=verify
        ) as http:
            active = await self._active(http, colors)
            for counter in COUNTERS:
                for sample in await self._ask(http, self._of(counter, colors)):
                    labels = frozenset(sample.labels.items())
                    self._counts.setdefault((counter, labels), _Count()).saw(sample.value)
        return {color: self._numbers(color, active[color]) for color in colors}

    async def _active(self, http: httpx.AsyncClient, colors: Sequence[str]) -> dict[str, int]:
        label, series = self.color_label, self._of(ACTIVE, colors)
        # `up` knows the pods that do not answer, whose calls would be missing from the sum: 0 is down. Without `up` of
        # this color (the label is the pods' own, not the targets') there is nothing to compare.
        down = await self._ask(http, f"count by ({label}) ({self._of('up', colors)} == 0)")
        ages = self._by_color(await self._ask(http, f"max by ({label}) (time() - timestamp({series}))"))
        calls = self._by_color(await self._ask(http, f"sum by ({label}) ({series})"))
        for color, count in self._by_color(down).items():
            raise WatchError(
                f"{self.name} cannot scrape {round(count)} of the {color} pods: their calls are not known",
                retryable=True,
            )
        for color in colors:
            if color not in ages or color not in calls:
                raise WatchError(
                    f"{self.name} has no {ACTIVE} with {label}={color}: how many calls it has is not known",
                    retryable=True,
                )
            if ages[color] > self.fresh_s:
                raise WatchError(
                    f"{self.name} saw the calls of {color} {ages[color]:.0f} s ago, more than {self.fresh_s:g} s: "
                    "that says nothing about now",
                    retryable=True,
                )
        return {color: round(calls[color]) for color in colors}

    def _numbers(self, color: str, active_calls: int) -> Numbers:
        return Numbers(
            active_calls,
            ended=self._sum(ENDED, color),
            failed=self._sum(ENDED, color, lambda labels: labels.get("outcome") == "error"),
            dropped=self._sum(DROPPED, color),
            resumes=self._sum(RESUMED, color),
            turns=self._turns(color),
        )

    def _of_color(self, counter: str, color: str) -> Iterable[tuple[dict[str, str], int]]:
        for (name, labels), count in self._counts.items():
            if name == counter and (self.color_label, color) in labels:
                yield dict(labels), count.total

    def _sum(
        self, counter: str, color: str, wanted: Callable[[Mapping[str, str]], bool] = lambda _: True
    ) -> int | None:
        found = list(self._of_color(counter, color))
        return sum(total for labels, total in found if wanted(labels)) if found else None

    def _turns(self, color: str) -> dict[float, int] | None:
        turns: dict[float, int] = {}
        for labels, total in self._of_color(TURNS, color):
            bound_s = float(labels["le"])
            turns[bound_s] = turns.get(bound_s, 0) + total
        return turns or None

    def _of(self, series: str, colors: Sequence[str]) -> str:
        """The series of these colors."""
        pattern = orjson.dumps("|".join(re.escape(color) for color in colors)).decode()
        name, _, rest = series.partition("{")
        return f"{name}{{{self.color_label}=~{pattern}{',' + rest if rest else '}'}"

    def _by_color(self, samples: Iterable[_Sample]) -> dict[str, float]:
        return {sample.labels.get(self.color_label, ""): sample.value for sample in samples}

    async def _ask(self, http: httpx.AsyncClient, query: str) -> list[_Sample]:
        """An instant query. Raises `WatchError` unless the answer is whole."""
        try:
            response = await http.get(f"{str(self.url).rstrip('/')}/api/v1/query", params={"query": query})
        except httpx.HTTPError as error:
            told = str(error) or type(error).__name__
            raise WatchError(f"{self.name} does not answer: {told}", retryable=True) from error
        answer = self._parsed(response)
        if answer.get("status") != "success":
            told = f"{answer.get('errorType', 'error')}: {answer.get('error', 'no reason given')}"
            raise WatchError(f"{self.name} refused a query with {response.status_code}, {told}", retryable=True)
        if warnings := answer.get("warnings"):
            raise WatchError(f"{self.name} does not vouch for its answer: {warnings[0]}", retryable=True)
        try:
            return [
                _Sample(
                    {key: label for key, label in found["metric"].items() if key != "__name__"},
                    self._finite(found["value"][1], query),
                )
                for found in answer["data"]["result"]
            ]
        except (KeyError, TypeError, IndexError, AttributeError, ValueError):
            raise WatchError(f"{self.name} answers as no Prometheus does; check its address") from None

    def _parsed(self, response: httpx.Response) -> dict[str, Any]:
        try:
            answer = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            answer = None
        if isinstance(answer, dict) and "status" in answer:
            return answer
        told = f"{self.name} answers with {response.status_code} and something that is not of Prometheus' API"
        raise WatchError(f"{told}; check its address", retryable=response.status_code >= 500)

    def _finite(self, value: str, query: str) -> float:
        number = float(value)
        if not math.isfinite(number) or number < 0:
            raise WatchError(f"{self.name} says {value} to {query}, which is no number of calls", retryable=True)
        return number
