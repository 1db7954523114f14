"""What authors of agents, stores, ears and voices test with; for pytest, with `pytest-asyncio` in its mode ``auto``."""

from voice_agent.testing.agent_contract import AgentContract
from voice_agent.testing.call_contract import CallContract
from voice_agent.testing.claim_contract import ClaimContract
from voice_agent.testing.ear_contract import EarContract
from voice_agent.testing.ending_contract import EndingContract
from voice_agent.testing.fleet_contract import FleetContract
from voice_agent.testing.simulate import simulate, survives
from voice_agent.testing.voice_contract import VoiceContract
from voice_agent.testing.webhook_contract import WebhookContract


class StoreContract(CallContract, ClaimContract, EndingContract, FleetContract):
    """The contract of every store. A class of yours inherits it and has a fixture `store`, open and empty each time."""


__all__ = ["AgentContract", "EarContract", "StoreContract", "VoiceContract", "WebhookContract", "simulate", "survives"]
