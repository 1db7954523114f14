"""What the documents and the Jobs tell an operator to type is taken as it stands there."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.deploy.manifests import K8S, ROOT, build, kustomizations, manifests
from tests.deploy.terraform import KEY
from voice_agent.cli import cli
from voice_agent.rehearse.balancer import CONFIGURATION

DOCUMENTS = ("README.md", "k8s/README.md", "deploy/terraform/README.md", "docs/runbook.md")
COMMAND = re.compile(r"voice-agent (?:cutover --(?:to|rollback|forget)|smoke --)[^`#;|&()\n]*")
ROUTERS = re.findall(r'R="([^"]+)"', (ROOT / "docs" / "runbook.md").read_text())
"""What `$R` stands for in the runbook."""
KINDS = {"gateway": "HTTPRoute", "ingress": "Ingress", "argo": "Rollout"}
URL = "wss://voice.example.com/v1/realtime"
OUTPUTS = {
    "url": URL,
    "store_url": "rediss://:secret@redis.example.com:6379/0",
    "color_key": KEY,
    "alb_rule_arns": ["arn:aws:elasticloadbalancing:eu-central-1:000000000000:listener-rule/app/voice/1/2/3"],
    "target_group_arns": {
        color: f"arn:aws:elasticloadbalancing:eu-central-1:000000000000:targetgroup/{color}/1"
        for color in ("blue", "green")
    },
}


def typed(document: str) -> list[str]:
    """Every cutover and smoke call of a document, once for each router that it is meant for."""
    text = (ROOT / document).read_text().replace("\\\n", " ")
    found = [line.strip() for line in COMMAND.findall(text)]
    meant = [line.replace("$R", router) for line in found for router in (ROUTERS if "$R" in line else [""])]
    return [line.replace("$URL", URL) for line in meant]


JOBS = [it for color in ("blue", "green") for it in build(f"cutover-job/to-{color}") if it["kind"] == "Job"]
OF_JOBS = [shlex.join(job["spec"]["template"]["spec"]["containers"][0]["args"]) for job in JOBS]
COMMANDS = sorted({*(line for document in DOCUMENTS for line in typed(document)), *OF_JOBS})


class UnderstoodError(Exception):
    """Every option was taken; now there is something to do."""


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_taken_as_it_is_written(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is missing from it."""

    def go(*_: object, **__: object) -> None:
        raise UnderstoodError

    monkeypatch.setattr("voice_agent.operate.command.open_store", go)
    monkeypatch.setattr("voice_agent.operate.command.smoke_call", go)
    monkeypatch.setenv("VOICE_STORE_URL", "redis://voice-redis")
    monkeypatch.chdir(tmp_path)
    Path("outputs.json").write_text(json.dumps({name: {"value": value} for name, value in OUTPUTS.items()}))
    outcome = CliRunner().invoke(cli, shlex.split(line.removeprefix("voice-agent ")))
    assert isinstance(outcome.exception, UnderstoodError), outcome.exception or outcome.output


@pytest.mark.parametrize("line", [line for line in COMMANDS if "--router" in line])
def test_a_command_names_what_is_there(line: str) -> None:
    """The object and the namespace that the manifests have, the socket of HAProxy's configuration."""
    words = shlex.split(line.replace("=", " "))
    given = dict(itertools.pairwise(words))
    if given["--router"] == "haproxy":
        assert f"presetenv ROUTER_SOCKET {given['--haproxy']}\n" in CONFIGURATION.read_text()
    elif given["--router"] != "alb":
        found = manifests().one(KINDS[given["--router"]], given.get("--resource", "voice-agent"))
        assert found["metadata"]["namespace"] == given["--namespace"]
        if "--color-label" in given:
            releases = build("argo-rollouts-cutover")
            (rollout,) = [it for it in releases if it["kind"] == "Rollout"]
            assert given["--color-label"] in rollout["spec"]["template"]["metadata"]["labels"]


def test_commands_are_found() -> None:
    """For each router there is one, and a Job for each color; all else of the two is the same."""
    assert {word for line in COMMANDS for word in ("haproxy", "alb", *KINDS) if f"--router {word}" in line} == {
        "haproxy",
        "alb",
        *KINDS,
    }
    assert [line.replace("blue", "green") for line in OF_JOBS] == [OF_JOBS[1]] * 2
    assert "--to=green" in OF_JOBS[1]


def test_what_is_applied_is_there() -> None:
    """Every folder that the README applies, builds or edits is a kustomization."""
    blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```", (K8S / "README.md").read_text(), re.MULTILINE | re.DOTALL))
    folders = re.findall(r"(?:-k|kustomize|cd) k8s/([\w/-]+)", blocks)
    assert len(folders) > 8
    assert set(folders) <= set(kustomizations())
