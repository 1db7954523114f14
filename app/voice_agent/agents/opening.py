"""What is wrong with an author's agent, in one line for the operator who starts it."""

from __future__ import annotations

import traceback
from pathlib import Path

from voice_agent.errors import VoiceAgentError
from voice_agent.invalid_settings import in_one_line


class AgentNotOpened(VoiceAgentError):
    """An agent raised when it was opened, at the start of a pod. Its cause is what it raised."""

    def __init__(self, agent: str, error: BaseException) -> None:
        super().__init__(agent, error)
        self.agent = agent
        self.error = error

    def __str__(self) -> str:
        return (
            f"The agent {self.agent!r} cannot be opened: {told_in_one_line(self.error)}. Mend it, or serve others; "
            "VOICE_LOG_LEVEL=debug shows the traceback."
        )


def told_in_one_line(error: BaseException) -> str:
    """What went wrong, and in which line of the author's file, if it was in one."""
    said = in_one_line(str(error))
    if isinstance(error, SyntaxError | OSError):
        return said or type(error).__name__  # They say where.
    ours = str(Path(__file__).parent)
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(("<", ours))
    ]
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {said}{where}"
