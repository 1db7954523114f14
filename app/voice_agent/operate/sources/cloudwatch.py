"""Numbers from CloudWatch, and the publisher that brings them there.

One value a color and interval, also when it is 0: so "no calls" and "no data" differ, for an
alarm as well as for a cutover. ``ActiveCalls`` is how many there are, ``DroppedCalls``,
``FailedCalls`` and ``EndedCalls`` are how many came since the value before; the dimension is
``Color``. All are stored with a resolution of 1 s (CloudWatch keeps periods below a minute
for 3 hours).

Source: CloudWatch API reference, PutMetricData, GetMetricData.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from voice_agent.operate import aws
from voice_agent.operate.blocking import run_to_completion
from voice_agent.operate.ports import Numbers, WatchError
from voice_agent.runtime.clock import SystemClock
from voice_agent.runtime.ports import Clock

NAMESPACE = "VoiceAgent"
ACTIVE, DROPPED, FAILED, ENDED = "ActiveCalls", "DroppedCalls", "FailedCalls", "EndedCalls"
COUNTERS = (DROPPED, FAILED, ENDED)
PERIOD_S = 10
FRESH_PERIODS = 2
LATE_S = 60
"""Values of a period may come that much after the one before was looked at."""


class CloudWatchWatch:
    """`Watch` over the values of a `CloudWatchPublisher`."""

    def __init__(self, *, namespace: str = NAMESPACE, client: Any = None, clock: Clock | None = None) -> None:
        """`client` is boto3's ``cloudwatch`` client; None makes one."""
        self._namespace = namespace
        self._client = client if client is not None else aws.client("cloudwatch", error=WatchError)
        self._clock = clock or SystemClock()
        self._from_ms: int | None = None
        self._seen: dict[tuple[str, str], dict[datetime, float]] = {}
        """What came in each period: a counter is the sum of all that was seen, so it never goes down."""

    @property
    def name(self) -> str:
        """For people."""
        return f"cloudwatch, namespace {self._namespace}"

    async def look(self, colors: Sequence[str]) -> Mapping[str, Numbers]:
        """As `Watch.look`. A counter of which no value was ever seen is None.

        A value counts as fresh until two periods after the end of its own.
        """
        now_ms = self._clock.wall_ms()
        from_ms = now_ms - LATE_S * 1000 if self._from_ms is None else self._from_ms
        found = await run_to_completion(self._found, colors, from_ms, now_ms)
        fresh = _at(now_ms) - timedelta(seconds=(FRESH_PERIODS + 1) * PERIOD_S)
        active = {color: self._fresh(color, found[color, ACTIVE], fresh) for color in colors}
        for key, values in found.items():
            self._seen.setdefault(key, {}).update(values)
        self._from_ms = now_ms - LATE_S * 1000
        return {
            color: Numbers(
                active[color],
                ended=self._sum(color, ENDED),
                failed=self._sum(color, FAILED),
                dropped=self._sum(color, DROPPED),
            )
            for color in colors
        }

    def _fresh(self, color: str, values: Mapping[datetime, float], oldest: datetime) -> int:
        if not values:
            raise WatchError(
                f"{self.name} has no {ACTIVE} of {color}: its calls are not known; is the publisher running?",
                retryable=True,
            )
        last = max(values)
        if last < oldest:
            raise WatchError(
                f"{self.name}: the last {ACTIVE} of {color} is of {last:%H:%M:%S} UTC, which says nothing about now",
                retryable=True,
            )
        return round(values[last])

    def _sum(self, color: str, metric: str) -> int | None:
        seen = self._seen.get((color, metric))
        return round(sum(seen.values())) if seen else None

    def _found(self, colors: Sequence[str], from_ms: int, to_ms: int) -> dict[tuple[str, str], dict[datetime, float]]:
        """Values by the start of their period."""
        asked = {
            f"m{place}": (color, metric)
            for place, (color, metric) in enumerate((c, m) for c in colors for m in (ACTIVE, *COUNTERS))
        }
        queries = [
            {"Id": key, "MetricStat": self._statistic(color, metric), "ReturnData": True}
            for key, (color, metric) in asked.items()
        ]
        found: dict[tuple[str, str], dict[datetime, float]] = {key: {} for key in asked.values()}
        with aws.sentences(f"{self.name} cannot be read", WatchError):
            pages = self._client.get_paginator("get_metric_data").paginate(
                MetricDataQueries=queries,
                # From the start of a period on: half of one would be a smaller sum than the whole.
                StartTime=_at(from_ms - from_ms % (PERIOD_S * 1000)),
                EndTime=_at(to_ms + 1000),
                ScanBy="TimestampAscending",
            )
            for page in pages:
                for result in page["MetricDataResults"]:
                    if result.get("StatusCode") in {"InternalError", "Forbidden"}:
                        raise WatchError(
                            f"{self.name} cannot be read: {result['StatusCode']} for {result.get('Label')}",
                            retryable=result["StatusCode"] == "InternalError",
                        )
                    values = zip(result["Timestamps"], result["Values"], strict=True)
                    found[asked[result["Id"]]].update({at.astimezone(UTC): value for at, value in values})
        return found

    def _statistic(self, color: str, metric: str) -> dict[str, Any]:
        return {
            "Metric": {
                "Namespace": self._namespace,
                "MetricName": metric,
                "Dimensions": [{"Name": "Color", "Value": color}],
            },
            "Period": PERIOD_S,
            # Two publishers at once, as while one takes over from the other, must not double the calls.
            "Stat": "Maximum" if metric == ACTIVE else "Sum",
        }


class CloudWatchPublisher:
    """Brings numbers to CloudWatch; call `publish` about every 10 s, from one place only."""

    def __init__(self, *, namespace: str = NAMESPACE, client: Any = None, clock: Clock | None = None) -> None:
        """`client` is boto3's ``cloudwatch`` client; None makes one."""
        self._namespace = namespace
        self._client = client if client is not None else aws.client("cloudwatch", error=WatchError)
        self._clock = clock or SystemClock()
        self._published: dict[str, Numbers] = {}

    async def publish(self, numbers: Mapping[str, Numbers]) -> None:
        """Put one value of each metric. Raises `WatchError`; what it did not bring there, the next call brings.

        Counters count from the first call on; one that went down (its source began anew) adds nothing. A counter
        that the source does not know is not published.
        """
        at = _at(self._clock.wall_ms())
        data = [value for color, found in numbers.items() for value in self._values(color, found, at)]
        if not data:
            return
        await run_to_completion(self._put, data)
        self._published |= numbers

    def _put(self, data: list[dict[str, Any]]) -> None:
        with aws.sentences(f"nothing was published in CloudWatch's namespace {self._namespace}", WatchError):
            self._client.put_metric_data(Namespace=self._namespace, MetricData=data)

    def _values(self, color: str, now: Numbers, at: datetime) -> list[dict[str, Any]]:
        before = self._published.get(color, now)
        grown = {
            DROPPED: _grown(before.dropped, now.dropped),
            FAILED: _grown(before.failed, now.failed),
            ENDED: _grown(before.ended, now.ended),
        }
        return [
            {
                "MetricName": metric,
                "Dimensions": [{"Name": "Color", "Value": color}],
                "Timestamp": at,
                "Value": float(value),
                "Unit": "Count",
                "StorageResolution": 1,
            }
            for metric, value in {ACTIVE: now.active_calls, **grown}.items()
            if value is not None
        ]


def _grown(before: int | None, now: int | None) -> int | None:
    return None if now is None else max(0, now - (now if before is None else before))


def _at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, tz=UTC)
