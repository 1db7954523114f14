"""`python -m tests.upgrade.pod before serve`: this program as a neighbouring release would be (see `releases`)."""

from __future__ import annotations

import sys

from tests.upgrade.releases import RELEASE, Release, installed
from voice_agent.cli import main

if __name__ == "__main__":
    RELEASE.set(Release(sys.argv.pop(1)))
    with installed():
        main()
