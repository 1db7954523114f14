"""Everything outside that a cutover works with, and who is told about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from voice_agent.operate.plan import CutoverProgress
from voice_agent.operate.ports import MetricsSource, Numbers, Router
from voice_agent.runtime.ports import Clock
from voice_agent.stores.base import Store


class Reporter(Protocol):
    """Shows people, or scripts, how it goes. Never raises."""

    def begun(self, progress: CutoverProgress, *, again: bool) -> None:
        """A cutover begins, or an earlier run's goes on (`again`)."""

    def step(self, progress: CutoverProgress) -> None:
        """A step begins."""

    def looked(self, progress: CutoverProgress, numbers: Mapping[str, Numbers] | None, waits_for: str) -> None:
        """One look at both colors; None: there were no fresh numbers. `waits_for` is empty or says for what."""

    def said(self, text: str) -> None:
        """A remark for the log."""

    def over(self, progress: CutoverProgress) -> None:
        """It is done, or rolled back."""


Smoke = Callable[[str], Awaitable[str]]
"""Makes a real call to a color; returns one line about it, raises `CutoverError` when it was not as it should be."""


@dataclass(frozen=True, slots=True)
class Context:
    """The ports of one cutover."""

    router: Router
    watch: MetricsSource
    store: Store
    smoke: Smoke
    clock: Clock
    reporter: Reporter
