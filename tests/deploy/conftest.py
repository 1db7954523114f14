"""Fixtures of the tests of ``deploy/terraform``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.deploy.terraform import MODULE, Terraform, an_example, environment


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Terraform's environment, for the tests of one module."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(tmp_path_factory.mktemp("provider")).items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def example(offline: None, tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """The example, applied."""
    terraform = an_example(tmp_path_factory.mktemp("example") / "terraform")
    terraform.must("apply", "-auto-approve", "-input=false", "-no-color")
    return terraform


@pytest.fixture(scope="module")
def resources(example: Terraform) -> dict[str, dict[str, Any]]:
    """What was applied, by address within the module."""
    return {address.removeprefix(f"{MODULE}."): values for address, values in example.resources().items()}
