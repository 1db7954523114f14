"""`voice-agent rehearse` as a user runs it: real pods, a real HAProxy, real calls.

Tests of `balancer`, `callers`, `clients`, `command`, `environment`, `faults`, `programs`, `script` and `screen`, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from voice_agent.cli import cli
from voice_agent.errors import SettingsError
from voice_agent.rehearse import programs
from voice_agent.rehearse.balancer import CONFIGURATION
from voice_agent.rehearse.callers import Clients


@pytest.mark.slow
@pytest.mark.parametrize("edges", [2, 0])
def test_a_small_rehearsal_loses_nothing(tmp_path: Path, edges: int) -> None:
    """Four callers of all kinds are moved from blue to green; the last line of the output is the figures.

    What the pods of both colors recorded replays to the same events.
    """
    report, picture, recordings = tmp_path / "report.html", tmp_path / "picture.svg", tmp_path / "recordings"
    command = [sys.executable, "-m", "voice_agent", "rehearse", "--short", "--callers", "4", "--edges", str(edges)]
    command += ["--json", "--report", str(report), "--picture", str(picture), "--record", str(recordings)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    figures = json.loads(run.stdout.splitlines()[-1])
    assert figures["calls_by_kind"].keys() == {"sdk", "browser", "plain"}
    assert (figures["dropped"], figures["events_lost"], figures["events_repeated"]) == (0, 0, 0)
    assert figures["cutovers"] == 1
    # Both SDK clients and the browser were handed off; and so was, with edges, the one that cannot resume.
    assert figures["resumes"] >= 2
    if edges:
        assert figures["behind_edges"]["moves"]["handoff"] >= 2
        assert figures["behind_edges"]["lost"] == 0
    else:
        assert figures["behind_edges"] is None
    assert figures["resume_gap_ms"]["p99"] < 5000
    (drained_s,) = figures["drain_seconds"]
    assert drained_s < 60
    assert report.read_text().count("<svg") == 3
    assert picture.read_text().startswith("<svg")
    replayed = subprocess.run(
        [sys.executable, "-m", "voice_agent", "replay", str(recordings), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(replayed.stdout)
    assert (replayed.returncode, found["identical"]) == (0, True), replayed.stdout
    assert found["recordings"] >= found["calls"] + figures["resumes"] > 4


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one sentence, before anything is started."""
    monkeypatch.setattr("voice_agent.extras.find_spec", lambda name: None)
    outcome = CliRunner().invoke(cli, ["rehearse", "--report", "x.html"])
    assert isinstance(outcome.exception, SettingsError)
    assert "rehearse needs matplotlib and numpy and openai" in str(outcome.exception)
    assert "pip install 'voice-agent[rehearse]'" in str(outcome.exception)


def test_a_missing_haproxy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the two ways to get it."""
    monkeypatch.setattr("voice_agent.rehearse.programs.shutil.which", lambda *args, **more: None)
    with pytest.raises(SettingsError, match=r"apt-get install haproxy \(in this checkout, without root: make tools\)"):
        programs.find_haproxy()


def test_clients_that_are_not_known_are_refused() -> None:
    """With those that are."""
    outcome = CliRunner().invoke(cli, ["rehearse", "--clients", "stock"])
    assert outcome.exit_code == 2
    for known in Clients:
        assert known in outcome.output


@pytest.mark.parametrize("option", ["--report", "--picture"])
def test_a_report_without_a_folder_is_refused_at_once(tmp_path: Path, option: str) -> None:
    """Not after three minutes."""
    outcome = CliRunner().invoke(cli, ["rehearse", option, str(tmp_path / "none" / "x.html")])
    assert isinstance(outcome.exception, SettingsError)
    assert "no folder" in str(outcome.exception)


@pytest.mark.parametrize("option", ["--keep", "--record"])
def test_a_used_folder_is_refused(tmp_path: Path, option: str) -> None:
    """The store that an earlier rehearsal left there would remember its calls, and its recordings would count."""
    (tmp_path / "store.log").touch()
    outcome = CliRunner().invoke(cli, ["rehearse", option, str(tmp_path)])
    assert isinstance(outcome.exception, SettingsError)
    assert "is not empty" in str(outcome.exception)


def test_free_ports_differ() -> None:
    """And nobody listens on them."""
    assert len(set(programs.free_ports(20))) == 20


def test_the_offered_configuration_is_the_one_that_is_rehearsed() -> None:
    """And HAProxy takes it as it is, without any variable set."""
    offered = Path(__file__).parents[2] / "deploy" / "haproxy" / "haproxy.cfg"
    assert offered.resolve() == CONFIGURATION.resolve()
    checked = subprocess.run(
        [str(programs.find_haproxy()), "-c", "-f", str(offered)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert "WARNING" not in checked.stderr
