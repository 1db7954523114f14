"""A realtime voice-agent server whose calls outlive the pods that serve them."""

__version__ = "0.1.0"
