"""The operator's tools: what the fleet looks like, and how to drain it."""
