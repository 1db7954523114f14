"""Values of command-line options that typer does not check in plain words by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import typer

Word = TypeVar("Word", bound=str)


def one_of(*choices: Word) -> Callable[[str], Word]:
    """Makes an option's `parser` that takes these words only, and names them when it gets another."""

    def choose(given: str) -> Word:
        for choice in choices:
            if choice == given:
                return choice
        raise typer.BadParameter(f"{given!r} is none of: {', '.join(choices)}")

    return choose
