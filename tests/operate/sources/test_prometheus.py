"""The real Prometheus, scraping pages of the real metrics; and what else may stand at its address."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.deploy.prometheus import program
from tests.servers import free_port
from tests.waiting import PATIENCE_S
from voice_agent.observe.metrics import Metrics
from voice_agent.operate.ports import Numbers, WatchError
from voice_agent.operate.sources.prometheus import PrometheusWatch
from voice_agent.runtime.ports import PodStatus
from voice_agent.stores.base import PodState
from voice_agent.web.health import PROMETHEUS_TEXT

pytestmark = pytest.mark.xdist_group("prometheus")  # one server for all of them


BROKEN = ("NaN", "+Inf", "-1")


@dataclass
class Pod:
    """A page of metrics that can be changed, or go away."""

    color: str
    calls: int = 0
    metrics: Metrics = field(init=False)
    page: bytes | None = None
    """Instead of the metrics."""
    is_up: bool = True

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """All counters at 0."""
        self.metrics = Metrics(version="1", color=self.color)
        self.metrics.registry.watch(self._status)

    def _status(self) -> PodStatus:
        return PodStatus(PodState.OK, "pod", self.color, "1", self.calls, 0, 100, "memory:ok")


class Pods:
    """All pods behind one port, a path each."""

    def __init__(self) -> None:
        self.pods: dict[str, Pod] = {}
        pods = self.pods

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                pod = pods.get(self.path.strip("/"))
                up = pod is not None and pod.is_up
                self.send_response(200 if up else 503)
                self.send_header("Content-Type", PROMETHEUS_TEXT)
                self.end_headers()
                if pod is not None and up:
                    self.wfile.write(pod.metrics.registry.page() if pod.page is None else pod.page)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


# Prometheus looks for new targets every five seconds only, so each test has colors of its own from the start.
TARGETS = {
    **dict.fromkeys(("sum-one", "sum-two"), "green"),
    "sum-blue": "blue",
    **dict.fromkeys(("stays", "leaves"), "lilac"),
    **dict.fromkeys(("down-one", "down-two"), "teal"),
    "goes": "amber",
    "old": "rust",
    **{f"broken-{number}": f"broken-{number}" for number in range(len(BROKEN))},
    **dict.fromkeys(("label.1", "labelX1"), "x"),
}
"""The color of each target by name."""


@dataclass
class Scraped:
    """A Prometheus and what it scrapes."""

    url: str
    pods: dict[str, Pod]
    targets: Path
    address: str

    def serve(self, **pods: Pod) -> None:
        """From now on these answer; names have `_` for `-`."""
        self.pods.update({name.replace("_", "-"): pod for name, pod in pods.items()})

    def forget(self, *names: str) -> None:
        """These are gone, and seconds later no targets either."""
        for name in names:
            del self.pods[name]
        kept = [group for group in orjson.loads(self.targets.read_bytes()) if group["labels"]["pod"] not in names]
        self._write(kept)

    def list_all(self) -> None:
        """Every target, each with its color as a label, as the ServiceMonitor adds it."""
        self._write(
            [
                {"targets": [self.address], "labels": {"color": color, "pod": name, "__metrics_path__": f"/{name}"}}
                for name, color in TARGETS.items()
            ]
        )

    def _write(self, groups: list[dict[str, Any]]) -> None:
        # Prometheus may read at any moment.
        fresh = self.targets.with_suffix(".new")
        fresh.write_bytes(orjson.dumps(groups))
        fresh.replace(self.targets)

    def watch(self, **options: Any) -> PrometheusWatch:
        return PrometheusWatch(self.url, **options)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """Looks at its pods five times a second."""
    directory, port, pods = tmp_path_factory.mktemp("prometheus"), free_port(), Pods()
    targets = directory / "targets.json"
    scraped = Scraped(f"http://127.0.0.1:{port}", pods.pods, targets, pods.address)
    scraped.list_all()
    config = directory / "prometheus.yaml"
    config.write_text(
        "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
        f"scrape_configs: [{{job_name: voice-agent, file_sd_configs: [{{files: ['{targets}']}}]}}]\n"
    )
    command = [program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={directory}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            asyncio.run(_ready(scraped.url, process))
            yield scraped
        finally:
            process.kill()
            pods.stop()


async def _ready(url: str, process: subprocess.Popen[bytes]) -> None:
    async with asyncio.timeout(PATIENCE_S), httpx.AsyncClient(trust_env=False) as http:
        while process.poll() is None:
            try:
                if (await http.get(f"{url}/-/ready")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)
    raise RuntimeError("prometheus did not start")


async def until(watch: PrometheusWatch, colors: list[str], **wanted: Any) -> Mapping[str, Numbers]:
    """Look until the numbers of the first color are these."""
    seen: object = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    seen = numbers = await watch.look(colors)
                    if all(getattr(numbers[colors[0]], name) == value for name, value in wanted.items()):
                        return numbers
                except WatchError as error:
                    seen = error
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not {wanted} but {seen}") from None


async def until_refused(watch: PrometheusWatch, colors: list[str], words: str) -> WatchError:
    """Look until it is refused with these words."""
    seen: object = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    seen = await watch.look(colors)
                except WatchError as error:
                    seen = error
                    if words in str(error):
                        return error
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not {words!r} but {seen}") from None


async def test_numbers_of_a_color_are_those_of_all_its_pods(prometheus: Scraped) -> None:
    """Gauges, counters and the histogram of first audio, by the metrics' own page."""
    one, two, blue = Pod("green", 3), Pod("green", 4), Pod("blue", 2)
    prometheus.serve(sum_one=one, sum_two=two, sum_blue=blue)
    for pod in (one, two):
        pod.metrics.call_ended("hangup")
        pod.metrics.call_resumed("handoff", 0.1)
        pod.metrics.turn_stage("first_audio", 0.12)
        pod.metrics.turn_stage("stt", 9)
    one.metrics.call_ended("error")
    one.metrics.call_dropped("drain")
    two.metrics.turn_stage("first_audio", 1.2)
    numbers = await until(prometheus.watch(), ["green", "blue"], active_calls=7, ended=3)
    green, turns = numbers["green"], numbers["green"].turns
    assert (green.failed, green.dropped, green.resumes) == (1, 1, 2)
    assert turns is not None
    assert (turns[0.1], turns[0.15], turns[1.0], turns[1.5], turns[float("inf")]) == (0, 2, 2, 3, 3)
    assert (numbers["blue"].active_calls, numbers["blue"].ended, numbers["blue"].dropped) == (2, 0, 0)


