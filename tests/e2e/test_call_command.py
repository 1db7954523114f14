"""`voice-agent call` against a real pod, as the README shows it."""

from __future__ import annotations

import asyncio
import os
import sys
import wave
from pathlib import Path

import orjson

from tests.e2e.pods import pods

LATE_S = 1.5
"""The promise is 1 s on two cores of one's own (0.6 to 0.7 s is usual); other tests share them here."""


async def test_the_sample_caller_is_understood_and_answered(redis_url: str, tmp_path: Path) -> None:
    """Right transcript, a spoken answer that fits it, soon after the end of speech, nothing missing."""
    reply = tmp_path / "reply.wav"
    async with pods(redis_url) as its:
        pod = await its.start()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app", "call", "--url", pod.url, "--out", str(reply), "--json"),
            env={name: value for name, value in os.environ.items() if not name.startswith("VOICE_")},
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
    lines = [orjson.loads(line) for line in out.splitlines()]
    summary = lines[-1]
    assert process.returncode == 0
    [turn] = summary["turns"]
    assert turn["heard"] == "i'd like to book an appointment next tuesday at three in the afternoon"
    assert "Tuesday" in turn["answered"]
    assert "three in the afternoon" in turn["answered"]
    assert turn["latency_s"] < LATE_S
    assert (summary["gaps"], summary["repeats"], summary["resumes"]) == (0, 0, 0)
    with wave.open(str(reply)) as recording:
        assert recording.getframerate() == 24_000
        assert recording.getnframes() > 2 * 24_000
