"""Recordings of people with what they say: Debian's `asterisk-core-sounds-en-wav` (CC-BY-SA-3.0), where it is.

None of them is a request; so words are counted, and nothing may come of them that would not come of the same typed.
"""

from __future__ import annotations

import gzip
import re
from pathlib import Path

from tests.eval_speech.requests import Request

CALLER = "people"
RECORDINGS = Path("/usr/share/asterisk/sounds/en")
_TEXTS = Path("/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz")
_FEWEST_WORDS, _MOST_WORDS = 3, 45


def prompts() -> list[Request]:
    """Prompts of several words; none where the recordings are not installed."""
    return [Request(f"p-{name}", text, "people") for name, text in _texts().items()]


def named(text: str) -> str:
    """The recording in which `text` is said."""
    return next(name for name, said in _texts().items() if said == text)


def _texts() -> dict[str, str]:
    if not (_TEXTS.exists() and RECORDINGS.exists()):
        return {}
    found = {}
    for line in gzip.decompress(_TEXTS.read_bytes()).decode(errors="replace").splitlines():
        name, colon, text = line.strip().partition(": ")
        words = text.split()
        plain = bool(colon) and "/" not in name and re.fullmatch(r"[A-Za-z ,.'!?;-]+", text)
        if plain and _FEWEST_WORDS <= len(words) <= _MOST_WORDS and (RECORDINGS / f"{name}.wav").exists():
            found[name] = text
    return {name: text for name, text in found.items() if list(found.values()).count(text) == 1}
