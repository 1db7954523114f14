"""The agent `pipeline`: an ear, a language model and a voice."""

from voice_agent.agents.pipeline.agent import Pipeline

__all__ = ["Pipeline"]
