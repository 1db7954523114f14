"""Whether an ear hears a yes where one was said, and none where none was: ``python -m tests.speech.bench_yes_or_no``.

Callers answer a yes/no question with yes and no, and with what is neither: other words, noise, coughs, breath, clicks,
steps, a tone. For each it is told how many were a certain yes, a certain no, or neither; a certain yes of what is none
is listed. Some 20 minutes of a core; with ``--quick`` a fifth of it.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.eval_speech.callers import RATE_HZ, Recordings, Samples
from tests.eval_speech.conditions import Conditions, encoded
from voice_agent.call.audio import PCM, PCMU
from voice_agent.kit.clip import Clip
from voice_agent.speech.second_opinion import NaturalEngine
from voice_agent.speech.yes_or_no import class_of

CALLERS = ("flite-rms", "flite-slt", "flite-awb", "flite-kal16", "piper-joe", "espeak-us")
CONDITIONS = ("clean", "telephone", "white", "babble")
YES_SAID = ("yes", "yes please", "yeah")
NO_SAID = ("no", "no thank you")
OTHER = (
    "hello", "pardon", "what", "maybe", "tuesday", "at three", "seven", "one moment", "wait", "say that again",
    "wednesday", "eleven", "i don't know", "when", "a person", "please", "cancel", "thanks", "who", "hang on",
)  # fmt: skip
SOUNDS = ("white", "pink", "hum", "cough", "breath", "clicks", "steps", "tone")
OF_EACH = 30


def sound(kind: str, chance: np.random.Generator) -> Samples:
    """Two seconds of what nobody says, as loud as speech."""
    length = 2 * RATE_HZ
    at = np.arange(length) / RATE_HZ
    noise = chance.normal(0, 1, length)
    spectrum = np.fft.rfft(noise)
    hz = np.maximum(np.fft.rfftfreq(length, 1 / RATE_HZ), 1)
    dull = np.fft.irfft(spectrum / np.sqrt(hz), length) * 30
    made = {
        "white": noise,
        "pink": dull,
        "hum": sum(np.sin(2 * np.pi * 50 * n * at) / n for n in range(1, 9)) + 0.05 * noise,
        "cough": np.fft.irfft(spectrum * np.exp(-(((hz - 900) / 700) ** 2)), length)
        * sum(np.exp(-np.abs(at - t) / 0.05) * (at > t) for t in 0.5 + np.cumsum(chance.uniform(0.15, 0.5, 2))),
        "breath": np.fft.irfft(spectrum * np.exp(-(((hz - 1500) / 900) ** 2)), length)
        * np.exp(-(((at - chance.uniform(0.7, 1.2)) / chance.uniform(0.15, 0.35)) ** 2)),
        "clicks": noise * (np.sin(2 * np.pi * chance.uniform(3, 8) * at) > 0.98),
        "steps": dull * np.maximum(0, np.sin(2 * np.pi * chance.uniform(1.5, 3) * at)) ** 20,
        "tone": np.sin(2 * np.pi * chance.uniform(300, 900) * at) * (at > 0.4) * (at < 1.4),
    }[kind]
    return np.asarray(made / np.abs(made).max() * chance.uniform(0.1, 0.5))


def clips(recordings: Recordings, quick: int) -> Iterator[tuple[str, str, Clip]]:
    """Each with what it is and what it is called."""
    conditions = Conditions(recordings)
    said = [(kind, text) for kind, texts in (("yes", YES_SAID), ("no", NO_SAID), ("other", OTHER)) for text in texts]
    spoken = [(k, t, caller, condition) for k, t in said for caller in CALLERS for condition in CONDITIONS]
    for kind, text, caller, condition in spoken[:: 7 if quick else 1]:
        key = f"{text}, {caller}, {condition}"
        yield kind, key, conditions.clip(condition, recordings.said(caller, text), key)
    for kind in SOUNDS:
        for number in range(6 if quick else OF_EACH):
            chance = np.random.default_rng([SOUNDS.index(kind), number])
            yield "sound", f"{kind} {number}", encoded(sound(kind, chance), PCMU if number % 2 else PCM)


def main() -> None:
    """Listen to all of them, and print what was heard."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a seventh of what is said, a fifth of the sounds")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/voice-agent/eval", help="of recordings")
    options = parser.parse_args()
    ear = NaturalEngine()
    heard: Counter[tuple[str, str]] = Counter()
    for kind, key, clip in clips(Recordings(options.cache), options.quick):
        found = ear.transcribe_answer(clip.audio, clip.format, "en")
        named = class_of(found.text or "", "en") if found.certain else ""
        heard[kind, named] += 1
        if named == "yes" != kind:
            print(f"WRONG: {key}: {found.text}", flush=True)
    for kind in ("yes", "no", "other", "sound"):
        total = sum(count for (of, _), count in heard.items() if of == kind)
        print(f"{kind}: {total} clips, a certain yes {heard[kind, 'yes']}, a certain no {heard[kind, 'no']}")


if __name__ == "__main__":
    main()
