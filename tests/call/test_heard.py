"""What is kept of a reply that was cut short is what the caller heard of it, to a word, by the voice's own account."""

from __future__ import annotations

from bisect import bisect_right
from functools import cache

import pytest

from tests.call.calls import emitted, feed, moved, new_call, response_id, spoken_turn
from tests.call.engine import finish
from voice_agent.call import inputs
from voice_agent.call.audio import PCM, PCMU, AudioFormat, Converter
from voice_agent.call.record import CallRecord
from voice_agent.speech import synthesis

SENTENCES = (
    "We are open from Monday to Friday, from nine in the morning to five in the afternoon. ",
    "Sentence 3: you said I'd like to book an appointment next Tuesday at three. ",
    "Is there anything else?",
)
TEXT = "".join(SENTENCES)
WORDS = TEXT.split()
speak = cache(synthesis.speak)
CHUNK_MS, LEAD_MS = 100, 400
MOMENTS = 20


@cache
def said_after_ms() -> list[int]:
    """When each word has been said: when only so much is left as it takes to say the rest of its sentence alone.

    A beginning said alone would not do: a voice draws out the last word before a pause.
    """
    ends, at_ms = [], 0
    for sentence in SENTENCES:
        words = sentence.split()
        at_ms += PCM.ms(len(speak(sentence).audio))
        rests = [" ".join(words[count:]) + " " for count in range(1, len(words))]
        ends += [at_ms - PCM.ms(len(speak(rest).audio)) for rest in rests] + [at_ms]
    return ends


@cache
def total_ms() -> int:
    return sum(PCM.ms(len(speak(sentence).audio)) for sentence in SENTENCES)


def moments() -> list[int]:
    return [total_ms() * number // (MOMENTS + 1) for number in range(1, MOMENTS + 1)]


def say_until(call: CallRecord, moment_ms: int, *, audio_format: AudioFormat = PCM) -> None:
    """Let the reply go on, 400 ms ahead of what is heard; its first sample was heard at 0."""
    sent_ms = 0
    for sentence in SENTENCES:
        spoken = speak(sentence)
        if sent_ms - LEAD_MS > moment_ms:
            return
        feed(call, inputs.ResponseText(response_id(1), sentence), now_ms=max(0, sent_ms - LEAD_MS))
        audio = Converter(PCM, audio_format).convert(spoken.audio)
        made: tuple[int, list[list[int]]] = (len(audio), spoken.words)
        for at in range(0, len(audio), audio_format.size(CHUNK_MS)):
            if sent_ms - LEAD_MS > moment_ms:
                return
            chunk = audio[at : at + audio_format.size(CHUNK_MS)]
            feed(call, inputs.ResponseAudio(response_id(1), chunk, *made), now_ms=max(0, sent_ms - LEAD_MS))
            sent_ms += audio_format.ms(len(chunk))
            made = (0, [])
    feed(call, finish, now_ms=max(0, sent_ms - LEAD_MS))


def kept_of(call: CallRecord) -> str:
    item = next(item for item in call.conversation.items() if item.get("role") == "assistant")
    return str(item["content"][0]["transcript"])


def cut(call: CallRecord, how: str, moment_ms: int) -> None:
    """The caller speaks, or the client says how much it has played."""
    item_id = next(item["id"] for item in call.conversation.items() if item.get("role") == "assistant")
    truncation = inputs.TruncateItem(item_id, 0, moment_ms)
    if how == "barge-in":
        spoken_turn(call, now_ms=moment_ms)
    elif how == "cancel and truncate" and call.response is not None:
        feed(call, inputs.CancelResponse(), truncation, truncation, now_ms=moment_ms)
    elif how == "truncate and cancel" and call.response is not None:
        feed(call, truncation, inputs.CancelResponse(), now_ms=moment_ms)
    else:
        feed(call, truncation, now_ms=moment_ms)
    assert not [event for event in emitted(call) if event["type"] == "error"]


@pytest.mark.parametrize("how", ["barge-in", "cancel and truncate", "truncate and cancel"])
@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize("audio_format", [PCM, PCMU])
def test_what_is_kept_ends_within_a_word_of_what_was_heard(how: str, moves: bool, audio_format: AudioFormat) -> None:
    """At twenty moments of a reply by the real voice, on its own pod or after it moved; cut once or twice."""
    off = []
    for moment_ms in moments():
        call = new_call(audio={"output": {"format": audio_format.as_json()}})
        spoken_turn(call)
        say_until(call, moment_ms, audio_format=audio_format)
        if moves:
            call = moved(call)
        cut(call, how, moment_ms)
        kept = kept_of(call)
        assert TEXT.startswith(kept)
        heard = bisect_right(said_after_ms(), moment_ms)
        off.append(len(kept.split()) - heard)
    assert all(abs(words) <= 1 for words in off), off
