"""Routers: one adapter each behind `app.cutover.ports.Router`."""
