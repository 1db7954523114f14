"""Scripts that import the package by the name it had before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.waiting import PATIENCE_S

HERE = Path(__file__).parent


def test_a_module_of_the_former_name_is_the_module_of_today() -> None:
    """The same objects, whichever name comes first."""
    program = (
        "from app.kit.clip import Clip; from app.call.said_by_caller import said_since_last_reply; "
        "import voice_agent; from app.call import audio; "
        "import voice_agent.call.audio as same; print(Clip is voice_agent.Clip, audio is same, same.__spec__.name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": f"{HERE}:{HERE.parents[1] / 'app'}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.stdout.split() == ["True", "True", "voice_agent.call.audio"], done.stderr
