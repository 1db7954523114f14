"""A conversation as JSON, one object a line, for scripts."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any, TextIO

import orjson

from voice_agent.client.connection import RealtimeCall, ResumedConnection
from voice_agent.client.exchanges import Exchange, Report
from voice_agent.client.sequence import Tally


class CallLines:
    """Each line has `event` and `at_ms`, milliseconds since 1970; `quiet` leaves the summary only."""

    def __init__(self, out: TextIO, *, quiet: bool) -> None:
        self._out = out
        self._quiet = quiet
        self._speaking = False

    def _write(self, event: str, **more: Any) -> None:
        if self._quiet and event != "summary":
            return
        line = {"event": event, "at_ms": time.time_ns() // 1_000_000, **more}
        self._out.write(orjson.dumps(line).decode() + "\n")
        self._out.flush()

    def connected(self, call: RealtimeCall) -> None:
        self._write("connected", call_id=call.call_id, color=call.color, pod=call.pod)

    def speaking(self, name: str, done_ms: int, total_ms: int) -> None:
        if not self._speaking:
            self._write("speaking", turn=name)
        self._speaking = done_ms < total_ms
        if not self._speaking:
            self._write("spoke", turn=name)

    def heard(self, exchange: Exchange) -> None:
        self._write("heard", text=exchange.heard)

    def answered(self, exchange: Exchange) -> None:
        self._write("answered", text=exchange.answered, latency_s=exchange.latency_s, color=exchange.color)

    def waiting(self, code: int, reason: str) -> None:
        self._write("waiting", code=code, reason=reason)

    def resumed(self, resumed: ResumedConnection) -> None:
        self._write("resumed", **asdict(resumed))

    def going_away(self, time_left_ms: int) -> None:
        self._write("going_away", time_left_ms=time_left_ms)

    def failed(self, message: str) -> None:
        self._write("error", message=message)

    def summary(self, report: Report, call_id: str | None, tally: Tally, failure: str | None) -> None:
        """The last line, also after a failure: `failed` is null or the reason. So is that of each turn."""
        self._write(
            "summary",
            call_id=call_id,
            turns=[asdict(turn) for turn in report.exchanges],
            reply_ms=report.reply_ms,
            worst_lag_ms=report.worst_lag_ms,
            failed=failure,
            failures=report.failures,
            **asdict(tally),
        )
