"""The web layer: FastAPI routes, the callers' sockets, and the server process' signals."""
