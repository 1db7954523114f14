"""Where in a voice's audio the words of its text end, for a voice that does not tell.

Known are the text, how loud the audio is, and about how fast people talk. Silence in the audio is either a boundary
between two words or lies within one (before a *t*, say); a boundary may have silence or not. What fits best is found as
the cheapest path through pairs of a gap and a boundary: what is said between two pairs should take as long as its
letters do. Pure; a path takes some milliseconds for each second of audio.
"""

from __future__ import annotations

import audioop
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nsmallest

from voice_agent.call.audio import PCM

WINDOW_MS = 10
"""Of the levels."""
QUIET_SHARE = 0.06
"""Of the loudest level: below it there is silence."""
LEAST_QUIET = 30
"""A level that is silence in any audio."""
SHORTEST_GAP_MS = 20
MS_PER_UNIT = 58.0
"""How long one letter takes, or what comes with every word, at speed 1; voices differ by half of it."""
UNITS_PER_WORD = 1.0
UNITS_PER_DIGIT = 4.0
PAUSE_UNITS = dict.fromkeys(",;:", 4.0) | dict.fromkeys(".!?…", 6.0)
"""How long the pause behind a word is that ends so."""
WORD = re.compile(r"\S*\w\S*")
PACES = tuple(math.exp(step * 0.08) for step in range(-6, 7))
"""Times `MS_PER_UNIT`: what is tried of a voice that has said nothing yet, from 0.62 to 1.62."""
KNOWN_PACES = (0.95, 1.0, 1.05)
"""Of one whose pace is known."""
UNLIKELY_PACE = 0.2
"""A pace that differs by this factor (natural logarithm) costs 1."""
UNSURE_SHARE, UNSURE_MS = 0.18, 25.0
"""By how much what is said may take longer or shorter at the cost of 1."""
PASSED_BOUNDARY, PASSED_PAUSE = 0.3, 2.0
"""What a boundary without silence costs, and one where a pause is due."""
PASSED_GAP, PASSED_GAP_PER_MS = 0.3, 1 / 40
"""What silence within a word costs."""
MOST_PASSED = 6
"""Gaps, and boundaries, between two pairs."""
SHORTEST_UNITS = 20.0
"""Of a text that tells how fast a voice speaks."""
LIKELIEST = 12
"""Of the boundaries that a gap may be, so many are followed: the time it takes grows with the gaps alone."""
TOO_FAR = 9.0
"""Pairs whose deviation costs more than this are not looked at."""


def levels(pcm: bytes) -> list[int]:
    """How loud PCM16 at 24 000 Hz is, window by window; what is left of less than a window is left out."""
    size = PCM.size(WINDOW_MS)
    return [audioop.rms(pcm[at : at + size], 2) for at in range(0, len(pcm) - size + 1, size)]


@dataclass(frozen=True, slots=True)
class Boundary:
    """The end of a word: silence between two words, and where the text goes on."""

    from_ms: int
    to_ms: int
    """Silent until then."""
    chars: int
    """Where the next word begins in the text; its length behind the last word."""
    is_pause: bool = False
    """There is a comma, or the end of a sentence."""


@dataclass(frozen=True, slots=True)
class _Word:
    begins: float
    """In units from the beginning of the text."""
    ends: float
    next_chars: int
    next_begins: float
    is_pause: bool


@dataclass(frozen=True, slots=True)
class Located:
    """What was found out. `position` is for where no boundary is known."""

    text: str
    boundaries: list[Boundary]
    words: list[_Word]
    ms_per_unit: float
    onset_ms: int

    def position(self, at_ms: int) -> int:
        """About where the text goes on at a time: at the word that is just being said, which is said again then."""
        last = self.boundaries[-1] if self.boundaries else None
        since_ms = last.to_ms if last is not None else self.onset_ms
        left = [word for word in self.words if last is None or word.next_chars > last.chars]
        if not left:
            return len(self.text)
        units = left[0].begins + (at_ms - since_ms) / self.ms_per_unit
        for word in left:
            if units < word.ends:
                before = [other for other in self.words if other.next_begins <= word.begins]
                return before[-1].next_chars if before else 0
        return len(self.text)


def locate(text: str, loudness: Sequence[int], *, speed: float = 1.0, ms_per_unit: float | None = None) -> Located:
    """Boundaries of the words of `text` in audio that says its beginning; all of them ascend.

    `ms_per_unit`: how fast this voice speaks (`pace_of`), where that is known from what it said before.
    """
    words = _words(text)
    gaps, onset_ms = _gaps(loudness)
    usual = ms_per_unit or MS_PER_UNIT / speed
    paces = [usual * pace for pace in (KNOWN_PACES if ms_per_unit else PACES)]
    found = []
    for pace in paces:
        cost, path = _cheapest(gaps, words, onset_ms, pace)
        found.append((cost + (math.log(pace / usual) / UNLIKELY_PACE) ** 2, pace, path))
    _, pace, path = min(found, key=lambda each: each[0])
    boundaries = [Boundary(*gaps[gap], words[word].next_chars, words[word].is_pause) for gap, word in path]
    return Located(text, boundaries, words, pace, onset_ms)


