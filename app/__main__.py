"""`python -m app` is `voice-agent`."""

from app.cli import main

main()
