"""What a pod tells Kubernetes, to a real HTTPS server that checks what an API server would."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import pytest
from structlog.testing import capture_logs

from tests.runtime.clocks import StoppedClock
from tests.tls import make_certificate, needs_openssl
from tests.waiting import until
from voice_agent.host.deletion_cost import ANNOTATION, EVERY_S, DeletionCost, kept_told

pytestmark = needs_openssl
PATH = "/api/v1/namespaces/voice/pods/voice-agent-blue-1"


class ApiServer:
    """Takes a merge patch of one pod from whoever shows the token of the moment."""

    def __init__(self, directory: Path) -> None:
        self.token = "first"
        self.answers_with = 200
        self.told: list[str] = []
        self.refused = 0
        certificate, key = make_certificate(directory)
        certificate.rename(directory / "ca.crt")
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_PATCH(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(api.judge(self.path, dict(self.headers), body))
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: object) -> None:
                return

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / "ca.crt", key)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"

    def judge(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """As an API server does."""
        if headers.get("Authorization") != f"Bearer {self.token}":
            status = 401
        elif headers.get("Content-Type") != "application/merge-patch+json":
            status = 415
        elif path != PATH:
            status = 404
        else:
            status = self._take(json.loads(body))
        self.refused += status != 200
        return status

    def _take(self, patch: dict[str, dict[str, dict[str, str]]]) -> int:
        value = patch["metadata"]["annotations"].get("controller.kubernetes.io/pod-deletion-cost", "")
        if patch != {"metadata": {"annotations": {ANNOTATION: value}}}:
            return 422
        if self.answers_with == 200:
            self.told.append(value)
        return self.answers_with

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServer]:
    """A server, and beside it what a pod finds of its service account."""
    (tmp_path / "namespace").write_text("voice")
    (tmp_path / "token").write_text("first\n")
    with ApiServer(tmp_path) as made:
        yield made


class SteppedClock(StoppedClock):
    """Stands still; whoever sleeps wakes up when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []
        self._wake = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self._wake.wait()
        self._wake.clear()

    async def next(self) -> None:
        """Let a try pass."""
        tries = len(self.slept)
        self._wake.set()
        await until(lambda: len(self.slept) > tries)


class Told:
    """A pod with so many calls, which tells them."""

    def __init__(self, api: ApiServer, account: Path, pod: str = "voice-agent-blue-1") -> None:
        self.calls = 0
        self.failures = 0
        self.clock = SteppedClock()
        self.cost = DeletionCost(pod, lambda: self.calls, self.clock, self._fail, api=api.url, account=account)

    def _fail(self) -> None:
        self.failures += 1


async def test_the_number_of_calls_is_told_when_it_has_changed(api: ApiServer, tmp_path: Path) -> None:
    """At once, then at most every half minute; the token of the moment is shown, for it is replaced now and then."""
    told = Told(api, tmp_path)
    async with kept_told(told.cost):
        await until(lambda: api.told == ["0"] and told.clock.slept)
        await told.clock.next()
        assert api.told == ["0"]
        told.calls = 12
        api.token = "second"
        (tmp_path / "token").write_text("second")
        await told.clock.next()
        assert api.told == ["0", "12"]
        await told.clock.next()
    assert api.told == ["0", "12"]
    assert set(told.clock.slept) == {EVERY_S}
    assert told.failures == 0


async def test_a_failure_is_logged_once_and_tried_again_later_and_later(api: ApiServer, tmp_path: Path) -> None:
    """Whether it may not, or nobody answers: it is in nobody's way."""
    told = Told(api, tmp_path)
    api.answers_with = 403
    with capture_logs() as lines:
        async with kept_told(told.cost):
            await until(lambda: told.clock.slept)
            await told.clock.next()
            (tmp_path / "token").rename(tmp_path / "gone")
            await told.clock.next()
            assert (told.failures, told.clock.slept) == (3, [EVERY_S, 2 * EVERY_S, 4 * EVERY_S])
            (tmp_path / "gone").rename(tmp_path / "token")
            api.answers_with = 200
            told.calls = 3
            await told.clock.next()
            assert told.clock.slept[-1] == EVERY_S
    assert api.told == ["3"]
    assert [(line["log_level"], line["event"].partition(" how")[0]) for line in lines] == [
        ("warning", "Kubernetes is not told"),
        ("info", "Kubernetes is told"),
    ]
    assert "first" not in str(lines)


async def test_a_server_that_the_authority_does_not_vouch_for_is_told_nothing(api: ApiServer, tmp_path: Path) -> None:
    """It would get the token."""
    other = tmp_path / "other"
    other.mkdir()
    certificate, _ = make_certificate(other)
    certificate.rename(other / "ca.crt")
    for name in ("token", "namespace"):
        (other / name).write_text((tmp_path / name).read_text())
    told = Told(api, other)
    async with kept_told(told.cost):
        await until(lambda: told.clock.slept)
    assert (told.failures, api.told, api.refused) == (1, [], 0)


async def test_a_name_that_is_none_stays_in_its_place(api: ApiServer, tmp_path: Path) -> None:
    """In the path it is one name, whatever stands in it."""
    told = Told(api, tmp_path, pod="../secrets/x?y")
    async with kept_told(told.cost):
        await until(lambda: told.clock.slept)
    assert (told.failures, api.refused, api.told) == (1, 1, [])
