"""Whether a short answer to a yes/no question was a yes or a no, where an ear that takes anything is unsure.

Two judges that err differently are asked what they make of these two classes alone. Whisper tells how likely the first
word is one of each: of "yes" in noise 0.3 to 0.9 and a hundred times likelier than "no", though the mean probability
of its tokens, which the full stop is one of, says nothing. The grammar has one search for each class, and tells which
fits better. In steady noise its short "no" fits about as well as any "yes": a small lead is no contradiction.

What rhymes with one ("guess", "go") has a search of its own, and a probability: it is no answer where either judge
clearly has it rather. As some voices say "guess", both judges take it for a yes, and no less than a real one.

A class is believed where Whisper's own words are of it and nothing else, and both agree. Nothing is made of words that
Whisper did not hear: noise, a cough or another word is no yes, however well it fits one. Where they contradict each
other nobody is believed. ``tests/speech/bench_yes_or_no.py`` measures it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from voice_agent.speech.sentence_end import turn_words

YES, NO = "yes", "no"
RHYMES = "rhymes"
"""The grammar of what sounds like either and is neither."""
LONGEST_ANSWER_S = 4
"""Of a clip, with the silence around it; a longer one is no bare answer."""
LIKELY = 0.3
"""From this probability on of the first word the grammar need only not contradict."""
POSSIBLE = 0.05
"""From here on it is believed if the grammar clearly agrees."""
TIMES_LIKELIER = 20
"""Than the other class."""
CLEARLY = 5.0
"""A lead in the grammar's score, in steps a frame: see `recognition`. Where "less" is said in noise, and Whisper takes
it for "yes", "no" leads by 15; where "yes" is said by 4 at most."""
LEADS = 3.0
"""A lead that supports what is only possible."""
CLEARLY_OF_MORE = 25.0
"""The same against a text of several words: the grammar takes half of it for noise, and Whisper has heard them all."""
CLEARLY_A_RHYME = 3.5
"""A lead in the same score: a real yes in noise is behind by 3 at most, and "guess" in front of it by up to 12."""
TIMES_A_RHYME = 2
"""So much likelier than its rhymes the first word must be; a yes is 10 to 1 000 times, seldom less."""


class Likelihoods(NamedTuple):
    """What the first word is, as Whisper has it."""

    yes: float
    no: float
    rhyme: float = 0.0
    """Of either."""


RHYMING = frozenset("guess less dress mess chess press best rest test go so low show though slow grow toe snow".split())
"""Those of the grammar `RHYMES`, for Whisper."""


@cache
def answer_words(language: str) -> Mapping[str, frozenset[str]]:
    """The words that begin a yes and a no; none of a language without a file."""
    known = turn_words(language)
    return {} if known is None else {YES: known.yes, NO: known.no}


def class_of(text: str, language: str) -> str:
    """`YES` or `NO` if a text is that and nothing else; else ""."""
    known = turn_words(language)
    words = re.findall(r"[^\W\d_]+(?:['’][^\W_]+)*|\d+", text.lower().replace("’", "'"))
    if known is None or not words:
        return ""
    found = {name for name, own in answer_words(language).items() if own.intersection(words)}
    others = set(words) - known.yes - known.no - known.beside_answer
    return found.pop() if len(found) == 1 and not others else ""


def is_rhyme(text: str, language: str, likely: Likelihoods, scores: Mapping[str, float]) -> bool:
    """Whether what was taken for a yes or a no rather was something that sounds like it; `scores`: as in `believed`."""
    named = class_of(text, language)
    own = likely.yes if named == YES else likely.no
    return own < TIMES_A_RHYME * likely.rhyme or scores[RHYMES] > scores[named] + CLEARLY_A_RHYME


def believed(text: str, language: str, likely: Likelihoods, scores: Mapping[str, float]) -> bool:
    """Whether `text` is a yes or a no, and was that. `scores`: how well each class fits, -inf for not at all."""
    named = class_of(text, language)
    if not named:
        return False
    own, other = (likely.yes, likely.no) if named == YES else (likely.no, likely.yes)
    if own < POSSIBLE or own < TIMES_LIKELIER * other:
        return False
    opposite = NO if named == YES else YES
    several = len(set(text.lower().split())) > 1
    if scores[named] < scores[opposite] - (CLEARLY_OF_MORE if several else CLEARLY):
        return False
    return own >= LIKELY or scores[named] > scores[opposite] + LEADS