async def test_counters_never_go_down(prometheus: Scraped) -> None:
    """A pod starts anew, another goes away for good: what they had counted stays counted."""
    one, two = Pod("lilac"), Pod("lilac")
    prometheus.serve(stays=one, leaves=two)
    for _ in range(3):
        one.metrics.call_ended("error")
        two.metrics.call_ended("error")
    watch = prometheus.watch()
    await until(watch, ["lilac"], ended=6, failed=6)
    one.restart()
    one.calls = 1
    one.metrics.call_ended("error")
    await until(watch, ["lilac"], active_calls=1, ended=7, failed=7)
    prometheus.forget("leaves")
    one.calls = 2
    one.metrics.call_ended("hangup")
    await until(watch, ["lilac"], active_calls=2, ended=8, failed=7)
    # What nobody scrapes is remembered by nobody else: by no watch that looks first once Prometheus has forgotten it.
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(WatchError):
                seen = (await prometheus.watch().look(["lilac"]))["lilac"]
                if (seen.ended, seen.failed) == (2, 1):
                    break
            await asyncio.sleep(0.05)


async def test_a_pod_that_is_not_scraped_is_not_a_pod_without_calls(prometheus: Scraped) -> None:
    """Its calls are missing from the sum, so there is no sum."""
    one, two = Pod("teal", 5), Pod("teal", 1)
    prometheus.serve(down_one=one, down_two=two)
    watch = prometheus.watch()
    await until(watch, ["teal"], active_calls=6)
    one.is_up = False
    error = await until_refused(watch, ["teal"], "cannot scrape 1 of the teal pods")
    assert error.retryable
    one.is_up = True
    await until(watch, ["teal"], active_calls=6)


async def test_a_color_that_nobody_knows_is_not_empty(prometheus: Scraped) -> None:
    """Neither one that never was nor one that has left."""
    prometheus.serve(goes=Pod("amber", 1))
    watch = prometheus.watch()
    await until(watch, ["amber"], active_calls=1)
    await until_refused(watch, ["amber", "purple"], "has no voice_active_calls with color=purple")
    prometheus.forget("goes")
    await until_refused(watch, ["amber"], "has no voice_active_calls with color=amber")


