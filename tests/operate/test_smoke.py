"""The smoke call, against real pods that speak: it passes when all is well, and says what is not."""

from __future__ import annotations

import asyncio
import http
import json
import sys
from dataclasses import replace
from pathlib import Path

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from tests.e2e.house_agents import install
from tests.e2e.pods import pods
from voice_agent.operate.smoke import SmokeOptions, SmokeReport, smoke_call
from voice_agent.runtime.clock import SystemClock
from voice_agent.runtime.ports import COLOR_HEADER


async def test_each_thing_that_may_be_wrong_has_its_reason(redis_url: str, tmp_path: Path) -> None:
    """One pod is called in ten ways; only those in which nothing is wrong pass."""
    install(tmp_path)
    async with pods(redis_url) as its:
        its.packages.append(tmp_path)
        its.agents = "frontdesk,broken"
        pod = await its.start("green", speech_workers=1, api_keys="k" * 32)
        good = SmokeOptions(pod.url, "green", api_key="k" * 32, first_audio_s=20.0)
        asked = {
            "good": good,
            "color": replace(good, color="blue"),
            "words": replace(good, expect="a purple zebra at three"),
            "slow": replace(good, first_audio_s=0.0001),
            "key": replace(good, api_key="wrong"),
            "agent": replace(good, model="nobody"),
            "broken": replace(good, model="broken", expect=""),
            "sound alone": replace(good, model="echo", expect=""),
            "no transcript": replace(good, model="echo"),
            "mute": replace(good, model="loopback", longest_s=8.0),
        }
        clock = SystemClock()
        reports = await asyncio.gather(*(smoke_call(options, clock) for options in asked.values()))
    found = dict(zip(asked, reports, strict=True))
    assert {name for name, report in found.items() if report.ok} == {"good", "sound alone"}
    well = found["good"]
    assert (well.color, well.resumes, len(well.heard), well.reply_audio_ms > 1000) == ("green", 1, 2, True)
    assert "appointment next Tuesday at three".lower() in well.heard[0].lower()
    assert well.resumed_in_s is not None
    assert "green pod answered instead of blue" in found["color"].reason
    assert "transcript lacks 'a purple zebra'" in found["words"].reason
    assert "transcribes nothing" in found["no transcript"].reason
    assert "transcribes nothing" not in found["words"].reason
    assert "limit 0.0001 s" in found["slow"].reason
    assert "401" in found["key"].reason
    assert "nobody" in found["agent"].reason
    assert found["broken"].reason == "a reply failed: The agent 'broken' failed to reply."
    assert found["mute"].reason == "the call was not over after 8 s"


async def test_the_router_is_shown_the_color_and_the_key() -> None:
    """The color alone where the smoke call is made from inside, and beside the key where the router asks for one."""
    asked = []

    def refuse(socket: ServerConnection, request: Request) -> Response:
        asked.append(request.headers.get(COLOR_HEADER))
        return socket.respond(http.HTTPStatus.NOT_FOUND, "")

    async with serve(lambda _: asyncio.sleep(0), "127.0.0.1", 0, process_request=refuse) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/realtime"
        for options in (SmokeOptions(url), SmokeOptions(url, "green"), SmokeOptions(url, "green", "k" * 32)):
            assert "404" in (await smoke_call(options, SystemClock())).reason
    assert asked == [None, "green", f"green:{'k' * 32}"]


async def test_a_pod_that_dies_in_the_call_fails_it(redis_url: str, tmp_path: Path) -> None:
    """Nobody resumes the call: one line of reason, and exit status 1 for scripts."""
    impatient = tmp_path / "impatient.py"
    impatient.write_text(
        "import sys; from voice_agent.cli import main; from voice_agent.operate import smoke; "
        "smoke.COME_BACK_FOR_S = 1.0; main()"
    )
    async with pods(redis_url) as its:
        pod = await its.start("green", speech_workers=1)
        command = [sys.executable, str(impatient), "smoke", "--url", pod.url, "--color", "green", "--json"]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        while not (await pod.metrics())['voice_audio_frames_total{direction="in"}']:
            await asyncio.sleep(0.02)
        pod.kill()
        out, _ = await process.communicate()
    assert process.returncode == 1
    report = json.loads(out)
    assert set(report) == set(SmokeReport().as_json())
    assert report["ok"] is False
    assert "no resume within 1 s" in report["reason"]
