"""`voice-agent`, and `python -m app`: what is first done in the process, before anything heavy is imported."""

import signal
import sys


def main() -> None:
    """Entry point of `voice-agent`.

    A server that is told to stop while it starts, stops: as the first process of a container it would otherwise
    not notice, for the kernel keeps signals without a handler from that one. Later the server handles them itself.
    """
    if "serve" in sys.argv[1:2]:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    from voice_agent.cli import main as run

    run()


if __name__ == "__main__":
    main()