async def test_old_samples_say_nothing_about_now(prometheus: Scraped) -> None:
    """A page with a time of its own is kept by Prometheus for minutes, whatever became of the pod."""
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"{prometheus.url}/api/v1/query", params={"query": "time()"})
    seen_at_ms = int(float(answer.json()["data"]["result"][1]) * 1000) - 40_000
    prometheus.serve(old=Pod("rust", page=b'voice_active_calls{color="rust"} 0 %d\n' % seen_at_ms))
    error = await until_refused(prometheus.watch(), ["rust"], "more than 30 s")
    assert error.retryable
    await until(prometheus.watch(fresh_s=250.0), ["rust"], active_calls=0, ended=None, turns=None)


@pytest.mark.parametrize("number", range(len(BROKEN)), ids=BROKEN)
async def test_what_is_no_number_of_calls_is_told(prometheus: Scraped, number: int) -> None:
    """A broken exporter."""
    name = f"broken-{number}"
    prometheus.serve(**{name: Pod(name, page=f"voice_active_calls {BROKEN[number]}\n".encode())})
    await until_refused(prometheus.watch(), [name], "which is no number of calls")


async def test_another_label_may_name_the_color(prometheus: Scraped) -> None:
    """Whoever relabels otherwise says so; letters that mean something to a pattern mean themselves."""
    prometheus.serve(**{"label.1": Pod("x", 1), "labelX1": Pod("x", 2)})
    numbers = await until(prometheus.watch(color_label="pod"), ["label.1"], active_calls=1)
    assert set(numbers) == {"label.1"}


async def test_a_refused_query_is_told(prometheus: Scraped) -> None:
    """In Prometheus' own words."""
    watch = prometheus.watch()
    async with httpx.AsyncClient(trust_env=False) as http:
        with pytest.raises(WatchError, match="refused a query with 400, bad_data: "):
            await watch._ask(http, "sum(")


async def test_nobody_at_the_address_is_told() -> None:
    """And the password in the address is not."""
    watch = PrometheusWatch(f"http://user:hush@127.0.0.1:{free_port()}")
    with pytest.raises(WatchError, match="prometheus at http://127.0.0.1:.* does not answer") as raised:
        await watch.look(["blue"])
    assert raised.value.retryable
    assert "hush" not in watch.name + str(raised.value)


GOOD = {"status": "success", "data": {"resultType": "vector", "result": []}}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.Response(200, html="<html>sign in</html>"), "answers with 200 and something that is not"),
        (httpx.Response(502, text="bad gateway"), "answers with 502 and something"),
        (httpx.Response(200, json=[]), "answers with 200 and something"),
        (httpx.Response(200, json={"status": "success"}), "answers as no Prometheus does"),
        (httpx.Response(200, json={"status": "success", "data": {"result": [7]}}), "answers as no Prometheus does"),
        (httpx.Response(200, json=GOOD | {"warnings": ["one store is down"]}), "not vouch .*: one store is down"),
        (httpx.Response(503, json={"status": "error", "errorType": "timeout", "error": "slow"}), "503, timeout: slow"),
        (httpx.Response(200, json=GOOD), "has no voice_active_calls"),
    ],
)
async def test_what_is_no_whole_answer_is_told(answer: httpx.Response, words: str) -> None:
    """A sign-in page, a proxy, an answer with holes: none of them is a 0."""
    watch = PrometheusWatch("http://prometheus:9090", transport=httpx.MockTransport(lambda _: answer))
    with pytest.raises(WatchError, match=words):
        await watch.look(["blue"])


@pytest.mark.parametrize("url", ["prometheus:9090", "ftp://prometheus", "http://", ""])
def test_an_address_that_is_none_is_told_at_once(url: str) -> None:
    """Before anything is asked."""
    with pytest.raises(WatchError, match="no URL such as http://prometheus:9090"):
        PrometheusWatch(url)


def test_a_label_that_is_none_is_told_at_once() -> None:
    """It would end up in every query."""
    with pytest.raises(WatchError, match="no name of a Prometheus label"):
        PrometheusWatch("http://prometheus:9090", color_label='color="x"}')
