"""What an agent may yield, and how it is kept."""

from __future__ import annotations

from typing import Any

import pytest

from voice_agent.agents.base import Audio, FunctionCall, HangUp, Plan, Text
from voice_agent.call.audio import FORMATS, PCM
from voice_agent.runtime.calls.parts import NoResponsePart, checked, json_of

SOUND = bytes(960)


@pytest.mark.parametrize(
    ("part", "kept"),
    [
        (Text("Grüße"), Text("Grüße")),
        (Audio(bytearray(SOUND), PCM), Audio(SOUND, PCM, [])),  # type: ignore[arg-type]  # from authors without types
        (Audio(memoryview(SOUND), PCM), Audio(SOUND, PCM, [])),  # type: ignore[arg-type]
        (Audio(b"", PCM), Audio(b"", PCM, [])),
        (Audio(b"abc", FORMATS["audio/pcmu"]), Audio(b"abc", FORMATS["audio/pcmu"], [])),
        (Plan({"at": (1, 2)}, {}), Plan({"at": [1, 2]}, {})),
        (FunctionCall("book", "{}"), FunctionCall("book", "{}")),
        (HangUp(), HangUp()),
    ],
)
def test_a_part_is_kept_as_another_pod_will_find_it(part: Any, kept: Any) -> None:
    """Bytes that nobody changes any more, and what JSON makes of a plan."""
    assert checked(part) == kept
    assert type(checked(part)) is type(kept)


@pytest.mark.parametrize(
    "words",
    [[], [[0, 0]], [[0, 5]], [[5, 0]], [[100, 5], [100, 5], [100, 7], [120, 7]], [(1.9, 2)]],
)
def test_words_may_begin_together(words: Any) -> None:
    """Neither their milliseconds nor their characters need grow, and they may begin at once."""
    part = checked(Audio(SOUND, PCM, words))
    assert isinstance(part, Audio)
    assert part.words == [[int(ms), int(chars)] for ms, chars in words]


@pytest.mark.parametrize(
    "words",
    [
        [[-1, 0]],
        [[0, -1]],
        [[100, 5], [50, 7]],
        [[50, 7], [100, 5]],
        [[0, 1], [50, 7], [49, 8], [60, 9]],
        [[1]],
        [["soon", 1]],
        [1],
        None,
    ],
)
def test_words_that_do_not_ascend_are_none(words: Any) -> None:
    """Neither in time nor in the text may one begin before the one in front of it, or before the audio does."""
    with pytest.raises(NoResponsePart):
        checked(Audio(SOUND, PCM, words))


@pytest.mark.parametrize(
    "part",
    [
        None,
        "text",
        Text("half of a pair: \ud83d"),
        Text(b"bytes"),  # type: ignore[arg-type]
        Audio(b"odd", PCM),
        Audio("text", PCM),  # type: ignore[arg-type]
        Audio(SOUND, "audio/pcm"),  # type: ignore[arg-type]
        Plan({"at": object()}, {}),
        Plan({}, {"at": object()}),
        Plan([], {}),  # type: ignore[arg-type]
        Plan({}, None),  # type: ignore[arg-type]
        FunctionCall("\ud83d", "{}"),
        FunctionCall("book", "\ud83d"),
        FunctionCall("book", {}),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_kept_is_no_part(part: Any) -> None:
    """It is found before anything of it is durable."""
    with pytest.raises(NoResponsePart):
        checked(part)


def test_a_result_is_what_the_record_gives_back() -> None:
    """What does not survive JSON is named."""
    assert json_of({"seats": (1, 2)}, "result") == {"seats": [1, 2]}
    with pytest.raises(NoResponsePart, match="a result that does not survive JSON"):
        json_of({"seats": {1, 2}}, "result")
