"""What callers of conversations say is what the figures say of it."""

from __future__ import annotations

import pytest

from loadtest.peers.script import FRAME_MS, FRAMES, PERIOD_MS, SPEECH_MS, script
from voice_agent.call.audio import PCM
from voice_agent.speech.endpointing import Endpointer

SILENCE_MS = 500
PADDING_MS = 300


@pytest.mark.parametrize("phase", [0, 100, 149, 160, 399])
def test_each_utterance_is_one_turn_and_its_answer_is_over_before_the_next(phase: int) -> None:
    """Wherever a caller begins: a turn in two, or an answer cut off, would be another load than is told."""
    said = script("realtime")
    ears = Endpointer(PCM, threshold=0.5, prefix_padding_ms=PADDING_MS, silence_duration_ms=SILENCE_MS)
    size = PCM.size(FRAME_MS)
    turns = [
        boundary.at_bytes // PCM.bytes_per_ms
        for number in range(FRAMES - phase, 3 * FRAMES - phase)
        for boundary in ears.feed(said.said((number + phase) * size, size))
    ]
    starts, ends = turns[::2], turns[1::2]
    assert len(starts) == len(ends) == 2
    for start, end in zip(starts, ends, strict=True):
        assert SPEECH_MS - 100 <= end - start - SILENCE_MS <= SPEECH_MS
        assert end + (end - start + PADDING_MS) < start + PERIOD_MS


@pytest.mark.parametrize("dialect", ["realtime", "pipecat"])
def test_a_period_comes_round(dialect: str) -> None:
    """What is said is the period again and again, cut anywhere; all frames are of one length."""
    said = script(dialect)
    whole = said.audio * 2
    for start in (0, 100, len(said.audio) - 10, len(said.audio)):
        at = start % len(said.audio)
        assert said.said(start, 4800) == whole[at : at + 4800]
    assert len(said.frames) == FRAMES
    assert len({len(frame) for frame in said.frames}) <= 2
    assert len(said.audio) == PERIOD_MS * said.bytes_per_ms
