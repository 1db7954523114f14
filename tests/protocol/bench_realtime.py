"""Prints what parsing and framing cost, in CPU microseconds. Run: ``python -m tests.protocol.bench_realtime``."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from typing import Any

from voice_agent.call import events
from voice_agent.call.events import pack
from voice_agent.call.session import merge_session
from voice_agent.call.session_config import new_session, settings_under, turn_detection
from voice_agent.protocol.realtime import frame, parse


def cpu_us(work: Callable[[], Any], times: int) -> float:
    """CPU time of one run, the best of five rounds."""
    best = float("inf")
    for _ in range(5):
        begin = time.process_time()
        for _ in range(times):
            work()
        best = min(best, time.process_time() - begin)
    return best / times * 1e6


def main() -> None:
    """Measure the hot path at three frame sizes, and the session rules."""
    for name, size in (("20 ms G.711", 160), ("20 ms PCM", 960), ("100 ms PCM", 4800)):
        audio = bytes(range(256)) * (size // 256 + 1)
        append = json.dumps({"type": "input_audio_buffer.append", "audio": b64encode(audio[:size]).decode()})
        head = pack(events.output_audio_delta("resp_12", "item_25", 0))
        print(f"parse append, {name}: {cpu_us(partial(parse, append), 20_000):.2f} µs")
        print(f"frame delta,  {name}: {cpu_us(partial(frame, 41, head, audio[:size]), 20_000):.2f} µs")
    head = pack(events.output_text_delta("resp_12", "item_25", 0, "a few words of text"))
    print(f"frame text delta: {cpu_us(lambda: frame(41, head, b''), 20_000):.2f} µs")
    session = new_session("call_1", "frontdesk", "marin", expires_at_s=0)
    patch = {"type": "realtime", "instructions": "be brief", "audio": {"input": {"turn_detection": {"threshold": 0.6}}}}
    merge_us = cpu_us(lambda: merge_session(session, patch, voice_locked=False), 2000)
    print(f"merge_session: {merge_us:.1f} µs")
    print(f"settings_under, no params: {cpu_us(lambda: settings_under(session, {}), 20_000):.2f} µs")
    print(f"turn_detection: {cpu_us(lambda: turn_detection(session), 20_000):.2f} µs")


if __name__ == "__main__":
    main()
