"""What one caller says to the agent `echo`, and whether it hears exactly that again.

`echo` answers a spoken turn with the turn's own audio, sample for sample, and a typed one
with its own text. Every turn of every caller is different, so an answer to another turn or
to another caller is noticed like one that is cut or doubled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
import pybase64

from voice_agent.call.audio import PCM
from voice_agent.client.sequence import Tally


@dataclass(slots=True)
class Found:
    """What is wrong with what one caller got. Empty is as it should be."""

    dropped: str = ""
    lost: int = 0
    """Event ids that never came, named as a gap or not."""
    repeated: int = 0
    wrong_audio: list[str] = field(default_factory=list)
    """Answers that were not what was said, and errors that the server spoke of."""
    lost_words: int = 0
    """Turns that the record of the call does not hold."""
    extra_words: int = 0
    lost_speech_ms: int = 0

    @property
    def is_clean(self) -> bool:
        """Nothing is wrong."""
        return self == Found()

    def count(self, tally: Tally) -> None:
        """Add what the event numbers of a call that is over say."""
        self.lost += tally.gaps + tally.told_gaps
        self.repeated += tally.repeats
        self.lost_speech_ms += tally.lost_ms


@dataclass(frozen=True, slots=True)
class Totals:
    """What is wrong with what all callers got."""

    dropped: int
    lost: int
    repeated: int
    wrong_replies: int
    lost_words: int
    extra_words: int
    lost_speech_ms: int


def totals(found: Sequence[Found]) -> Totals:
    """Of all callers."""
    return Totals(
        dropped=sum(bool(one.dropped) for one in found),
        lost=sum(one.lost for one in found),
        repeated=sum(one.repeated for one in found),
        wrong_replies=sum(len(one.wrong_audio) for one in found),
        lost_words=sum(one.lost_words for one in found),
        extra_words=sum(one.extra_words for one in found),
        lost_speech_ms=sum(one.lost_speech_ms for one in found),
    )


@dataclass(slots=True)
class HeardAnswer:
    """A reply as it arrives."""

    audio: bytearray = field(default_factory=bytearray)
    text: str = ""
    status: str = ""


class RehearsedConversation:
    """One call's turns, one after the other: say, wait until `is_answered`, `judge`; at the end `compare`."""

    def __init__(self, name: str, seed: int) -> None:
        """`name` is in all typed turns; `seed` makes the noise that is spoken."""
        self.found = Found()
        self.turns = 0
        self._name = name
        self._noise = np.random.default_rng(seed)
        self._answers: dict[str, HeardAnswer] = {}
        self._said: list[str] = []
        self._expected = ("", "")

    def typed(self) -> dict[str, Any]:
        """The next turn, as a client event with text."""
        self.turns += 1
        text = f"{self._name} types {self.turns}"
        self._said.append(text)
        self._expected = (text, "")
        content = [{"type": "input_text", "text": text}]
        return {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}}

    def spoken(self, duration_ms: int) -> bytes:
        """The next turn, as PCM at 24 000 Hz: noise that no other turn of anybody has."""
        self.turns += 1
        samples = self._noise.integers(-8000, 8000, PCM.size(duration_ms) // 2, dtype=np.int16)
        self._said.append("")
        self._expected = ("", sha256(samples.tobytes()).hexdigest())
        return samples.tobytes()

    def hear(self, event: dict[str, Any]) -> None:
        """Take in a server event, each one once and in order."""
        match event["type"]:
            case "error":
                self.found.wrong_audio.append(f"turn {self.turns}: {event['error']}")
            case "response.created":
                self._answers[event["response"]["id"]] = HeardAnswer()
            case "response.output_audio.delta":
                self._answer(event["response_id"]).audio += pybase64.b64decode(event["delta"])
            case "response.output_audio_transcript.delta" | "response.output_text.delta":
                self._answer(event["response_id"]).text += event["delta"]
            case "response.done":
                self._answer(event["response"]["id"]).status = event["response"]["status"]

    def _answer(self, response_id: str) -> HeardAnswer:
        # Its first event may be the very one that is lost.
        return self._answers.setdefault(response_id, HeardAnswer())

    @property
    def is_answered(self) -> bool:
        """Whether the answer to the latest turn is complete."""
        answers = list(self._answers.values())
        return len(answers) >= self.turns and bool(answers[self.turns - 1].status)

    def judge(self) -> None:
        """Compare the answer to the latest turn with the turn."""
        answer = list(self._answers.values())[self.turns - 1]
        got = (answer.text, sha256(answer.audio).hexdigest() if answer.audio else "")
        if got != self._expected or answer.status != "completed":
            self.found.wrong_audio.append(
                f"turn {self.turns}: {answer.status}, {len(answer.audio)} bytes and {answer.text!r} "
                f"for {self._expected}"
            )
        answer.audio.clear()

    def is_as(self, said: Sequence[str]) -> bool:
        """Whether these are the caller's turns, once and in order; spoken ones have no words."""
        return list(said) == self._said

    def compare(self, said: Sequence[str]) -> None:
        """Note what the record of the call holds too much or too little: the caller's turns, as they are kept."""
        if not self.is_as(said):
            lost, more = Counter(self._said) - Counter(said), Counter(said) - Counter(self._said)
            self.found.lost_words += lost.total() or 1
            self.found.extra_words += more.total()
        self.found.extra_words += abs(len(self._answers) - self.turns)


def said_by_caller(record: dict[str, Any]) -> list[str]:
    """The caller's turns in a call's record, as ``GET /admin/calls/{id}`` shows it."""
    return [line["text"] for line in record.get("transcript", []) if line.get("role") == "user"]


MANUAL: dict[str, Any] = {
    "type": "session.update",
    "session": {"type": "realtime", "audio": {"input": {"turn_detection": None}}},
}
"""The caller says himself where his turns end."""
