"""The harness itself: its frames are legal, its checks find what they are for, and two modes run."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from loadtest.resuming import Findings
from tests.hostile.__main__ import table
from tests.hostile.modes import MODES
from tests.hostile.run import Plan, run_mode
from tests.hostile.verdict import P99_MS, Verdict
from tests.hostile.wire import frame
from voice_agent.websocket.frame_reader import FrameReader
from voice_agent.websocket.frames import BINARY

SMALL = Plan(seconds=4.0, talkers=3)


@pytest.mark.parametrize("size", [0, 125, 126, 0xFFFF, 0x10000])
def test_frames_are_read_as_they_were_meant(size: int) -> None:
    """A pod that refused them for their form would not be tested."""
    payload = b"\x81" * size
    reader = FrameReader(1_000_000)
    reader.feed(frame(payload, BINARY))
    assert reader.read() == (BINARY, payload)


def well() -> Verdict:
    """A run in which nobody noticed anything."""
    found = Verdict(
        "ping", 1, 1.0, 100.0, 200.0, rss_before_mib=50, rss_most_mib=60, got={"close 1009": 1}, serves=True
    )
    found.findings = Findings(calls=3, frames=150)
    return found


def test_a_run_that_nobody_noticed_passes() -> None:
    """And one line of a table shows it."""
    assert well().failures == []
    with Console(width=160) as console, console.capture() as shown:
        console.print(table([well()]))
    assert "close 1009" in shown.get()


@pytest.mark.parametrize(
    ("changes", "failure"),
    [
        ({"missing": 1}, "frames lost: 1 (at most 0)"),
        ({"findings": Findings(frames=150, repeated=1)}, "frames lost: 1 (at most 0)"),
        ({"findings": Findings(frames=150, codes={1011: 2})}, "talking callers cut off: 2 (at most 0)"),
        ({"findings": Findings()}, "frames: 0 (at least 1)"),
        ({"rss_most_mib": 151.0}, "memory grew: 101 MiB (at most 100)"),
        ({"store_most_mib": 201.0}, "store grew: 201 MiB (at most 200)"),
        ({"got": {"tries": 9, "cut without a word": 2}}, "limits named: 0 (at least 1)"),
        ({"fault": "ReadTimeout: "}, "ReadTimeout: "),
        ({"serves": False}, "serves afterwards: 0 (at least 1)"),
    ],
)
def test_what_somebody_noticed_fails_and_is_named(changes: dict[str, object], failure: str) -> None:
    """With what was found and what is allowed."""
    assert replace(well(), **changes).failures == [failure]  # type: ignore[arg-type]  # one of its fields


def test_late_echoes_fail() -> None:
    """Those of one frame in a hundred count."""
    late = well()
    for _ in range(100):
        late.findings.echo.add(2 * P99_MS / 1000)
    assert [failure.partition(":")[0] for failure in late.failures] == ["p99"]


def test_counters_are_told_by_their_labels() -> None:
    """Only those that grew, and only of limits and refusals."""
    found = well()
    before = {'voice_limits_total{color="blue",limit="outbox"}': 2.0}
    after = {
        **before,
        'voice_refusals_total{color="blue",reason="quota",status="429",version="1"}': 3.0,
        "voice_draining": 1.0,
    }
    found.count(before, after)
    assert found.limits == {"429 quota": 3}


def test_every_mode_says_what_it_does() -> None:
    """In the help."""
    assert all(mode.what for mode in MODES.values())


async def test_callers_talk_on_beside_a_hostile_one() -> None:
    """Some seconds of JSON too deep: not a frame is lost, and the hostile caller is told what it did wrong."""
    verdict = await run_mode(MODES["deep-json"], SMALL)
    assert (verdict.lost, verdict.findings.codes, verdict.serves) == (0, {}, True)
    assert verdict.findings.frames >= 100
    assert verdict.named, verdict.got


async def test_callers_of_an_edge_talk_on_beside_a_hostile_one() -> None:
    """Messages of 21 MB pass the edge, whose memory and answers are looked at; the pod's own refusals count."""
    verdict = await run_mode(MODES["audio-items"], replace(SMALL, edge=True))
    assert (verdict.lost, verdict.findings.codes, verdict.serves) == (0, {}, True)
    assert verdict.findings.frames >= 100
    assert verdict.growth_mib <= verdict.budget_mib
    assert not verdict.unanswered


@pytest.mark.slow
def test_the_command_tells_all_as_json() -> None:
    """And its exit status is the verdict."""
    command = [sys.executable, "-m", "tests.hostile", "items", "--seconds", "1", "--talkers", "2", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    (told,) = json.loads(done.stdout)
    assert told["mode"] == "items"
    assert told["frames_lost"] == 0
    assert done.returncode == (not told["passed"])
