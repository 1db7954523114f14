"""Providers for trials, and pods that use them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from tests.doubles.faults import Task
from tests.doubles.model import GoingOn
from tests.doubles.provider import Provider
from tests.doubles.serving import Served, served

KEY = "a-key-of-no-use"
AGENT = "pipeline"
FIRST_S: dict[Task, float] = {"chat": 0.1, "hear": 0.06, "speak": 0.06}
"""How long they take to the first byte of an answer."""
TOKEN_S = 0.01
VOICE_PACE = 6.0
"""So much faster than people their voices speak."""


@contextlib.contextmanager
def providers(number: int = 2, going_on: GoingOn = GoingOn.EXACT) -> Iterator[list[Served]]:
    """So many for the length of a block."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(served(Provider(key=KEY, going_on=going_on))) for _ in range(number)]


def settings(found: Sequence[Served], **more: Any) -> dict[str, Any]:
    """Of pods whose agent is `pipeline`, with all of these as model, ear and voice, in this order."""
    urls = ",".join(each.url for each in found)
    prefix = f"agent_{AGENT}_"
    known = {
        "model": urls,
        "model_name": "counting",
        "model_key": ",".join(KEY for _ in found),
        "ear": urls,
        "ear_model": "whisper-1",
        "ear_key": ",".join(KEY for _ in found),
        "voice": urls,
        "voice_model": "tones",
        "voice_key": ",".join(KEY for _ in found),
    }
    return {"agent": AGENT, **{prefix + name: value for name, value in {**known, **more}.items() if value != ""}}


def counting(first: int, last: int, size: int = 6) -> str:
    """What a caller says to hear these numbers' words."""
    return f"Please count from {first} to {last} in sentences of {size}."
