"""What is said for an agent that failed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Apology:
    """What the caller is told for an agent that failed: words, and their audio in the reply's output format."""

    words: str
    audio: bytes
