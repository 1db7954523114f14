"""What a provider was asked, and what it gave."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.doubles.faults import Fault, Task


@dataclass
class Request:
    """One request; times are those of the provider's clock, `time.monotonic` unless it has another."""

    number: int
    task: Task
    client_request_id: str
    """As the header ``X-Client-Request-Id`` had it; "" without one."""
    model: str
    asked: dict[str, Any]
    """The body; of speech to be heard its form without the file."""
    connection: tuple[str, int] | None
    """The client's end."""
    began_at: float
    asked_at: float | None = None
    """When all of it had come."""
    fault: Fault | None = None
    heard: str = ""
    """Of speech to be heard: its words."""
    answer: str = ""
    """Of a model: all of what it had to say."""
    tool_calls: list[str] = field(default_factory=list)
    """The names of those it had to make."""
    usage: dict[str, int] = field(default_factory=dict)
    """What it counts: ``input_tokens``, ``output_tokens``, ``audio_ms``, ``characters``; empty where
    nothing was made."""
    status: int = 0
    sent_bytes: int = 0
    """Of the body."""
    first_byte_at: float | None = None
    first_sentence_at: float | None = None
    """When the first sentence of a model's answer had been sent."""
    ended_at: float | None = None
    is_complete: bool = False
    """All of its answer was sent, unharmed, and its client was there to the end."""

    @property
    def was_asked_for(self) -> str:
        """What the user said last, or what was to be said or heard."""
        if self.task != "chat":
            return str(self.asked.get("input") or self.heard)
        said = [each["content"] for each in self.asked.get("messages", ()) if each["role"] == "user"]
        return str(said[-1]) if said else ""


class RequestLog:
    """All requests to a provider, in the order in which they came; written by its thread, read by tests."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._lock = threading.Lock()
        self._all: list[Request] = []

    def begin(self, task: Task, client_request_id: str, asked: dict[str, Any], connection: Any) -> Request:
        """One more."""
        with self._lock:
            found = Request(len(self._all) + 1, task, client_request_id, "", asked, connection, self._now_s())
            self._all.append(found)
            return found

    def of(self, task: Task) -> list[Request]:
        """Those of one task."""
        return [each for each in self.all if each.task == task]

    @property
    def all(self) -> list[Request]:
        """Every one."""
        with self._lock:
            return list(self._all)

    @property
    def open(self) -> list[Request]:
        """Those under way."""
        return [each for each in self.all if each.ended_at is None]

    def clear(self) -> None:
        """Forget them."""
        with self._lock:
            self._all.clear()

    def as_json(self) -> list[dict[str, Any]]:
        """All of it, for another process."""
        return [asdict(each) for each in self.all]
