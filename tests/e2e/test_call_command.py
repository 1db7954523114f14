"""`voice-agent call` against a real pod, as the README shows it."""

from __future__ import annotations

import asyncio
import os
import sys
import wave
from pathlib import Path

import orjson
import pytest

from tests.e2e.pods import SAMPLES, pods
from tests.e2e.test_takeover import colors
from tests.waiting import PATIENCE_S
from voice_agent.speech.same_words import same_words


async def test_the_sample_caller_is_understood_and_answered(redis_url: str, tmp_path: Path) -> None:
    """Right transcript, a spoken answer that fits it, nothing missing."""
    reply = tmp_path / "reply.wav"
    async with pods(redis_url) as its:
        pod = await its.start()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "voice_agent", "call", "--url", pod.url, "--out", str(reply), "--json"),
            env={name: value for name, value in os.environ.items() if not name.startswith("VOICE_")},
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
    lines = [orjson.loads(line) for line in out.splitlines()]
    summary = lines[-1]
    assert process.returncode == 0
    [turn] = summary["turns"]
    assert same_words(turn["heard"], "i'd like to book an appointment next tuesday at three in the afternoon")
    assert "Tuesday" in turn["answered"]
    assert "three in the afternoon" in turn["answered"]
    assert turn["latency_s"] > 0
    assert (summary["gaps"], summary["repeats"], summary["resumes"]) == (0, 0, 0)
    with wave.open(str(reply)) as recording:
        assert recording.getframerate() == 24_000
        assert recording.getnframes() > 2 * 24_000


async def test_the_readmes_python_runs_as_a_file(redis_url: str, tmp_path: Path) -> None:
    """Whoever saves it and runs it hears of the opening hours; only the port is another here."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    program = readme.partition("```python\n")[2].partition("```")[0]
    async with pods(redis_url) as its:
        pod = await its.start()
        (tmp_path / "first_call.py").write_text(program.replace("127.0.0.1:8080", f"127.0.0.1:{pod.port}"))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", str(tmp_path / "first_call.py")),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert (process.returncode, err) == (0, b"")
    assert b"open" in out


@pytest.mark.slow
async def test_a_plain_call_is_handed_off_when_its_pod_is_told_to_go(redis_url: str) -> None:
    """SIGTERM while blue answers: it says what it has to say, hands the call over, and leaves with 0."""
    # Handoffs are spread over two seconds, so the second turn may still be blue's.
    recordings = [str(SAMPLES / f"caller-{name}.wav") for name in ("books", "day", "time")]
    async with pods(redis_url) as its, colors(its) as (blue, green, switch):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "voice_agent", "call", "--url", switch.url, "--json"),
            *(word for path in recordings for word in ("--wav", path)),
            env={name: value for name, value in os.environ.items() if not name.startswith("VOICE_")},
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        lines = []
        async for line in process.stdout:
            lines.append(orjson.loads(line))
            if lines[-1]["event"] == "answered" and switch.target == blue.port:
                switch.target = green.port
                blue.terminate()
        assert await process.wait() == 0
        assert await blue.exit_status() == 0
        assert (await green.metrics())['voice_resumes_total{kind="handoff"}'] == 1
    [resumed] = [line for line in lines if line["event"] == "resumed"]
    assert (resumed["code"], resumed["color"]) == (1012, "green")
    summary = lines[-1]
    booking = "i'd like to book an appointment next tuesday at three in the afternoon"
    heard = [turn["heard"] for turn in summary["turns"]]
    assert len(heard) == 3
    assert all(map(same_words, heard, (booking, "next tuesday", "at three")))
    assert [summary["turns"][number]["color"] for number in (0, -1)] == ["blue", "green"]
    assert (summary["gaps"], summary["repeats"], summary["resumes"], summary["lost_ms"]) == (0, 0, 1, 0)
