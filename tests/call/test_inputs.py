"""What can happen to a call."""

from __future__ import annotations

from voice_agent.call import inputs


def test_what_an_input_does_not_say_is_not_so() -> None:
    """Nothing is taken for cut, planned, appended, made or to be the last that was not called so."""
    assert not inputs.VoiceBoundary(True, 0).goes_on
    assert not inputs.CreateItem({}).audio_appended
    assert not inputs.ConnectionLost(hung_up=True).planned
    assert not inputs.EventDone(1).incomplete_reason
    assert inputs.ResponseAudio("resp_1", b"").made_bytes == 0
