"""What the README tells an operator to type is taken as it stands there."""

from __future__ import annotations

import re
import shlex

import pytest
from typer.testing import CliRunner

from app.cli import cli
from tests.deploy.world import K8S, build, kustomizations

README = (K8S / "README.md").read_text()
TYPED = "\n".join(re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
CUTOVERS = [shlex.split(line)[1:] for line in TYPED.splitlines() if line.startswith("voice-agent cutover")]
JOBS = [it for color in ("blue", "green") for it in build(f"cutover-job/to-{color}") if it["kind"] == "Job"]
CUTOVERS += [job["spec"]["template"]["spec"]["containers"][0]["args"] for job in JOBS]


class StoreWasAskedFor(Exception):  # not an error: every option was taken
    """The command line is all right."""


@pytest.mark.parametrize("arguments", CUTOVERS, ids=" ".join)
def test_a_cutover_is_taken_as_it_is_written(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is missing, and it is about the namespace that everything here is in."""

    def open_store(*_: object, **__: object) -> None:
        raise StoreWasAskedFor

    monkeypatch.setattr("app.cutover.command.open_store", open_store)
    monkeypatch.setenv("VOICE_STORE_URL", "redis://voice-redis")
    outcome = CliRunner().invoke(cli, arguments)
    assert isinstance(outcome.exception, StoreWasAskedFor), outcome.output
    words = " ".join(arguments).replace("=", " ")
    assert "--namespace voice" in words
    assert "--smoke-url wss://" in words


def test_each_color_has_a_job_that_goes_to_it() -> None:
    """And to no other; all else is the same."""
    assert [job["spec"]["template"]["spec"]["containers"][0]["args"][1] for job in JOBS] == ["--to=blue", "--to=green"]
    assert len(CUTOVERS) == 4


def test_what_is_applied_is_there() -> None:
    """Every folder that the README applies, builds or edits is a kustomization."""
    folders = re.findall(r"(?:-k|kustomize|cd) k8s/([\w/-]+)", TYPED)
    assert len(folders) > 8
    assert set(folders) <= set(kustomizations())
