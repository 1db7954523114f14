"""Whether files have changed."""

from __future__ import annotations

import os
from pathlib import Path

from voice_agent.agents.file_changes import FileChanges


def test_a_change_is_seen_once(tmp_path: Path) -> None:
    """Of the time or the size; what is new, or stays, has not changed."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("a")
    changes = FileChanges()
    assert not changes.look([one])
    assert not changes.look([one, other])
    one.write_text("bb")
    assert changes.look([one, other])
    assert not changes.look([one, other])
    os.utime(one, ns=(1, 1))
    assert changes.look([one, other])
    other.write_text("")
    assert changes.look([one, other])
    other.unlink()
    assert changes.look([one, other])
    assert not changes.look([one])
