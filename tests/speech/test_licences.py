"""Engines come with extras, each under a licence of its own, and `NOTICE` says which."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEECH_EXTRAS = ("demo", "natural", "piper")


@pytest.mark.parametrize("extra", SPEECH_EXTRAS)
def test_every_package_of_an_extra_is_in_the_notice(extra: str) -> None:
    """With the extra beside it, so that who leaves one out knows what that spares them."""
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    needs = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for requirement in needs[extra]:
        name = re.split("[<>=\\[ ]", requirement)[0]
        listed = re.search(rf"^  {re.escape(name)} .*$", notice, re.MULTILINE)
        assert listed is not None, name
        assert extra in listed[0], (name, extra)
