"""What a server's `session.created` and `session.updated` say of a call."""

from __future__ import annotations

from typing import Any

from voice_agent.call.audio import AudioFormat
from voice_agent.call.session_config import input_format


def call_info(greeting: dict[str, Any]) -> dict[str, Any]:
    """``session.call`` of a greeting; empty where the server is not ours."""
    session = greeting.get("session")
    found = session.get("call") if isinstance(session, dict) else None
    return found if isinstance(found, dict) else {}


def told_format(event: dict[str, Any]) -> AudioFormat | None:
    """The format of the caller's audio; None where the server does not say it."""
    try:
        return input_format(event["session"])
    except (KeyError, TypeError):
        return None
