"""What is said in tones is read from the sound, whatever a telephone makes of it."""

from __future__ import annotations

import audioop

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.doubles.tones import CHAR_SAMPLES, CUT, LETTER_MS, LETTERS, RATE_HZ, sound_of, words_in, words_of
from voice_agent.call.alignment import USUAL_CHARS_PER_S
from voice_agent.call.audio import PCM, PCMA, PCMU, AudioFormat, Converter, to_linear
from voice_agent.speech.endpointing import Endpointer

WORD = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=8)
TEXT = "It's twenty-one past nine. Really? Aaah, balloon 7:30!"
LETTER_BYTES = RATE_HZ * LETTER_MS // 1000 * 2
PAUSE_BYTES = 5 * CHAR_SAMPLES * 2 - 6 * LETTER_BYTES
"""In front of a word of four letters."""


def test_a_text_is_read_as_its_words() -> None:
    """In lower case, without what is not said."""
    assert words_in(sound_of(TEXT)) == words_of(TEXT)
    assert words_of(TEXT) == ["it's", "twenty-one", "past", "nine", "really", "aaah", "balloon", "7:30"]
    assert words_of("Él – “said” (3.5)…") == ["el", "said", "3.5"]
    assert words_in(sound_of(LETTERS)) == [LETTERS.rstrip("'-.:")]
    assert words_in(b"") == words_in(bytes(48_000)) == words_in(sound_of("– …")) == []


@given(st.lists(WORD, max_size=4), st.integers(0, 2000))
@settings(max_examples=50)
def test_words_are_read_however_they_are_joined(words: list[str], silence: int) -> None:
    """With any number of samples of silence between them, on either side and between the sounds of each."""
    pause = bytes(2 * silence)
    assert words_in(pause + pause.join(map(sound_of, words)) + pause) == words
    assert sound_of(" ".join(words)) == b"".join(map(sound_of, words))


@pytest.mark.parametrize("audio_format", [PCMU, PCMA])
def test_words_are_read_on_a_telephone(audio_format: object) -> None:
    """G.711 at 8 kHz, as the server itself converts it; and by a better resampler."""
    assert audio_format in {PCMU, PCMA}
    target = PCMU if audio_format is PCMU else PCMA
    sent = Converter(PCM, target).convert(sound_of(TEXT))
    assert words_in(to_linear(sent, target), 8_000) == words_of(TEXT)
    samples = np.frombuffer(sound_of(TEXT), "<i2")
    narrow = soxr.resample(samples, RATE_HZ, 8_000)
    assert words_in(narrow.tobytes(), 8_000) == words_of(TEXT)
    back = soxr.resample(narrow, 8_000, RATE_HZ)
    assert words_in(back.tobytes()) == words_of(TEXT)


@pytest.mark.parametrize("loudness", [0.3, 1.6])
def test_words_are_read_at_any_loudness_and_in_noise(loudness: float) -> None:
    """A third and one and a half as loud; noise 20 dB below."""
    noise = np.random.default_rng(7).normal(0, 400, len(sound_of(TEXT)) // 2).astype("<i2").tobytes()
    assert words_in(audioop.mul(sound_of(TEXT), 2, loudness)) == words_of(TEXT)
    assert words_in(audioop.add(sound_of(TEXT), noise, 2)) == words_of(TEXT)


@pytest.mark.parametrize("audio_format", [PCM, PCMU], ids=lambda it: it.name)
@pytest.mark.parametrize("lead_ms", [0, 40, 1000])
@pytest.mark.parametrize("text", [TEXT, "what is there to be seen", "one two", "abc", "zzzz zzzz"])
def test_who_listens_for_a_voice_hears_it(audio_format: AudioFormat, lead_ms: int, text: str) -> None:
    """From the first sample on, and one utterance a text; silence before it makes no difference."""
    said = bytes(PCM.size(lead_ms)) + sound_of(text)
    heard = Endpointer(audio_format, threshold=0.5, prefix_padding_ms=300, silence_duration_ms=500)
    boundaries = heard.feed(Converter(PCM, audio_format).convert(said + bytes(PCM.size(2000))))
    assert [it.started for it in boundaries] == [True, False]
    assert audio_format.ms(boundaries[0].at_bytes) <= lead_ms + 200


@given(st.integers(0, 5 * CHAR_SAMPLES))
@settings(max_examples=100)
def test_a_word_that_is_cut_is_told_from_a_whole_one(samples: int) -> None:
    """At any sample: its two parts are the beginning and the end of it, or no word at all; joined again it is whole."""
    sound = sound_of("bako")
    begun, rest = sound[: 2 * samples], sound[2 * samples :]
    for part in (begun, rest):
        read = words_in(part)
        assert len(read) <= 1
        assert all(each.strip(CUT) in "bako" for each in read)
    assert words_in(begun + rest) == ["bako"]
    # A twelfth of a letter makes no difference.
    assert [CUT in each for each in words_in(begun)] in ([], [True]) or len(rest) < LETTER_BYTES // 4
    assert [CUT in each for each in words_in(rest)] in ([], [True]) or samples * 2 < PAUSE_BYTES + LETTER_BYTES
    assert words_in(begun + sound)[-1:] == words_in(sound + rest)[:1] == ["bako"]


def test_a_text_passes_at_an_even_pace() -> None:
    """Fifteen characters a second, blanks and full stops included: as a server takes it that knows no better."""
    text = "Bafa bafe, bafilu bafo. Bagaba? "
    assert len(sound_of(text)) == len(text) * CHAR_SAMPLES * 2
    assert RATE_HZ == USUAL_CHARS_PER_S * CHAR_SAMPLES


def test_what_a_cut_word_reads_as() -> None:
    """The letters that are left of it, and a mark at the place of the cut."""
    sound = sound_of("hello")
    sound = sound[len(sound) - 7 * LETTER_BYTES :]
    assert words_in(sound[: 4 * LETTER_BYTES]) == [f"hel{CUT}"]
    assert words_in(sound[5 * LETTER_BYTES :]) == [f"{CUT}o"]
    assert words_in(sound[2 * LETTER_BYTES : 5 * LETTER_BYTES]) == [f"{CUT}ell{CUT}"]
    assert words_in(sound[: 3 * LETTER_BYTES] + sound) == [f"he{CUT}", "hello"]
    assert words_in(sound[: 6 * LETTER_BYTES + LETTER_BYTES // 2]) == [f"hello{CUT}"]
    assert words_in(sound[:LETTER_BYTES]) == words_in(sound[6 * LETTER_BYTES :]) == []
