"""The sources of another release: a checkout, or a revision of this repository."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def unpacked(before: str, directory: Path) -> Path:
    """A checkout as it stands; of a revision, its `app`, unpacked into `directory`. Raises `ValueError` for neither."""
    if (Path(before) / "app").is_dir():
        return Path(before).absolute()
    git = shutil.which("git") or "git"
    packed = subprocess.run([git, "-C", ROOT, "archive", before, "app"], check=False, capture_output=True)
    if packed.returncode:
        raise ValueError(f"{before}: neither a checkout nor a revision: {packed.stderr.decode().strip()}")
    # Not by `tarfile`, whose filters are younger than the oldest Python that runs this.
    tar = shutil.which("tar") or "tar"
    subprocess.run([tar, "-x", "-C", directory], input=packed.stdout, check=True)
    return directory
