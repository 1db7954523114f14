"""CloudWatch: what the publisher brings there, the watch and the `aws` command find again; moto's server plays it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.stub import Stubber  # type: ignore[import-untyped]  # it has no types

from tests.operate.moto import Moto
from voice_agent.operate.ports import Numbers, WatchError
from voice_agent.operate.sources.cloudwatch import CloudWatchPublisher, CloudWatchWatch

pytestmark = pytest.mark.xdist_group("moto")  # one server for all of them

# Fixed times would leave moto's window: it drops what is older than two weeks.
NOON_MS = int(datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0).timestamp() - 86_400) * 1000


class StoppedClock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now_ms = NOON_MS

    def wall_ms(self) -> int:
        return self.now_ms

    def monotonic_s(self) -> float:
        return self.now_ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)
        await asyncio.sleep(0)


async def test_what_is_published_is_found_again(moto: Moto) -> None:
    """The gauge as it is, counters as sums of what came since the first look; zeros are values."""
    clock = StoppedClock()
    publisher, watch = CloudWatchPublisher(clock=clock), CloudWatchWatch(clock=clock)
    blue, green = Numbers(7, ended=100, failed=10, dropped=1), Numbers(0, ended=0, failed=0, dropped=0)
    await publisher.publish({"blue": blue, "green": green})
    found = await watch.look(["blue", "green"])
    assert found == {"blue": Numbers(7, ended=0, failed=0, dropped=0), "green": green}
    for _ in range(20):
        await clock.sleep(10)
        blue = Numbers(blue.active_calls, ended=(blue.ended or 0) + 3, failed=(blue.failed or 0) + 1, dropped=1)
        await publisher.publish({"blue": blue, "green": green})
        found = await watch.look(["blue", "green"])
    assert found["blue"] == Numbers(7, ended=60, failed=20, dropped=0)
    assert watch.name == "cloudwatch, namespace VoiceAgent"


async def test_the_aws_command_sees_zeros(moto: Moto) -> None:
    """An alarm on missing data needs a value for a color without calls."""
    clock = StoppedClock()
    await CloudWatchPublisher(clock=clock).publish({"green": Numbers(0, ended=0, failed=0, dropped=0)})
    metrics = moto.cli("cloudwatch", "list-metrics", "--namespace", "VoiceAgent")["Metrics"]
    names = sorted((metric["MetricName"], metric["Dimensions"][0]["Value"]) for metric in metrics)
    assert names == [(name, "green") for name in ("ActiveCalls", "DroppedCalls", "EndedCalls", "FailedCalls")]
    times = [datetime.fromtimestamp(NOON_MS / 1000 + s, UTC).isoformat() for s in (-60, 60)]
    asked = ["--metric-name", "ActiveCalls", "--dimensions", "Name=Color,Value=green", "--period", "10"]
    asked += ["--namespace", "VoiceAgent", "--start-time", times[0], "--end-time", times[1], "--statistics", "Maximum"]
    points = moto.cli("cloudwatch", "get-metric-statistics", *asked)["Datapoints"]
    assert [point["Maximum"] for point in points] == [0.0]


@pytest.mark.parametrize(("age_s", "is_fresh"), [(0, True), (29, True), (31, False), (59, False)])
async def test_an_old_value_says_nothing_about_now(moto: Moto, age_s: int, is_fresh: bool) -> None:
    """Two periods after the end of its own it is too old."""
    clock = StoppedClock()
    watch = CloudWatchWatch(clock=clock)
    await CloudWatchPublisher(clock=clock).publish({"blue": Numbers(0)})
    await clock.sleep(age_s)
    if is_fresh:
        assert (await watch.look(["blue"]))["blue"].active_calls == 0
    else:
        with pytest.raises(WatchError, match="which says nothing about now") as raised:
            await watch.look(["blue"])
        assert raised.value.retryable


async def test_a_color_that_nobody_publishes_is_not_empty(moto: Moto) -> None:
    """No value is no 0."""
    clock = StoppedClock()
    await CloudWatchPublisher(clock=clock).publish({"blue": Numbers(0)})
    with pytest.raises(WatchError, match="has no ActiveCalls of green"):
        await CloudWatchWatch(clock=clock).look(["blue", "green"])


async def test_a_counter_that_nobody_publishes_is_not_known(moto: Moto) -> None:
    """None, and not 0: its limit is not checked."""
    clock = StoppedClock()
    await CloudWatchPublisher(clock=clock).publish({"blue": Numbers(3, dropped=4)})
    assert (await CloudWatchWatch(clock=clock).look(["blue"]))["blue"] == Numbers(3, dropped=0)


async def test_a_source_that_begins_anew_adds_nothing(moto: Moto) -> None:
    """And what could not be brought there is brought by the next call."""
    clock, client = StoppedClock(), moto.client("cloudwatch")
    publisher, watch = CloudWatchPublisher(clock=clock, client=client), CloudWatchWatch(clock=clock)
    await publisher.publish({"blue": Numbers(1, dropped=5)})
    await clock.sleep(10)
    with Stubber(client) as stub:
        stub.add_client_error("put_metric_data", "Throttling", http_status_code=400)
        with pytest.raises(WatchError, match="nothing was published in CloudWatch's namespace VoiceAgent") as raised:
            await publisher.publish({"blue": Numbers(1, dropped=7)})
    assert raised.value.retryable
    await publisher.publish({"blue": Numbers(1, dropped=8)})
    assert (await watch.look(["blue"]))["blue"].dropped == 3
    await clock.sleep(10)
    await publisher.publish({"blue": Numbers(1, dropped=2)})
    assert (await watch.look(["blue"]))["blue"].dropped == 3
    await publisher.publish({})


@pytest.mark.parametrize(
    ("code", "words", "retryable"),
    [
        ("AccessDenied", "does not allow GetMetricData; grant it", False),
        ("Throttling", "AWS throttles GetMetricData", True),
    ],
)
async def test_a_refusal_is_told(moto: Moto, code: str, words: str, retryable: bool) -> None:
    """It never means 0."""
    client = moto.client("cloudwatch")
    with Stubber(client) as stub:
        stub.add_client_error("get_metric_data", code, http_status_code=400)
        with pytest.raises(WatchError, match=words) as raised:
            await CloudWatchWatch(client=client, clock=StoppedClock()).look(["blue"])
    assert raised.value.retryable is retryable


@pytest.mark.parametrize(("code", "retryable"), [("InternalError", True), ("Forbidden", False)])
async def test_an_answer_with_holes_is_told(moto: Moto, code: str, retryable: bool) -> None:
    """CloudWatch can fail for one metric of many."""
    client = moto.client("cloudwatch")
    result: dict[str, Any] = {"Id": "m0", "Label": "ActiveCalls", "StatusCode": code, "Timestamps": [], "Values": []}
    with Stubber(client) as stub:
        stub.add_response("get_metric_data", {"MetricDataResults": [result]})
        with pytest.raises(WatchError, match=f"{code} for ActiveCalls") as raised:
            await CloudWatchWatch(client=client, clock=StoppedClock()).look(["blue"])
    assert raised.value.retryable is retryable
