"""Fixtures of the tests of ``deploy/terraform``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from tests.deploy.terraform import MODULE, Terraform, an_example, environment


@contextmanager
def in_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """With these variables, for as long as the block."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def terraform_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Terraform's environment."""
    return environment(tmp_path_factory.mktemp("provider"))


@pytest.fixture(scope="module")
def offline(terraform_environment: dict[str, str]) -> Iterator[None]:
    """Terraform's environment, for the tests of one module."""
    with in_environment(terraform_environment):
        yield


@pytest.fixture(scope="session")
def example(terraform_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """The example, applied."""
    with in_environment(terraform_environment):
        terraform = an_example(tmp_path_factory.mktemp("example") / "terraform")
        terraform.must("apply", "-auto-approve", "-input=false", "-no-color")
    return terraform


@pytest.fixture(scope="module")
def resources(offline: None, example: Terraform) -> dict[str, dict[str, Any]]:
    """What was applied, by address within the module."""
    return {address.removeprefix(f"{MODULE}."): values for address, values in example.resources().items()}
