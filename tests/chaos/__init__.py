"""Real pods, a real replicated store, real callers, and faults at random."""
