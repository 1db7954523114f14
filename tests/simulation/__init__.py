"""The product's own runtime under a simulated world: one thread, no clock, no sockets, every choice from a seed."""
