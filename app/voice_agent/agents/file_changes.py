"""Whether files have changed since they were looked at last."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class FileChanges:
    """Of files that may come and go."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[int, int] | None] = {}

    def look(self, files: Iterable[Path]) -> bool:
        """Whether one of these, looked at before, is another by now. One that is new here has not changed."""
        now = {file: _version(file) for file in files}
        changed = any(self._known.get(file, version) != version for file, version in now.items())
        self._known = now
        return changed


def _version(file: Path) -> tuple[int, int] | None:
    """When it was written, in nanoseconds, and its size; None: it is not there."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
