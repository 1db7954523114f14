"""A provider by hand: ``python -m tests.doubles --port 9000 --key secret``."""

from __future__ import annotations

import argparse

import uvicorn

from tests.doubles.model import GoingOn
from tests.doubles.provider import Provider


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.doubles", description=__doc__)
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--key", help="refuse requests without it")
    parser.add_argument("--takes-prefix", action="store_true", help="know the parameters of vLLM")
    parser.add_argument("--going-on", choices=[each.value for each in GoingOn], default=GoingOn.EXACT.value)
    options = parser.parse_args()
    provider = Provider(key=options.key, takes_prefix=options.takes_prefix, going_on=GoingOn(options.going_on))
    uvicorn.run(provider, port=options.port, lifespan="off")


if __name__ == "__main__":
    main()
