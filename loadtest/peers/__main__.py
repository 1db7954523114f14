"""Entry point of ``python -m loadtest.peers``."""

from loadtest.peers.command import app

app(prog_name="python -m loadtest.peers")
