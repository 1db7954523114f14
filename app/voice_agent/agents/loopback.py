"""The agent `loopback`: every appended frame comes straight back, for load tests.

The mirroring itself is a rule of the call (`voice_agent.call`), since it must cost no task and
no await per frame; a call of this class has it.
"""

from __future__ import annotations

from voice_agent.kit.agent import Agent
from voice_agent.kit.ear import Ear
from voice_agent.kit.voice import Voice


class Loopback(Agent):
    """Has nothing to say itself: a reply asked of it (``response.create``) is empty."""

    name = "loopback"
    ear = Ear()
    """Understands nothing."""
    voice = Voice()
    """Says nothing."""
    lead_ms = 0
