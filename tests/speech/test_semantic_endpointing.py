"""Speech that a model confirms; tests of `silero`, too."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from tests.speech.test_endpointing import LEAD_MS, TRAIL_MS, samples_of, seconds, sentence
from tests.speech.test_endpointing import endpointer as levels_alone
from tests.waiting import until
from voice_agent.call.audio import FORMATS, PCM, AudioFormat, Converter
from voice_agent.call.inputs import VoiceBoundary
from voice_agent.speech import silero
from voice_agent.speech.semantic_endpointing import AGAIN_WINDOWS, SemanticEndpointer
from voice_agent.speech.silero import RATE_HZ, SileroModel, SileroStream, ready_model, silero_model
from voice_agent.speech.voice_activity import WINDOW_MS

pytestmark = pytest.mark.skipif(not silero.is_installed(), reason="needs the extra natural")


def endpointer(audio_format: AudioFormat = PCM, **more: object) -> SemanticEndpointer:
    given = {"threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500, **more}
    return SemanticEndpointer(audio_format, silero_model(), **given)


@cache
def cough() -> bytes:
    """Two bursts of coloured noise that fade, loud, in a quiet room."""
    rng = np.random.default_rng(1)
    values = rng.normal(0, 30, PCM.rate_hz * 3)
    for start_s in (1.0, 1.6):
        burst = np.convolve(rng.normal(0, 1, PCM.rate_hz // 3), np.ones(9) / 3, "same")
        burst *= np.exp(-np.arange(len(burst)) / (PCM.rate_hz * 0.08)) * 6000
        values[int(start_s * PCM.rate_hz) :][: len(burst)] += burst
    return samples_of(values, 1)


def fan() -> bytes:
    """Hiss that sets in."""
    hiss = np.random.default_rng(2).normal(0, 3000, len(seconds(6)))
    hiss[: PCM.rate_hz] *= 0.01
    return samples_of(hiss, 1)


@pytest.mark.parametrize("audio_format", FORMATS.values(), ids=lambda it: it.name)
@pytest.mark.parametrize("noise", [cough, fan])
def test_noise_that_is_no_speech_starts_nothing(noise: Callable[[], bytes], audio_format: AudioFormat) -> None:
    """The levels alone take it for speech, and it would interrupt a reply."""
    audio = Converter(PCM, audio_format).convert(noise())
    assert levels_alone(audio_format).feed(audio)
    assert endpointer(audio_format).feed(audio) == ()


@pytest.mark.parametrize("audio_format", FORMATS.values(), ids=lambda it: it.name)
def test_a_sentence_starts_and_ends_where_the_levels_say(audio_format: AudioFormat) -> None:
    """The model is asked with what came before, so it knows within 200 ms: as soon as a reply has to stop."""
    audio = Converter(PCM, audio_format).convert(sentence())
    hears = endpointer(audio_format)
    size = audio_format.size(20)
    known: list[tuple[VoiceBoundary, int]] = []
    for at in range(0, len(audio), size):
        known += [(boundary, at + size) for boundary in hears.feed(audio[at : at + size])]
    (started, started_at), (stopped, _) = known
    assert started.started and not stopped.started
    assert audio_format.ms(started_at) <= LEAD_MS + 200
    spoken_until_ms = PCM.ms(len(sentence())) - TRAIL_MS
    assert spoken_until_ms + 300 <= audio_format.ms(stopped.at_bytes) <= spoken_until_ms + 700


def test_words_in_loud_noise_are_one_turn() -> None:
    """Hiss 10 dB below a voice hides its weak words from the levels: they take them for pauses."""
    spoken = np.frombuffer(sentence() + sentence()[PCM.size(LEAD_MS + 600) :], "<i2").astype(float)
    level = np.sqrt(np.mean(spoken[spoken != 0] ** 2)) / 10**0.5
    noisy = samples_of(spoken + np.random.default_rng(3).normal(0, level, len(spoken)), 1)
    first = endpointer(silence_duration_ms=800).feed(noisy[: len(sentence())])
    assert [it.started for it in first] == [True, False]


def test_a_weak_voice_in_loud_noise_is_heard() -> None:
    """The model knows it for a voice where it stands out too little for the levels alone."""
    spoken = np.frombuffer(sentence(), "<i2").astype(float)
    level = np.sqrt(np.mean(spoken[np.abs(spoken) > 600] ** 2))
    noise = np.random.default_rng(3).normal(0, level, len(spoken) + 3 * PCM.rate_hz)
    noise[3 * PCM.rate_hz :] += spoken
    assert [it.started for it in endpointer().feed(samples_of(noise, 1))][:1] == [True]


def test_silence_and_steady_noise_do_not_ask_the_model() -> None:
    """They cost what they cost without it; and what has been said long ago is not kept."""

    class CountingModel(SileroModel):
        asked = 0

        def run(self, samples: object, state: object) -> tuple[float, object]:
            self.asked += 1
            return super().run(samples, state)  # type: ignore[arg-type]

    model = CountingModel(silero.model_path())
    hears = SemanticEndpointer(PCM, model, threshold=0.5, prefix_padding_ms=300, silence_duration_ms=500)
    hears.feed(bytes(PCM.size(2000)))
    assert model.asked == 0
    hears.feed(samples_of(np.random.default_rng(4).normal(0, 1, len(seconds(10))), 1000))
    assert model.asked <= 0.05 * 10_000 / 32
    hears.feed(bytes(PCM.size(3000)))
    model.asked = 0
    assert sum(map(len, hears._before)) <= AGAIN_WINDOWS * PCM.size(WINDOW_MS)
    hears.feed(sentence())
    spoken_ms = PCM.ms(len(sentence())) - LEAD_MS - TRAIL_MS
    assert spoken_ms / 32 <= model.asked <= (spoken_ms + 1200) / 32


def in_noise(kind: str) -> bytes:
    """A sentence, and noise that sets in just before it: hiss, or other people's voices."""
    spoken = np.frombuffer(sentence(), "<i2").astype(float)
    rng = np.random.default_rng(7)
    if kind == "hiss":
        noise = rng.normal(0, np.sqrt(np.mean(spoken[spoken != 0] ** 2)) / 10**0.5, len(spoken))
    else:
        noise = sum((np.roll(spoken[::-1], rng.integers(len(spoken))) for _ in range(6)), np.zeros(len(spoken))) * 0.15
    noise[: len(noise) // 8] = 0
    return bytes(PCM.size(2410)) + samples_of(spoken + noise, 1)


@pytest.mark.parametrize("audio_format", [PCM, FORMATS["audio/pcmu"]], ids=lambda it: it.name)
@pytest.mark.parametrize("padding_ms", [300, 310, 1000])
@pytest.mark.parametrize("with_model", [True, False])
@pytest.mark.parametrize("kind", ["hiss", "voices"])
def test_who_goes_on_from_an_onset_hears_what_is_left_as_who_heard_all(
    audio_format: AudioFormat, padding_ms: int, kind: str, *, with_model: bool
) -> None:
    """Wherever in the utterance that is: of what was before it there is the padding alone, and some is needed."""
    audio = Converter(PCM, audio_format).convert(in_noise(kind))
    size = audio_format.size(WINDOW_MS)
    given = {"threshold": 0.5, "prefix_padding_ms": padding_ms, "silence_duration_ms": 500}
    model = silero_model() if with_model else None
    whole = SemanticEndpointer(audio_format, model, **given)
    trace = [(whole.feed(audio[at : at + size]), whole.spoken_to) for at in range(0, len(audio), size)]
    started, stopped, *_ = (boundary for boundaries, _ in trace for boundary in boundaries[:1])
    onset = started.onset
    assert onset is not None
    begin = max(0, onset.known_at - audio_format.size(padding_ms))
    for cut in range(onset.known_at, stopped.at_bytes, 7 * size):
        rest = SemanticEndpointer(audio_format, model, **given, speaking=True, at_bytes=onset.known_at)
        rest.go_on(audio[begin : onset.known_at], onset)
        rest.feed(audio[onset.known_at : cut])
        steps = range(cut, stopped.at_bytes, size)
        assert [(rest.feed(audio[at : at + size]), rest.spoken_to) for at in steps] == [
            trace[at // size] for at in steps
        ]


def test_without_the_model_the_levels_decide() -> None:
    """As for `server_vad`."""
    given = {"threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500}
    assert SemanticEndpointer(PCM, None, **given).feed(sentence()) == levels_alone().feed(sentence())


def test_the_pause_that_ends_an_utterance_may_change_within_it() -> None:
    """Also when it is over already; nothing ends where nobody speaks."""
    hears = endpointer(silence_duration_ms=5000)
    until_pause = sentence()[: len(sentence()) - PCM.size(TRAIL_MS - 600)]
    assert [it.started for it in hears.feed(until_pause)] == [True]
    assert hears.end_if_due() == ()
    hears.wait(200)
    assert hears.end_if_due() == (VoiceBoundary(False, len(until_pause) // 960 * 960),)
    assert hears.end_if_due() == ()
    assert hears.pause_ms == 0


def test_the_cut_of_a_stream_does_not_matter_to_the_model() -> None:
    """It judges steps of 32 ms."""
    model = silero_model()
    assert model is not None
    audio = Converter(PCM, FORMATS["audio/pcmu"]).convert(sentence())
    audio = np.random.default_rng(0).normal(0, 500, len(audio)).astype("<i2").tobytes()
    whole, pieces = SileroStream(model), SileroStream(model)
    for at in range(0, len(audio), 322):
        pieces.hear(audio[at : at + 322])
    assert pieces.likely == pytest.approx(whole.hear(audio))
    whole.forget()
    assert whole.likely == 0.0


async def test_the_model_is_read_beside_what_else_is_done() -> None:
    """Who needs it before it is there does without it."""
    silero_model.cache_clear()
    silero._begin_reading.cache_clear()
    assert ready_model() is None
    await until(lambda: ready_model() is not None)
    assert ready_model() is silero_model()


def test_it_hears_at_the_rate_of_the_telephone() -> None:
    """Which all formats are brought to for the other judges already."""
    assert RATE_HZ == 8000
