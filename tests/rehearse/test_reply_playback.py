"""What a caller hears of a reply that comes with pauses."""

from __future__ import annotations

import pytest

from voice_agent.call.audio import PCM
from voice_agent.rehearse.reply_playback import ReplyPlayback

SECOND = PCM.size(1000)


def test_audio_that_comes_early_is_played_through() -> None:
    """As long as more comes before it is played out, nothing is heard of a pause."""
    playback = ReplyPlayback()
    for at_s in (5.0, 5.9, 6.9):
        playback.hear("resp_1", SECOND, at_s)
    assert playback.longest_silence_s == 0


def test_audio_that_comes_late_leaves_a_silence() -> None:
    """As long as it is late; what comes after is played from there on."""
    playback = ReplyPlayback()
    for at_s in (5.0, 6.25, 7.3):
        playback.hear("resp_1", SECOND, at_s)
    assert playback.longest_silence_s == pytest.approx(0.25)


def test_between_two_replies_nothing_is_due() -> None:
    """However long the agent thinks."""
    playback = ReplyPlayback()
    playback.hear("resp_1", SECOND, 5.0)
    playback.hear("resp_2", SECOND, 90.0)
    assert playback.longest_silence_s == 0
