"""`python -m tests.upgrade.pod before serve`: this program as a neighbouring release would be (see `releases`).

`… pod before "off-by-one replay" serve`: with a bug of `tests.simulation.planted`, which an upgrade must find.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext

from tests.simulation.planted import PLANTED
from tests.upgrade.releases import RELEASE, Release, installed
from voice_agent.cli import main

if __name__ == "__main__":
    RELEASE.set(Release(sys.argv.pop(1)))
    bug = PLANTED[sys.argv.pop(1)].plant() if sys.argv[1] in PLANTED else nullcontext()
    with installed(), bug:
        main()
