"""Two ears are asked: Whisper, which understands what is said freely, and the grammar, which knows what is mostly said.

They are built differently and err differently. So what both understood is what was said; where they differ, both are
told, and nobody acts on either before the caller was asked. Where Whisper is sure of each word nobody else is asked.
Else the grammar is, where that pays: where Whisper is unsure, in noise, and where a word more or less is another day,
time or order.

In noise each of them takes wrong words for right ones, and no mean score shows it: nothing else is certain there but
what two have understood. A sentence Whisper then hears twice, as it is and with less of the noise, which says
more than the grammar: of 156 requests in white noise the grammar knew 13, and 74 times both hearings had the
same words. A short answer has the grammar.
"""

from __future__ import annotations

import numpy as np

from voice_agent.call.audio import AudioFormat
from voice_agent.kit.ear import Transcript
from voice_agent.speech.dropped_jobs import end_if_dropped
from voice_agent.speech.log_mel import RATE_HZ, Floats
from voice_agent.speech.recognition import Recognizer, Samples
from voice_agent.speech.same_words import has_number, names_day_or_number, near_sound, same_sound, same_words
from voice_agent.speech.sounds import has_speech, signal_to_noise_db, without_noise
from voice_agent.speech.whisper import (
    NO_SPEECH,
    SILENCE_IN_QUIET_S,
    SILENCE_S,
    UNSURE,
    Decoded,
    WhisperModel,
    samples_of,
)
from voice_agent.speech.yes_or_no import (
    LONGEST_ANSWER_S,
    NO,
    RHYMES,
    RHYMING,
    YES,
    Likelihoods,
    answer_words,
    believed,
    class_of,
    is_rhyme,
)

NOISY_DB = 20.0
"""With less from quiet to loud a clip is noisy: 12 to 19 with noise 10 dB below speech, 30 and more on a telephone."""
CLEAN_DB = 40.0
"""With this much there is no noise worth taking away, and words would suffer; not so on a telephone."""
SURE = -0.45
"""From this mean log-probability on Whisper's words are believed without another opinion, in a quiet clip."""
UNLIKELY = 0.1
"""A word with a token less likely than this is doubted all the same."""
UNLIKELY_BY_TELEPHONE = 0.2
UNLIKELY_NAME = 0.5
"""Over a telephone, of a text that names a day or a number: "Sunday" is heard as "Thursday" there."""
AGREED = 0.3
"""What was heard the same twice is believed from this likelihood of every token on: of 133 such in noise 129 meant what
was said, and the others had nothing done that was not asked for."""
PERHAPS = 0.25
"""Less likely words are no second opinion: both hearings are Whisper's, and err in the same way. "Perhaps" is what an
agent may take for certain where both mean the same."""
NOTHING = ""
"""Beside other texts of one hearing, so that it makes nothing certain that they mean the same."""
ASKED_ABOUT = -1.5
"""Below `DROPPED`, too, several words may be told, for the caller to be asked: of six such in noise two were right."""
FEW_WORDS = 3
"""A phrase as short as this has too little context for Whisper."""
LONGEST_SENTENCE_S = 10
"""Of the grammar, with pauses around it."""
UNKNOWN_WORDS = 3
"""A sentence with so many words that the grammar lacks is none of it: of 181 such, clean and over a telephone, it had
another opinion of five, which was right once; asking it would be a quarter of all that it is asked."""


