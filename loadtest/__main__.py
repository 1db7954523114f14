"""``python -m loadtest``."""

from loadtest.command import app

app(prog_name="python -m loadtest")
