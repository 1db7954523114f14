"""Audio as a client appends it: a message that holds nothing else."""

from __future__ import annotations

import pybase64

_START = b'{"type":"input_audio_buffer.append","audio":"'
_END = b'"}'


def append_message(audio: bytes) -> bytes:
    """An `input_audio_buffer.append` without an id: its position tells which it is."""
    return _START + pybase64.b64encode(audio) + _END


def tail_of(message: bytes, skipped: int) -> bytes:
    """The same without the first `skipped` bytes of audio."""
    return append_message(pybase64.b64decode(message[len(_START) : -len(_END)])[skipped:])
