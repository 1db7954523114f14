"""Values of command-line options that typer does not check in plain words by itself."""

from __future__ import annotations

from collections.abc import Callable

import typer


def one_of(*choices: str) -> Callable[[str], str]:
    """Makes an option's `parser` that takes these words only, and names them when it gets another."""

    def choose(given: str) -> str:
        if given not in choices:
            raise typer.BadParameter(f"{given!r} is none of: {', '.join(choices)}")
        return given

    return choose
