"""Routers: one adapter each behind `voice_agent.operate.ports.Router`."""
