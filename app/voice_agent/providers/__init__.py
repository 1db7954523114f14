"""Providers of models over HTTP: one pool of connections, and what is known of how each of them does."""
