"""The contract of stores as authors of stores run it: a plug-in of their own, as the document shows it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import voice_agent
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]
FORGETFUL = """
from voice_agent.stores.base import WriteOutcome

class Forgetful(MemoryStore):
    async def commit(self, writes):
        if writes[0].epoch == 1:
            return [WriteOutcome.COMMITTED] * len(writes) if self._calls.get("call_a") else await super().commit(writes)
        return await super().commit(writes)

def make(url, *, ttl_s):
    return Forgetful(ttl_s=ttl_s)
"""
"""Says that all is written once there is something: it neither fences nor keeps."""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python where the package of the folder is installed."""
    path = os.pathsep.join([str(folder), str(Path(voice_agent.__file__).parents[1])])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.fixture
def plug_in(tmp_path: Path) -> Path:
    """The document's package, its entry point and its tests."""
    document = (ROOT / "docs/store.md").read_text(encoding="utf-8")
    code, tests = re.findall(r"^```python\n(.*?)^```", document, re.MULTILINE | re.DOTALL)
    toml = document.partition("```toml\n")[2].partition("```")[0]
    ((group, entries),) = tomllib.loads(toml)["project"]["entry-points"].items()
    (tmp_path / "my_store.py").write_text(code)
    (tmp_path / "test_my_store.py").write_text(tests)
    info = tmp_path / "my_store-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-store\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "\n".join([f"[{group}]", *(f"{name} = {where}" for name, where in entries.items())])
    )
    return tmp_path


CONTRACT = ("-m", "pytest", "-q", "-o", "asyncio_mode=auto", "-p", "no:cacheprovider", "test_my_store.py")


def test_a_store_of_ones_own_is_found_by_its_scheme_and_keeps_the_contract(plug_in: Path) -> None:
    """Copied from the document."""
    found = run(
        plug_in, "-c", "from voice_agent.stores.factory import open_store; print(open_store('mine://x', ttl_s=1).kind)"
    )
    assert found.stdout.strip() == "memory", found.stderr
    kept = run(plug_in, *CONTRACT)
    assert kept.returncode == 0, kept.stdout
    assert int(re.findall(r"(\d+) passed", kept.stdout)[0]) >= 28


def test_a_store_that_breaks_promises_is_told_which(plug_in: Path) -> None:
    """By the names of the tests that fail."""
    with (plug_in / "my_store.py").open("a") as code:
        code.write(FORGETFUL)
    broken = run(plug_in, *CONTRACT)
    assert broken.returncode == 1
    assert "test_a_claim_fences_the_owner_before" in broken.stdout
