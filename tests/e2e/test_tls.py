"""TLS without anything in front, as on a laptop: calls, tools, workers, and a certificate that is renewed meanwhile."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import ssl
from pathlib import Path

import orjson
from websockets.asyncio.client import ClientConnection, connect

from tests.e2e.pods import PodProcess, pods
from tests.forked import run
from tests.tls import make_certificate, needs_openssl, trusting
from tests.waiting import PATIENCE_S, until
from voice_agent.settings import PREFIX

pytestmark = needs_openssl
ROOT = Path(__file__).parents[2]
WORKERS = 2


async def test_a_certificate_is_renewed_while_calls_go_on(redis_url: str, tmp_path: Path) -> None:
    """By every worker: open calls notice nothing, and who comes next is shown the new one."""
    certificate, key = make_certificate(tmp_path)
    new, new_key = tmp_path / "new-cert.pem", tmp_path / "new-key.pem"
    renewed = make_certificate(made(tmp_path / "renewed"))
    shutil.copy(renewed[0], new)
    shutil.copy(renewed[1], new_key)
    async with pods(redis_url) as its:
        blue = await its.start(agent="echo", workers=WORKERS, tls_cert=certificate, tls_key=key)
        async with call(blue, trusting(certificate)) as first:
            # Who asks for metrics believes both, for workers look at different times.
            blue.certificate = tmp_path / "both.pem"
            blue.certificate.write_text(certificate.read_text() + new.read_text())
            await until(lambda: reads(blue, 0))  # Both workers have begun with the old one.
            new_key.rename(key)
            new.rename(certificate)
            await until(lambda: reads(blue, 1))
            await says(first)
            for _ in range(8):
                async with call(blue, trusting(certificate)) as newer:
                    await says(newer)
            assert await first.ping() is not None
        blue.terminate()
        assert await blue.exit_status() == 0


async def reads(pod: PodProcess, times: int) -> bool:
    """Whether each of its workers has taken a new certificate so often."""
    found = (await pod.metrics()).items()
    return [value for name, value in found if "tls_reloads" in name and "taken" in name] == [times] * WORKERS


def made(directory: Path) -> Path:
    """A new folder."""
    directory.mkdir()
    return directory


def call(pod: PodProcess, tls: ssl.SSLContext) -> connect:
    """A client as a browser is: it knows nothing but the address and an authority."""
    url = f"wss://localhost:{pod.port}/v1/realtime"
    return connect(url, proxy=None, ssl=tls, origin=f"https://localhost:{pod.port}")  # type: ignore[arg-type]  # a str


async def says(caller: ClientConnection) -> None:
    """The server answers."""
    await caller.send('{"type":"input_audio_buffer.clear"}')
    async with asyncio.timeout(PATIENCE_S):
        while orjson.loads(await caller.recv())["type"] != "input_audio_buffer.cleared":
            pass


async def test_tools_reach_a_pod_that_speaks_tls(redis_url: str, tmp_path: Path) -> None:
    """With its own certificate where they run beside it, and anywhere by the authorities that the system believes."""
    certificate, key = make_certificate(tmp_path)
    async with pods(redis_url) as its:
        blue = await its.start(agent="echo", tls_cert=certificate, tls_key=key)
        beside = {"VOICE_TLS_CERT": str(certificate), "VOICE_TLS_KEY": str(key), "VOICE_PORT": str(blue.port)}
        anywhere = {"SSL_CERT_FILE": str(certificate)}
        url = f"https://localhost:{blue.port}"
        assert '"blue-0"' in await told(["fleet", "--json"], beside)
        assert '"blue-0"' in await told(["fleet", "--json", "--url", url], anywhere)
        assert "certificate verify failed" in await told(["fleet", "--url", url], {}, status=1)
        calls = f"wss://localhost:{blue.port}/v1/realtime"
        assert "blue-0" in await told(["call", "--url", calls, "--text", "hello"], anywhere)
        assert "SSL_CERT_FILE" in await told(["call", "--url", calls, "--text", "hello"], {}, status=1)
        assert await healthcheck(beside) == 0
        assert await healthcheck(beside | {"VOICE_TLS_CERT": ""}) == 1
        await told(["drain", "--wait"], beside)
        blue.terminate()
        assert await blue.exit_status() == 0


async def healthcheck(variables: dict[str, str]) -> int:
    """What the image asks of its server, as an exit status."""
    command = re.findall(r"HEALTHCHECK .*\n *CMD (\[.*\])", (ROOT / "Dockerfile").read_text())
    process = await asyncio.create_subprocess_exec(*orjson.loads(command[-1]), env=os.environ | variables)
    return await process.wait()


async def told(arguments: list[str], variables: dict[str, str], *, status: int = 0) -> str:
    """What a command prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    done = await asyncio.to_thread(run, arguments, kept | variables)
    output = done.stdout + done.stderr
    assert done.returncode == status, output
    return output


async def test_a_certificate_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    """In one line, of an edge as of a pod, with one worker or several."""
    certificate, key = make_certificate(tmp_path)
    other = make_certificate(made(tmp_path / "other"))[1]
    store = {"VOICE_STORE_URL": f"embedded://{tmp_path}/store", "VOICE_AGENT": "echo"}
    edge = {"VOICE_EDGE_TO": "ws://127.0.0.1:9"}
    for command, prefix, variables in (
        ("serve", "VOICE_", store),
        ("serve", "VOICE_", store | {"VOICE_WORKERS": "2"}),
        ("edge", "VOICE_EDGE_", edge),
    ):
        named = {f"{prefix}TLS_CERT": str(certificate), f"{prefix}TLS_KEY": str(other)}
        output = await told([command], variables | named, status=2)
        line = f"voice-agent: {prefix}TLS_KEY: '{other}' is not the key of the certificate in '{certificate}'."
        assert output.strip().splitlines() == [line]
        output = await told([command], variables | {f"{prefix}TLS_KEY": str(key)}, status=2)
        assert output.strip().splitlines() == [
            f"voice-agent: {prefix}TLS_KEY is set and {prefix}TLS_CERT is not; TLS needs both."
        ]
