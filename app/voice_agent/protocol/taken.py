"""What becomes of each field that a client may send, said where the field is declared: ``docs/protocol.md`` has it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Taken:
    """A field's verdict, and what is to be known of it."""

    verdict: str
    """``works``, ``agent``, ``no effect`` or ``refused``, as the document explains them."""
    note: str = ""
    all_below: bool = False
    """The fields below it need no lines of their own."""
    refused: tuple[str, ...] = ()
    """What could stand in it and is not taken: suffixes of its path."""


WORKS = Taken("works")
AGENT = Taken("agent")
NO_EFFECT = Taken("no effect")
WORKS_WITH_ALL_BELOW = Taken("works", all_below=True)
AGENT_WITH_ALL_BELOW = Taken("agent", all_below=True)
NO_EFFECT_WITH_ALL_BELOW = Taken("no effect", all_below=True)
