"""What is wrong with an author's agent, ear or voice, in one line for the operator who starts it."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from voice_agent.errors import VoiceAgentError
from voice_agent.invalid_settings import in_one_line

log = structlog.get_logger(__name__)


class NotOpened(VoiceAgentError):
    """An agent, an ear or a voice raised when it was opened, at the start of a pod. Its cause is what it raised."""

    def __init__(self, what: str, error: BaseException) -> None:
        """`what`: as ``agent 'mine'``."""
        super().__init__(what, error)
        self.what = what
        self.error = error

    def __str__(self) -> str:
        return (
            f"The {self.what} cannot be opened: {told_in_one_line(self.error)}. Mend it, or serve others; "
            "VOICE_LOG_LEVEL=debug shows the traceback."
        )


@contextmanager
def opening(what: str) -> Iterator[None]:
    """Around the opening of one. Raises `NotOpened` for what is its author's, and what is the server's own as it is."""
    try:
        yield
    except VoiceAgentError:
        raise
    except Exception as error:
        log.debug("not opened", what=what, exc_info=error)
        raise NotOpened(what, error) from error


def told_in_one_line(error: BaseException) -> str:
    """What went wrong, and in which line of the author's file, if it was in one."""
    said = in_one_line(str(error))
    if isinstance(error, SyntaxError) or (isinstance(error, OSError) and error.filename is not None):
        return said  # They say where.
    ours = str(Path(__file__).parent)
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(("<", ours))
    ]
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{': ' * bool(said)}{said}{where}"
