"""The other end of a call: a client that keeps talking while pods come and go."""
