"""The agent `relay`."""

from voice_agent.agents.relay.agent import Relay as Relay
