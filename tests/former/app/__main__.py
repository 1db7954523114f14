"""`python -m app`."""

from voice_agent.__main__ import main

main()