def words_of(text: str, pcm: bytes, *, speed: float = 1.0) -> list[list[int]]:
    """Where words begin after the first, as `SynthesizedSpeech` has it, in PCM16 at 24 000 Hz that says `text`."""
    found = locate(text, levels(pcm), speed=speed).boundaries
    return [[each.to_ms, each.chars] for each in found if each.chars < len(text) and each.to_ms < PCM.ms(len(pcm))]


def known(text: str, at_ms: int, chars: int, ms_per_unit: float | None) -> Located:
    """Of audio of which it is known that the word at `chars` begins at `at_ms`."""
    return Located(text, [Boundary(at_ms, at_ms, chars)], _words(text), ms_per_unit or MS_PER_UNIT, 0)


def pace_of(text: str, loudness: Sequence[int]) -> float | None:
    """Milliseconds for each unit of a text that was said to its end; None of one that is too short to tell."""
    words = _words(text)
    if not words or words[-1].ends < SHORTEST_UNITS:
        return None
    gaps, onset_ms = _gaps(loudness)
    end_ms = len(loudness) * WINDOW_MS
    if gaps and gaps[-1][1] == end_ms:
        end_ms = gaps[-1][0]
    found = (end_ms - onset_ms) / words[-1].ends
    return found if PACES[0] <= found / MS_PER_UNIT <= PACES[-1] else None


def _words(text: str) -> list[_Word]:
    found: list[_Word] = []
    at = 0.0
    spans = [match.span() for match in WORD.finditer(text)]
    for (begin, end), following in zip(spans, [*(span[0] for span in spans[1:]), len(text)], strict=False):
        written = text[begin:end]
        length = UNITS_PER_WORD + sum(UNITS_PER_DIGIT if char.isdigit() else 1.0 for char in written if char.isalnum())
        pause = PAUSE_UNITS.get(text[begin:following].rstrip(" \"'”’)\n")[-1:], 0.0)
        found.append(_Word(at, at + length, following, at + length + pause, pause > 0))
        at += length + pause
    return found


def _gaps(loudness: Sequence[int]) -> tuple[list[tuple[int, int]], int]:
    """Where it is silent after it has begun, in milliseconds; and when it begins."""
    quiet = max(LEAST_QUIET, QUIET_SHARE * max(loudness, default=0))
    onset = next((at for at, level in enumerate(loudness) if level > quiet), len(loudness))
    found: list[tuple[int, int]] = []
    begun: int | None = None
    for at in range(onset, len(loudness) + 1):
        is_quiet = at < len(loudness) and loudness[at] <= quiet
        if is_quiet and begun is None:
            begun = at
        elif not is_quiet and begun is not None:
            if (at - begun) * WINDOW_MS >= SHORTEST_GAP_MS:
                found.append((begun * WINDOW_MS, at * WINDOW_MS))
            begun = None
    return found, onset * WINDOW_MS


def _cheapest(
    gaps: list[tuple[int, int]], words: list[_Word], onset_ms: int, pace: float
) -> tuple[float, list[tuple[int, int]]]:
    """The cost of the cheapest path, and its pairs of a gap and the word that ends there."""
    passed_gaps = [0.0]
    for begin, end in gaps:
        passed_gaps.append(passed_gaps[-1] + PASSED_GAP + (end - begin) * PASSED_GAP_PER_MS)
    passed_words = [0.0]
    for word in words:
        passed_words.append(passed_words[-1] + (PASSED_PAUSE if word.is_pause else PASSED_BOUNDARY))
    best: dict[tuple[int, int], tuple[float, tuple[int, int]]] = {(-1, -1): (0.0, (-1, -1))}
    by_gap: list[list[tuple[int, int]]] = [[(-1, -1)]]
    for gap, (begin, _) in enumerate(gaps):
        reached: dict[tuple[int, int], tuple[float, tuple[int, int]]] = {}
        for states in by_gap[-MOST_PASSED - 1 :]:
            for state in states:
                since_ms = gaps[state[0]][1] if state[0] >= 0 else onset_ms
                from_units = words[state[1]].next_begins if state[1] >= 0 else 0.0
                so_far = best[state][0] + passed_gaps[gap] - passed_gaps[state[0] + 1]
                for at in range(state[1] + 1, min(state[1] + 2 + MOST_PASSED, len(words))):
                    due_ms = pace * (words[at].ends - from_units)
                    deviation = (begin - since_ms - due_ms) / (UNSURE_SHARE * due_ms + UNSURE_MS)
                    if deviation < -math.sqrt(TOO_FAR):
                        break
                    cost = so_far + deviation**2 + passed_words[at] - passed_words[state[1] + 1]
                    if deviation**2 <= TOO_FAR and cost < reached.get((gap, at), (math.inf, state))[0]:
                        reached[gap, at] = (cost, state)
        likeliest = nsmallest(LIKELIEST, reached, key=lambda state: reached[state][0])
        best |= {state: reached[state] for state in likeliest}
        by_gap.append(likeliest)
    last = min(best, key=lambda state: best[state][0] + passed_gaps[-1] - passed_gaps[state[0] + 1])
    cost = best[last][0] + passed_gaps[-1] - passed_gaps[last[0] + 1]
    path = []
    while last != (-1, -1):
        path.append(last)
        last = best[last][1]
    return cost, path[::-1]
