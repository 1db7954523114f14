"""An agent at work on one call: what it does becomes inputs of the call, and what happens reaches it as events."""