class NaturalEngine:
    """For the speech workers: Whisper, and the grammar where there is one for the language."""

    def __init__(self, model: str = "") -> None:
        """`model`: see `WhisperModel`."""
        self._whisper = WhisperModel(model)
        self._grammar = Recognizer()

    def transcribe(self, audio: bytes, audio_format: AudioFormat, language: str, prompt: str = "") -> Transcript:
        """See `EarEngine.transcribe`."""
        return self._transcribe(audio, audio_format, language, prompt)[0]

    def transcribe_answer(self, audio: bytes, audio_format: AudioFormat, language: str, prompt: str = "") -> Transcript:
        """See `AnswerEngine.transcribe_answer`. What is no bare yes or no is as `transcribe` has it."""
        if language != "en" or audio_format.ms(len(audio)) > LONGEST_ANSWER_S * 1000:
            return self.transcribe(audio, audio_format, language, prompt)
        # Without the prompt, in which there is no yes: what it makes likelier is not that.
        found, heard = self._transcribe(audio, audio_format, language, "", answers=True)
        if heard is None:
            return found
        named = class_of(heard.text, language)
        if not named:
            is_sentence = len(heard.text.split()) > FEW_WORDS
            if found.certain or not (is_sentence and prompt):
                return found  # A "yes" in noise may be heard as any short words of the prompt.
            return self.transcribe(audio, audio_format, language, prompt)
        kinds = answer_words(language)
        likely = Likelihoods(*self._whisper.begins_with(heard, kinds[YES], kinds[NO], RHYMING))
        cleaned = without_noise(samples_of(audio, audio_format))
        is_certain = found.certain and bool(class_of(found.text or "", language))
        asked = (named, RHYMES) if is_certain else (YES, NO, RHYMES)
        scores = self._grammar.scores(_rounded(cleaned), asked)
        if is_rhyme(heard.text, language, likely, scores):
            return Transcript(heard.text, certain=False)
        if is_certain:
            return found
        return Transcript(heard.text) if believed(heard.text, language, likely, scores) else found

    def _transcribe(
        self, audio: bytes, audio_format: AudioFormat, language: str, prompt: str, *, answers: bool = False
    ) -> tuple[Transcript, Decoded | None]:
        """What was said, and Whisper's words; None: it was not asked."""
        if not self._whisper.speaks(language):
            return Transcript(None), None
        if not has_speech(audio, audio_format):
            return Transcript(""), None
        samples = samples_of(audio, audio_format)
        over_noise_db = signal_to_noise_db(samples)
        noisy = over_noise_db < NOISY_DB
        is_telephone = audio_format.rate_hz < RATE_HZ
        cleaned = without_noise(samples) if is_telephone or over_noise_db < CLEAN_DB else samples
        # In loud noise Whisper hears better what it was trained on.
        sound = samples if noisy else cleaned
        whisper = self._whisper
        if answers:
            heard = whisper.decode_answer(sound, language)
        else:
            silence_s = SILENCE_S if noisy or is_telephone else SILENCE_IN_QUIET_S
            heard = whisper.decode(sound, language, prompt, noisy=noisy, silence_s=silence_s)
        if len(heard.text.split()) > FEW_WORDS:
            if heard.is_sure:
                return heard.believed(), heard
            if noisy and heard.no_speech < NO_SPEECH:
                return heard_twice(heard, whisper.decode(cleaned, language, prompt, noisy=True)), heard
        other = None
        is_short = len(samples) <= LONGEST_SENTENCE_S * RATE_HZ
        if language == "en" and is_short and _is_doubtful(heard, noisy=noisy) and self._may_know(heard.text):
            end_if_dropped()
            other = self._grammar.sentence(_rounded(cleaned if noisy else samples), is_telephone=is_telephone)
        if heard.is_unsure and not noisy and not (other and same_sound(other, heard.text)):
            if answers:
                heard = whisper.decode_answer(cleaned, language, heard)
            else:
                heard = whisper.decode_again(cleaned, language, heard, prompt)
        return judged(heard, other, noisy=noisy, is_telephone=is_telephone), heard

    def _may_know(self, text: str) -> bool:
        """Whether what Whisper made of it may be a sentence of the grammar, heard badly."""
        return len(text.split()) <= FEW_WORDS or self._grammar.unknown(text) < UNKNOWN_WORDS


def _rounded(samples: Floats) -> Samples:
    return np.asarray(np.clip(samples * 32768, -32768, 32767), np.int16)


def _is_doubtful(heard: Decoded, *, noisy: bool) -> bool:
    """Whether the grammar's opinion would change anything."""
    if noisy:
        return heard.transcript().text is not None  # Else nobody is believed.
    return heard.loops or heard.log_probability < SURE or len(heard.text.split()) <= FEW_WORDS or has_number(heard.text)


def _is_told(heard: Decoded) -> bool:
    """Whether what is not believed may be asked about all the same: noise alone is a word or two."""
    several = len(heard.text.split()) >= FEW_WORDS
    is_speech = heard.no_speech < NO_SPEECH and not heard.loops and not heard.is_echo
    return several and is_speech and heard.log_probability >= ASKED_ABOUT


def _unlikely(text: str, *, is_telephone: bool) -> float:
    """A text with a token less likely than this is doubted, however likely all of it is."""
    if not is_telephone:
        return UNLIKELY
    return UNLIKELY_NAME if names_day_or_number(text) else UNLIKELY_BY_TELEPHONE


def _doubted(heard: Decoded, text: str | None) -> Transcript:
    """With what else was followed to its end."""
    return Transcript(text, certain=False, alternatives=(*heard.others, NOTHING) if text and heard.others else ())


def heard_twice(first: Decoded, second: Decoded) -> Transcript:
    """What was said in noise, of which Whisper once heard all and once had less of the noise."""
    better, other = sorted((first, second), key=lambda one: (not one.loops, one.log_probability), reverse=True)
    if better.transcript().text is None and not _is_told(better):
        return Transcript(None, certain=False)
    same = same_words(better.text, other.text)
    if better.is_sure or (same and min(better.least, other.least) >= AGREED):
        return better.believed()
    if not same and other.transcript().text and other.least >= PERHAPS:
        return Transcript(better.text, certain=False, alternatives=(other.text, *better.others))
    return _doubted(better, better.text)


def judged(heard: Decoded, other: str | None, *, noisy: bool, is_telephone: bool = False) -> Transcript:
    """What was said, by Whisper's words and those of the grammar; None: it was not asked, or has none."""
    alone = heard.transcript()
    if other is None and alone.text is None and _is_told(heard):
        return Transcript(heard.text, certain=False)
    if other is None:
        is_likely = not 0 < heard.least < _unlikely(heard.text, is_telephone=is_telephone)
        is_believed = heard.log_probability >= SURE and not noisy and is_likely
        return alone if is_believed else _doubted(heard, alone.text)
    if same_words(heard.text, other):
        return Transcript(heard.text)
    if same_sound(heard.text, other):  # "make it for": the grammar knows which word is meant
        return Transcript(other)
    if not noisy and near_sound(heard.text, other):
        # "at free": Whisper heard the sounds, and the grammar knows the words.
        return Transcript(other, certain=False, alternatives=(heard.text,))
    if not alone.text:
        # What Whisper is as unsure of as this is noise, mostly, and the grammar always finds something in it.
        return Transcript(None, certain=False) if noisy else Transcript(other, certain=False)
    first, second = (heard.text, other) if noisy or heard.log_probability >= UNSURE else (other, heard.text)
    return Transcript(first, certain=False, alternatives=(second,))
