"""A piece of what the caller says as an ear gets it: with what is known of it, by the record and the agent."""

from __future__ import annotations

import structlog

from voice_agent.call.record import CallRecord
from voice_agent.call.session_config import spoken_language, transcription_prompt
from voice_agent.kit.agent import Agent
from voice_agent.kit.clip import Clip

MAX_PROMPT_CHARS = 1_000
"""Of what may be said, the end of it: ears take a hundred or two hundred words of it at most."""

log = structlog.get_logger(__name__)


def caller_clip(call: CallRecord, agent: Agent, audio: bytes) -> Clip:
    """The same on any pod: nothing of it is in a pod's memory only."""
    language = spoken_language(call.session.fields) or agent.language
    prompt = transcription_prompt(call.session.fields) or _prompt(call, agent, language)
    yes_or_no = _asks_yes_or_no(call, agent)
    return Clip(audio, call.session.input_format, language, yes_or_no=yes_or_no, prompt=prompt[-MAX_PROMPT_CHARS:])


def _prompt(call: CallRecord, agent: Agent, language: str) -> str:
    try:
        return str(agent.transcription_prompt(language) or "")
    except Exception:
        # The agent's opinion; the turn is heard without it.
        log.exception("agent raised when asked what its callers say", agent=agent.name, call_id=call.call_id)
        return ""


def _asks_yes_or_no(call: CallRecord, agent: Agent) -> bool:
    try:
        return bool(agent.asks_yes_or_no(call.dialogue.agent_state))
    except Exception:
        # The agent's opinion; the turn is heard without it.
        log.exception("agent raised when asked what it asked", agent=agent.name, call_id=call.call_id)
        return False
