"""Where speech starts and stops; tests of `voice_activity` and `narrowing`, too."""

from __future__ import annotations

import random
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice_agent.call.audio import FORMATS, PCM, PCMU, AudioFormat, Converter, from_linear
from voice_agent.call.inputs import VoiceBoundary
from voice_agent.speech.endpointing import MAX_SPEECH_MS, Endpointer
from voice_agent.speech.narrowing import MOST_QUIET, narrow, narrow_quiet
from voice_agent.speech.synthesis import synthesize
from voice_agent.speech.voice_activity import WINDOW_MS

LEAD_MS = 1000
TRAIL_MS = 1500


def endpointer(audio_format: AudioFormat = PCM, **changes: object) -> Endpointer:
    settings = {"threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500, **changes}
    return Endpointer(audio_format, **settings)  # type: ignore[arg-type]


@cache
def sentence() -> bytes:
    """One sentence, PCM at 24 kHz, with silence around it."""
    spoken = synthesize("I would like to book an appointment.", "echo")
    return bytes(PCM.size(LEAD_MS)) + spoken + bytes(PCM.size(TRAIL_MS))


def samples_of(values: np.ndarray, level: float) -> bytes:
    return (values * level).clip(-32768, 32767).astype("<i2").tobytes()


def seconds(count: float) -> np.ndarray:
    return np.arange(int(PCM.rate_hz * count)) / PCM.rate_hz


@pytest.mark.parametrize("audio_format", FORMATS.values(), ids=lambda it: it.name)
def test_a_sentence_has_one_start_and_one_end(audio_format: AudioFormat) -> None:
    """A sentence amid silence starts where its sound starts and ends after the silence asked for."""
    audio = Converter(PCM, audio_format).convert(sentence())
    started, ended = endpointer(audio_format).feed(audio)
    assert started.started and not ended.started
    spoken_until_ms = PCM.ms(len(sentence())) - TRAIL_MS
    assert abs(audio_format.ms(started.at_bytes) - LEAD_MS) <= 120
    assert spoken_until_ms + 300 <= audio_format.ms(ended.at_bytes) <= spoken_until_ms + 600


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.sampled_from([1, 37, 960, 4000, 40_000]))
def test_the_cut_of_the_stream_does_not_matter(seed: int, longest_samples: int) -> None:
    """The same bytes give the same boundaries, whatever the pieces they come in."""
    rng = random.Random(seed)
    audio, at = sentence(), 0
    heard: list[VoiceBoundary] = []
    pieces = endpointer()
    while at < len(audio):
        size = 2 * rng.randint(1, max(longest_samples, len(audio) // 4000))
        heard += pieces.feed(audio[at : at + size])
        at += size
    assert tuple(heard) == endpointer().feed(audio)


def test_two_sentences_are_two_utterances_only_if_the_pause_is_long_enough() -> None:
    """The pause between two sentences ends the first one exactly when it lasts `silence_duration_ms`."""
    audio = sentence() + sentence()
    assert [it.started for it in endpointer(silence_duration_ms=500).feed(audio)] == [True, False, True, False]
    assert [it.started for it in endpointer(silence_duration_ms=4000).feed(audio)] == [True]


def test_positions_count_from_where_the_endpointer_starts() -> None:
    """An endpointer that starts in the middle of a call reports positions of the call."""
    at = PCM.size(7_000)
    moved = [VoiceBoundary(it.started, it.at_bytes + at) for it in endpointer().feed(sentence())]
    assert list(endpointer(at_bytes=at).feed(sentence())) == moved


def test_an_utterance_goes_on_after_a_take_over() -> None:
    """A pod that takes over in mid-sentence hears its end, and no second start."""
    middle = len(sentence()) // 2 // 960 * 960
    whole = endpointer().feed(sentence())
    rest = endpointer(speaking=True, at_bytes=middle).feed(sentence()[middle:])
    assert [it.started for it in rest] == [False]
    assert abs(rest[0].at_bytes - whole[1].at_bytes) <= PCM.size(100)


def test_silence_after_a_take_over_ends_the_utterance() -> None:
    """When the caller fell silent during the take-over, silence alone ends the utterance."""
    (ended,) = endpointer(speaking=True).feed(bytes(PCM.size(1000)))
    assert ended == VoiceBoundary(False, PCM.size(500))


@pytest.mark.parametrize("level", [300, 1000, 5000])
@pytest.mark.parametrize("noise", ["hiss", "hum", "whistle"])
def test_steady_noise_is_silence(noise: str, level: int) -> None:
    """Hiss, mains hum and a whistle that are there from the start trigger nothing, however loud."""
    time_s = seconds(5)
    values = {
        "hiss": np.random.default_rng(1).normal(0, 1, len(time_s)),
        "hum": np.sin(2 * np.pi * 50 * time_s) + 0.3 * np.sin(2 * np.pi * 150 * time_s),
        "whistle": np.sin(2 * np.pi * 1000 * time_s),
    }[noise]
    assert endpointer().feed(samples_of(values, level)) == ()


@pytest.mark.parametrize("lost_at", [None, 0, 1])
@pytest.mark.parametrize("audio_format", [PCM, PCMU], ids=lambda it: it.name)
def test_lost_packets_are_no_speech(audio_format: AudioFormat, lost_at: int | None) -> None:
    """Steady noise of which packets are lost and filled with zeros starts nothing: each start would interrupt a reply.

    Also where the first packet is one of them, and where packets are cut elsewhere than windows.
    """
    rng = np.random.default_rng(5)
    packet = audio_format.rate_hz // 50
    noise = rng.normal(0, 180, packet * 600)
    for at in range(600):
        if rng.random() < 0.05 or at == lost_at:
            noise[at * packet : (at + 1) * packet] = 0
    shifted = noise if lost_at is not None else np.roll(noise, packet // 3)
    assert endpointer(audio_format).feed(from_linear(samples_of(shifted, 1), audio_format)) == ()


def test_speech_is_heard_though_packets_are_lost() -> None:
    """In it and before it, and also after more silence than a network loses."""
    rng = np.random.default_rng(6)
    spoken = np.frombuffer(sentence(), "<i2").astype(float) + rng.normal(0, 60, len(sentence()) // 2)
    for at in range(0, len(spoken) - 480, 480):
        if rng.random() < 0.03:
            spoken[at : at + 480] = 0
    muted = np.zeros(PCM.rate_hz)
    heard = endpointer().feed(samples_of(np.concatenate([spoken, muted, spoken]), 1))
    assert [it.started for it in heard] == [True, False, True, False]


def test_noise_that_sets_in_does_not_go_on_as_speech() -> None:
    """A fan switched on may be taken for speech, for three seconds at most."""
    hiss = np.random.default_rng(2).normal(0, 1, len(seconds(10)))
    heard = endpointer().feed(bytes(PCM.size(1000)) + samples_of(hiss, 3000))
    assert len(heard) in (0, 2)
    assert all(PCM.ms(it.at_bytes) < 4000 for it in heard)


@pytest.mark.parametrize("every_ms", [200, 500])
def test_clicks_are_no_speech(every_ms: int) -> None:
    """Clicks of 5 ms, loud and again and again, start nothing."""
    values = np.zeros(len(seconds(5)))
    for start in range(0, len(values), PCM.rate_hz * every_ms // 1000):
        values[start : start + 120] = np.random.default_rng(start).normal(0, 1, 120)
    assert endpointer().feed(samples_of(values, 12_000)) == ()


def test_speech_is_heard_in_noise() -> None:
    """A sentence over a steady hiss 20 dB weaker has one start and one end."""
    spoken = np.frombuffer(sentence(), "<i2").astype(float)
    level = np.sqrt(np.mean(spoken[spoken != 0] ** 2)) / 10
    noisy = spoken + np.random.default_rng(3).normal(0, level, len(spoken))
    assert [it.started for it in endpointer().feed(samples_of(noisy, 1))] == [True, False]


def test_a_higher_threshold_hears_less() -> None:
    """A whispered level of −50 dBFS is heard at threshold 0 and not at 1."""
    spoken = np.frombuffer(sentence(), "<i2").astype(float)
    faint = samples_of(spoken * 104 / np.sqrt(np.mean(spoken[spoken != 0] ** 2)), 1)
    assert endpointer(threshold=0.0).feed(faint)
    assert not endpointer(threshold=1.0).feed(faint)


@settings(max_examples=60)
@given(st.binary(max_size=20_000), st.sampled_from([PCM, PCMU]), st.floats(0, 1), st.integers(0, 3000), st.booleans())
def test_any_bytes_give_alternating_boundaries_in_order(
    audio: bytes, audio_format: AudioFormat, threshold: float, silence_ms: int, speaking: bool
) -> None:
    """Whatever comes in, starts and ends alternate, and positions are whole windows that never go back."""
    audio = audio[: len(audio) // 2 * 2] * 3
    changes = {"threshold": threshold, "silence_duration_ms": silence_ms, "speaking": speaking}
    heard = endpointer(audio_format, **changes).feed(audio)
    assert [it.started for it in heard] == [(index % 2 == 0) != speaking for index in range(len(heard))]
    places = [it.at_bytes for it in heard]
    assert all(place % audio_format.size(WINDOW_MS) == 0 and 0 <= place <= len(audio) for place in places)
    ends = [it.at_bytes for it in heard if not it.started]
    assert ends == sorted(ends)


SAMPLE = st.one_of(st.integers(-32768, 32767), st.integers(-4, 4), st.sampled_from([-32768, 32767]))


@given(st.lists(st.tuples(SAMPLE, SAMPLE, SAMPLE), min_size=1, max_size=160))
def test_narrow_samples_are_about_the_means_of_three(threes: list[tuple[int, int, int]]) -> None:
    """Each third is rounded by itself: at most three of 65,536 steps too low, never too high."""
    heard = np.frombuffer(narrow(np.array(threes, "<i2").tobytes()), "<i2")
    for sample, three in zip(heard, threes, strict=True):
        assert sum(three) / 3 - 3 <= sample <= sum(three) / 3


@given(st.lists(st.integers(-MOST_QUIET - 2, MOST_QUIET + 2), min_size=1, max_size=400).map(lambda some: some * 3))
def test_quiet_samples_are_narrowed_as_others_are(samples: list[int]) -> None:
    """To the byte, up to the loudest that counts as quiet and beyond it."""
    window = np.array(samples, "<i2").tobytes()
    assert narrow_quiet(window) == narrow(window)


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(0, 15), st.sampled_from([0, 1, 8, 20, 60, 2000]), st.booleans()), max_size=12),
    st.sampled_from([0, 0.5, 1]),
    st.sampled_from(list(FORMATS.values())),
    st.integers(0, 2**32),
)
def test_quiet_windows_are_heard_as_others_are(
    parts: list[tuple[int, int, bool]], threshold: float, audio_format: AudioFormat, seed: int
) -> None:
    """What is known to be silence without asking WebRTC's detector changes no boundary, then or later."""
    rng = np.random.default_rng(seed)
    spoken = np.frombuffer(sentence(), "<i2")
    pieces = [np.zeros(0)]
    for tenths, level, speaks in parts:
        noise = rng.normal(0, level, PCM.rate_hz // 10 * tenths)
        pieces.append(noise + np.resize(spoken, len(noise)) * 0.25 if speaks else noise)
    audio = Converter(PCM, audio_format).convert(samples_of(np.concatenate(pieces), 1) + sentence())
    quick, plain = (endpointer(audio_format, threshold=threshold) for _ in range(2))
    plain._activity._quiet_rms = -1
    assert quick.feed(audio) == plain.feed(audio)


def music(audio_format: AudioFormat, length_s: int) -> bytes:
    """Notes of a quarter of a second with overtones, one after the other, as on hold."""
    rng = random.Random(2)
    at = np.arange(audio_format.rate_hz // 4) / audio_format.rate_hz
    fade = np.sin(np.pi * np.arange(len(at)) / len(at))
    notes = [
        samples_of(fade * sum(np.sin(2 * np.pi * k * hz * at) for k in (1, 2, 3)), 2300)
        for hz in (220, 262, 294, 330, 392, 440)
    ]
    return b"".join(from_linear(rng.choice(notes), audio_format) for _ in range(4 * length_s))


@pytest.mark.parametrize("audio_format", [PCM, PCMU], ids=lambda it: it.name)
def test_music_on_hold_is_no_endless_turn(audio_format: AudioFormat) -> None:
    """An utterance ends after a minute; what follows without a pause is told to go on, and nothing of it is lost."""
    boundaries = endpointer(audio_format).feed(music(audio_format, 190))
    lengths = [end.at_bytes - start.at_bytes for start, end in pairwise(boundaries) if start.started]
    assert max(map(audio_format.ms, lengths)) <= MAX_SPEECH_MS + 100
    cuts = [(stop, start) for stop, start in pairwise(boundaries) if stop.goes_on and not stop.started]
    assert len(cuts) >= 2
    for stop, start in cuts:
        assert start.goes_on
        assert start.at_bytes - stop.at_bytes <= audio_format.size(100)


def test_what_is_said_after_a_pause_does_not_go_on() -> None:
    """A turn that was cut is over once the caller paused."""
    hears = endpointer()
    hears.feed(music(PCM, 62))
    hears.feed(bytes(PCM.size(2000)))
    assert [it.goes_on for it in hears.feed(sentence()) if it.started] == [False]


def test_a_turn_that_moved_to_another_pod_ends_no_later() -> None:
    """What was heard before counts."""
    hears = endpointer(speaking=True, spoken_bytes=PCM.size(MAX_SPEECH_MS - 1000))
    (stop,) = hears.feed(music(PCM, 2))[:1]
    assert (stop.goes_on, PCM.ms(stop.at_bytes)) == (True, 1000)
