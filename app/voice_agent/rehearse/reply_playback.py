"""How a caller hears replies: from the first audio on, and in silence wherever what has come is played out. Pure."""

from __future__ import annotations

from voice_agent.call.audio import PCM


class ReplyPlayback:
    """Of one call. Replies come one after the other."""

    def __init__(self) -> None:
        self.longest_silence_s = 0.0
        """Within any reply; what stands before its first audio does not count."""
        self._response_id = ""
        self._played_out_s = 0.0
        """When all that has come of the reply will have been played."""

    def hear(self, response_id: str, audio_bytes: int, at_s: float) -> None:
        """Audio of a reply has come, PCM16 24 000 Hz."""
        if response_id != self._response_id:
            self._response_id, self._played_out_s = response_id, at_s
        self.longest_silence_s = max(self.longest_silence_s, at_s - self._played_out_s)
        self._played_out_s = max(self._played_out_s, at_s) + audio_bytes / PCM.bytes_per_ms / 1000
