"""The profiles on real pods, small: what they count is there, and a limit that is missed fails them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loadtest.latencies import Latencies
from loadtest.outcome import Check, Outcome
from loadtest.overload import lag_p50_ms
from loadtest.resuming import Findings
from loadtest.timeline import Timeline, commit_ms
from tests.waiting import PATIENCE_S


def run(*words: str) -> tuple[int, dict[str, Any]]:
    """One profile as a command: its status and its figures."""
    done = subprocess.run(
        [sys.executable, "-m", "loadtest", *words, "--json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("outbox", [pytest.param("0", marks=pytest.mark.slow), "1048576"])
def test_smoke_passes_and_draws(outbox: str, tmp_path: Path) -> None:
    """With and without an outbox; the page has the verdict and its plots."""
    page = tmp_path / "smoke.html"
    status, told = run("smoke", "--seconds", "2", "--calls", "3", "--outbox", outbox, "--report", str(page))
    assert (status, told["passed"]) == (0, True), told["verdict"]
    assert told["frames"] >= 270
    assert told["timeline"][-1]["active_calls"] == 3
    text = page.read_text()
    assert text.count("<svg") == 4
    assert told["verdict"] in text


@pytest.mark.slow
def test_conversations_are_answered_and_their_cost_is_told() -> None:
    """The figures of a busy machine may miss a limit; answers may not be wrong."""
    _, told = run("talk", "--seconds", "4", "--calls", "4")
    assert not any(told[name] for name in ("dropped", "lost", "repeated", "wrong", "gaps")), told["verdict"]
    assert told["facts"]["server_us_per_heard_frame"] > 0
    assert told["facts"]["first_audio_p99_ms"] > 0


@pytest.mark.slow
def test_a_storm_loses_nothing() -> None:
    """A pod is killed with twenty calls on it."""
    status, told = run("storm", "--seconds", "1", "--calls", "20")
    assert status == 0, told["verdict"]
    assert (told["resumes"], told["lost"], told["repeated"], told["dropped"]) == (20, 0, 0, 0)


@pytest.mark.slow
def test_a_cutover_hands_every_call_off() -> None:
    """With 1012, each one."""
    status, told = run("cutover", "--seconds", "1", "--calls", "10")
    assert status == 0, told["verdict"]
    assert (told["resumes"], told["close_codes"]) == (10, {"1012": 10})


@pytest.mark.slow
def test_churn_and_resumes_keep_every_event() -> None:
    """The figures of a busy machine may miss a limit; events may not."""
    resumes = []
    for words in (("churn", "--seconds", "3", "--calls", "8"), ("resume", "--seconds", "2", "--per-second", "10")):
        _, told = run(*words)
        faults = {name: told[name] for name in ("dropped", "lost", "repeated", "wrong", "gaps")}
        assert not any(faults.values()), told["verdict"]
        resumes.append(told["resumes"])
    # Who loses his connection in `churn` is a matter of chance, and of how often the clock of a busy machine looks.
    assert resumes[-1] > 0


@pytest.mark.slow
def test_overload_refuses_whom_there_is_no_room_for_and_nobody_who_talks() -> None:
    """The figures of a busy machine may miss a limit; calls may not be lost, and places that are free are filled."""
    _, told = run("overload", "--seconds", "2", "--calls", "6")
    faults = {name: told[name] for name in ("dropped", "lost", "repeated", "wrong", "gaps")}
    assert not any(faults.values()), told["verdict"]
    assert told["facts"]["refused_at_capacity"] >= 1
    assert told["facts"]["most_talking"] == 6
    assert told["calls"] > 6


def test_the_lag_of_the_loop_is_that_of_the_time_between_two_looks() -> None:
    """What was before does not count; the upper end of the bucket is told."""
    before = {
        f'voice_loop_lag_seconds_bucket{{le="{le}"}}': n for le, n in (("0.001", 100), ("0.1", 100), ("+Inf", 100))
    }
    after = {
        f'voice_loop_lag_seconds_bucket{{le="{le}"}}': n for le, n in (("0.001", 104), ("0.1", 110), ("+Inf", 110))
    }
    assert lag_p50_ms(before, after) == 100
    assert lag_p50_ms({}, after) == 1
    assert lag_p50_ms({}, {}) == 0


def test_nobody_there_is_said_in_one_line() -> None:
    """Exit 2: the run could not be made."""
    done = subprocess.run(
        [sys.executable, "-m", "loadtest", "smoke", "--url", "ws://127.0.0.1:9"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "could not be made" in done.stderr


def test_a_missed_limit_fails_and_is_named() -> None:
    """One sentence with the value and the limit."""
    outcome = Outcome("storm", 5, 1.0, Findings(lost=1), [Check("back", 4, 3, "s")], Timeline(), Latencies())
    assert not outcome.passed
    assert outcome.verdict == "storm failed: back: 4 s (at most 3); lost: 1 (at most 0)"
    assert Outcome("smoke", 5, 1.0, Findings(), [Check("n", 4, 4, least=True)], Timeline(), Latencies()).passed


def test_commits_are_read_from_all_pods() -> None:
    """Buckets of several pods add up; nothing is 0."""
    page = {f'voice_store_seconds_bucket{{le="{le}",op="commit"}}': n for le, n in (("0.001", 5), ("+Inf", 10))}
    other = {f'voice_store_seconds_bucket{{le="{le}",op="commit"}}': n for le, n in (("0.001", 10), ("+Inf", 10))}
    assert commit_ms([page, other], 0.5) == 1.0
    assert commit_ms([page, other], 0.99) == float("inf")
    assert commit_ms([{}], 0.5) == 0
