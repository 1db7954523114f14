"""A piece of what the caller says as an ear gets it: with what is known of it, by the record and the agent."""

from __future__ import annotations

import structlog

from voice_agent.call.record import CallRecord
from voice_agent.call.session_config import spoken_language
from voice_agent.kit.agent import Agent
from voice_agent.kit.clip import Clip

log = structlog.get_logger(__name__)


def caller_clip(call: CallRecord, agent: Agent, audio: bytes) -> Clip:
    """The same on any pod: nothing of it is in a pod's memory only."""
    language = spoken_language(call.session.fields) or agent.language
    return Clip(audio, call.session.input_format, language, yes_or_no=_asks_yes_or_no(call, agent))


def _asks_yes_or_no(call: CallRecord, agent: Agent) -> bool:
    try:
        return bool(agent.asks_yes_or_no(call.dialogue.agent_state))
    except Exception:
        # The agent's opinion; the turn is heard without it.
        log.exception("agent raised when asked what it asked", agent=agent.name, call_id=call.call_id)
        return False
