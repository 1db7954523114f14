"""What upstreams say, in pieces: nothing of it twice, nothing lost. Tests of `pieces`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from voice_agent.agents.relay.pieces import SLICE_MS, PieceQueue
from voice_agent.call.audio import PCM

WORD_MS = 120
WORDS = [f"alpha{n} " for n in range(12)]


def sound(word: str) -> bytes:
    """Of a word: its number, in each sample."""
    return (WORDS.index(word) + 1).to_bytes(2, "little") * (PCM.size(WORD_MS) // 2)


def take_all(queue: PieceQueue) -> tuple[str, bytes]:
    """What is to be said."""
    text, audio = "", b""
    while (given := queue.take()) is not None:
        assert len(given.audio) <= PCM.size(SLICE_MS)
        text, audio = text + given.text, audio + given.audio
    return text, audio


@given(st.lists(st.integers(1, 5_000), max_size=20), st.booleans())
def test_all_that_comes_is_given_in_order_however_it_is_cut(cuts: list[int], is_exact: bool) -> None:
    """Text as text, audio as audio."""
    queue = PieceQueue(PCM)
    queue.begin("", is_exact=is_exact)
    text, audio, left = "", b"", iter(cuts)
    for word in WORDS:
        queue.add_text(word)
        rest = sound(word)
        while rest:
            size = next(left, len(rest))
            queue.add_audio(rest[:size])
            rest = rest[size:]
            given = take_all(queue)
            text, audio = text + given[0], audio + given[1]
    queue.end()
    given = take_all(queue)
    assert text + given[0] == "".join(WORDS)
    assert audio + given[1] == b"".join(map(sound, WORDS))
    assert queue.given_text == "".join(WORDS)
    assert queue.waiting_bytes == 0
    assert queue.is_empty


@given(st.integers(0, 11), st.integers(0, 11), st.integers(0, 40), st.sampled_from([0, 3, 100]))
def test_an_upstream_that_goes_on_may_repeat_what_was_said(
    lost_at: int, repeats: int, takes: int, at_once: int
) -> None:
    """Lost after any word, with any part of it given; the next one says some of it again: every word comes once."""
    queue = PieceQueue(PCM)
    queue.begin("", is_exact=True)
    text, audio = "", b""

    def take() -> None:
        nonlocal text, audio
        if (given := queue.take()) is not None:
            text, audio = text + given.text, audio + given.audio

    for word in WORDS[: lost_at + 1]:
        queue.add_text(word)
        queue.add_audio(sound(word)[: PCM.size(WORD_MS // 2)])
        if word != WORDS[lost_at]:
            queue.add_audio(sound(word)[PCM.size(WORD_MS // 2) :])
    for _ in range(takes):
        take()
    is_begun = queue.lose()
    said = WORDS[:lost_at]
    if is_begun:  # What is not said of the word is forgotten.
        text = text.removesuffix(WORDS[lost_at])
        audio = audio[: len(audio) - PCM.size(WORD_MS // 2)]
    else:
        assert queue.given_text == "".join(said)
    # A repetition of one or two numbered words could be meant.
    again = said[len(said) - repeats :] if 3 <= repeats <= len(said) else []
    queue.begin("".join(said), is_exact=True)
    for word in [*again, *WORDS[lost_at:]]:
        queue.add_text(word)
        queue.add_audio(sound(word))
        for _ in range(at_once):
            take()
    queue.end()
    while (given := queue.take()) is not None:
        text, audio = text + given.text, audio + given.audio
    assert text.split() == [word.strip() for word in WORDS]
    assert audio == b"".join(map(sound, WORDS))
    assert queue.waiting_bytes == 0


def test_text_that_runs_ahead_of_its_audio_begins_no_piece_before_it_can_have_been_said() -> None:
    """Of an upstream that is not exact: a hundred letters are not said in a tenth of a second."""
    queue = PieceQueue(PCM)
    queue.begin("", is_exact=False)
    first, second = "a" * 90 + " ", "b" * 10
    queue.add_text(first)
    queue.add_audio(bytes(PCM.size(100)))
    queue.add_text(second)
    queue.add_audio(bytes(PCM.size(100)))
    queue.add_audio(bytes(PCM.size(3_000)))
    assert take_all(queue)[0] == first
    queue.add_audio(bytes(PCM.size(100)))
    assert take_all(queue)[0] == second


def test_written_text_is_given_as_it_comes() -> None:
    """Each delta is a piece, and audio is none of it."""
    queue = PieceQueue(PCM, is_written=True)
    queue.begin("", is_exact=False)
    queue.add_text("We are ")
    queue.add_audio(b"1234")
    given = queue.take()
    assert given is not None
    assert (given.text, given.audio, given.is_partial) == ("We are ", b"", False)
    assert queue.take() is None


def test_a_repetition_that_ends_in_the_middle_of_a_piece_is_cut_out_of_its_audio() -> None:
    """By the even pace of letters."""
    queue = PieceQueue(PCM)
    queue.begin("alpha beta gamma ", is_exact=True)
    queue.add_text("alpha beta gamma delta ")
    queue.add_audio(b"\1\0" * 1_700 + b"\2\0" * 600)
    queue.end()
    given = queue.take()
    assert given is not None
    assert given.text == "delta "
    assert given.audio.count(b"\2") == 600
    assert len(given.audio) == 1_200
