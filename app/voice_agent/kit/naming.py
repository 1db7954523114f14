"""What an agent may be called, and how its settings are called then."""

from __future__ import annotations

import re

LABEL = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
"""What may stand in a URL, a log line and a metric as it is."""
MAX_NAME_CHARS = 128
"""Of an agent: a longer one could not be asked for as a model."""
SETTINGS_PREFIX = "VOICE_AGENT_"
"""How the variables of all agents begin; no setting of the server itself does."""


def is_name(name: object) -> bool:
    """Whether an agent may be called so."""
    return isinstance(name, str) and len(name) <= MAX_NAME_CHARS and re.fullmatch(LABEL, name) is not None


def settings_prefix(name: str) -> str:
    """How the variables of one agent begin: its name in capitals, all but A–Z and 0–9 as ``_``."""
    return SETTINGS_PREFIX + re.sub(r"[^A-Z0-9]", "_", name.upper()) + "_"
