"""The examples of docs/models.md, with doubles in the place of the providers."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "models.md"
EXAMPLE = re.compile(r"^`([\w.]+)`\n\n```(sh|toml|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXPORT = re.compile(r"^export (VOICE_AGENT_\w+)=(.*)$", re.MULTILINE)
SERVED = re.compile(r"^(?:\w+=\S+ )?voice-agent serve --agent (\S+)$", re.MULTILINE)
KEYS = re.compile(r'(?<==)(sk-…|…)$|"(sk-…|…)"', re.MULTILINE)


def examples() -> dict[str, tuple[str, str]]:
    """Kind and text of each, by name."""
    return {name: (kind, text) for name, kind, text in EXAMPLE.findall(DOCUMENT.read_text(encoding="utf-8"))}


def with_doubles(text: str, urls: Mapping[str, str], key: str) -> str:
    """An example whose addresses are those of doubles, with a key that they take."""
    for url, double in urls.items():
        text = text.replace(url, double)
    return KEYS.sub(lambda found: f'"{key}"' if found[2] else key, text)


def environment(text: str) -> dict[str, str]:
    """What a shell is told to export, as settings of `pods`."""
    return {name.removeprefix("VOICE_").lower(): shlex.split(value)[0] for name, value in EXPORT.findall(text)}
