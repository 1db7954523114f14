"""Recordings of simulated calls, in memory."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import Future

from voice_agent.call import machine
from voice_agent.call.beginnings import Beginning
from voice_agent.call.effects import Effect
from voice_agent.call.inputs import Input
from voice_agent.call.machine import Step
from voice_agent.call.record import CallRecord
from voice_agent.call.recording import InputText, emitted_after, opening
from voice_agent.call.replaying import replay
from voice_agent.runtime.recordings import NoRecordings, Recordings


class KeptRecordings(Recordings):
    """One for each time that a pod came to own a call."""

    def __init__(self) -> None:
        self.kept: list[bytearray] = []

    def record(self, call: CallRecord, beginning: Beginning) -> Step:
        """Also what happens to a call that its pod has lost."""
        kept = bytearray(opening(beginning, version="1", pod=call.owner.pod))
        self.kept.append(kept)

        def step(call: CallRecord, event: Input, now_ms: int) -> list[Effect]:
            text, before = InputText(event, now_ms), call.outbox.seq
            try:
                return machine.step(call, event, now_ms)
            finally:
                kept.extend(text.entry(emitted_after(call, before)))

        return step

    def erase(self, call_id: str) -> Future[None]:
        """What is erased is compared all the same."""
        return NoRecordings().erase(call_id)

    def replayed(self, counts: Counter[str]) -> str:
        """Replay all; how the first differs that does, else \"\". Counts what was compared."""
        for kept in self.kept:
            found = replay(bytes(kept))
            counts["replayed"] += 1
            counts["replayed inputs"] += found.inputs
            counts["replayed events"] += found.events
            if not found.is_identical:
                return f"{found.call_id} of {found.pod}: {found.differences[0]}"
        return ""
