"""Two ears are asked: Whisper, which understands what is said freely, and the grammar, which knows what is mostly said.

They are built differently and err differently. So what both understood is what was said; where they differ, both are
told, and nobody acts on either before the caller was asked. The grammar is asked where that pays: where Whisper is
unsure, in noise, and where a word more or less is another day, time or order.

In noise each of them takes wrong words for right ones, and no score shows it: nothing is certain there but what both
understood. So Whisper is not asked again there: whatever it says then is as uncertain, and noise would cost more than
speech does.
"""

from __future__ import annotations

from voice_agent.call.audio import AudioFormat
from voice_agent.kit.ear import Transcript
from voice_agent.speech.log_mel import RATE_HZ
from voice_agent.speech.recognition import Recognizer
from voice_agent.speech.same_words import has_number, near_sound, same_sound, same_words
from voice_agent.speech.sounds import has_speech, signal_to_noise_db
from voice_agent.speech.whisper import UNSURE, Decoded, WhisperModel, samples_of
from voice_agent.speech.yes_or_no import LONGEST_ANSWER_S, NO, YES, Likelihoods, answer_words, believed, class_of

NOISY_DB = 20.0
"""With less from quiet to loud a clip is noisy: 12 to 19 with noise 10 dB below speech, 30 and more on a telephone."""
SURE = -0.45
"""From this mean log-probability on Whisper's words are believed without another opinion, in a quiet clip."""
FEW_WORDS = 3
"""A phrase as short as this has too little context for Whisper."""
LONGEST_SENTENCE_S = 10
"""Of the grammar, with pauses around it."""


class NaturalEngine:
    """For the speech workers: Whisper, and the grammar where there is one for the language."""

    def __init__(self, model: str = "") -> None:
        """`model`: see `WhisperModel`."""
        self._whisper = WhisperModel(model)
        self._grammar = Recognizer()

    def transcribe(self, audio: bytes, audio_format: AudioFormat, language: str) -> Transcript:
        """See `EarEngine.transcribe`."""
        return self._transcribe(audio, audio_format, language)[0]

    def transcribe_answer(self, audio: bytes, audio_format: AudioFormat, language: str) -> Transcript:
        """See `AnswerEngine.transcribe_answer`. What is no bare yes or no is as `transcribe` has it."""
        found, heard = self._transcribe(audio, audio_format, language)
        if heard is None or language != "en" or audio_format.ms(len(audio)) > LONGEST_ANSWER_S * 1000:
            return found
        if (found.certain and class_of(found.text or "", language)) or not class_of(heard.text, language):
            return found
        kinds = answer_words(language)
        likely = self._whisper.first_word(samples_of(audio, audio_format), language, kinds[YES], kinds[NO])
        scores = self._grammar.scores(audio, audio_format, (YES, NO))
        return Transcript(heard.text) if believed(heard.text, language, Likelihoods(*likely), scores) else found

    def _transcribe(self, audio: bytes, audio_format: AudioFormat, language: str) -> tuple[Transcript, Decoded | None]:
        """What was said, and Whisper's words; None: it was not asked."""
        if not self._whisper.speaks(language):
            return Transcript(None), None
        if not has_speech(audio, audio_format):
            return Transcript(""), None
        samples = samples_of(audio, audio_format)
        noisy = signal_to_noise_db(samples) < NOISY_DB
        heard = self._whisper.decode(samples, language)
        other = None
        if language == "en" and len(samples) <= LONGEST_SENTENCE_S * RATE_HZ and (noisy or _is_doubtful(heard)):
            other = self._grammar.transcribe(audio, audio_format) or None
        if heard.is_unsure and not noisy and not (other and same_sound(other, heard.text)):
            heard = self._whisper.decode_again(samples, language, heard)
        return judged(heard, other, noisy=noisy), heard


def _is_doubtful(heard: Decoded) -> bool:
    return heard.loops or heard.log_probability < SURE or len(heard.text.split()) <= FEW_WORDS or has_number(heard.text)


def judged(heard: Decoded, other: str | None, *, noisy: bool) -> Transcript:
    """What was said, by Whisper's words and those of the grammar; None: it was not asked, or has none."""
    alone = heard.transcript()
    if other is None:
        return Transcript(alone.text, certain=alone.certain and heard.log_probability >= SURE and not noisy)
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
