"""Which character of a spoken text is said at which moment of its audio.

An *alignment* is a list of [milliseconds, characters], neither of which ever falls: up to there the text has been
said by then. Between two entries text passes at an even pace. ::

    text      We are open. Come by.
    entries   [0, 0]   [1400, 13]   [2300, 21]      by sentences
              [0, 0] [113, 3] [246, 7] [1400, 13] …  by words, where the voice tells when each begins

Text and audio of a reply come in *pieces*: some text, then the audio that says it. Where a piece ends is what has been
made of its audio, not what has been sent: speech is sent at the pace at which it is heard.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

Alignment = list[list[int]]

USUAL_CHARS_PER_S = 15
"""How fast people, and voices at speed 1, get through a text."""
FASTEST_CHARS_PER_S = 30
"""Audio that would say its text faster than this is not all of it yet."""
FIRST_WIDE = "\u2e80"
"""From here on are the scripts that write no blanks between words."""


@dataclass(slots=True)
class Piece:
    """What is being said: text, and the audio that says it."""

    text_from: int = 0
    """Where its text begins in that of the reply, in characters."""
    audio_from: int = 0
    """Where its audio begins in that of the reply, in bytes."""
    made_bytes: int = 0
    """How much of its audio the agent has made; more than was sent, as a rule."""
    words: Alignment = field(default_factory=list)
    """Where its words begin, counted from its own beginning."""
    is_partial: bool = False
    """More of its audio is being made."""
    extras: dict[str, Any] = field(default_factory=dict)
    """Fields of a newer version; kept as they are."""


def entries_of(piece: Piece, begins_at: list[int]) -> Alignment:
    """The alignment of a piece up to its last word, where its own beginning is the entry `begins_at`."""
    at_ms, at_chars = begins_at
    return [begins_at, *([at_ms + ms, at_chars + chars] for ms, chars in piece.words)]


def alignment_of(piece: Piece, text: str, made_ms: int, *, speed: float = 1.0) -> Alignment:
    """The alignment of a piece with this text, of whose audio so much was made, counted from its own beginning.

    Of one of which more is being made, the last word has not been said. Where its voice tells of words, that is the
    last it told of, however slowly it says that one: of the next it would have told.
    """
    entries, chars = entries_of(piece, [0, 0]), len(text)
    if not piece.is_partial:
        return [*entries, [ends_after_ms(chars, made_ms), chars]]
    begun_ms, begun_chars = entries[-1]
    if piece.words:
        entries.append([made_ms + 1, _word_end(text, begun_chars)])
    usually_ms = begun_ms + round((chars - begun_chars) * 1000 / USUAL_CHARS_PER_S / speed)
    return [*entries, [max(made_ms + 1, usually_ms), chars]]


def ends_after_ms(chars: int, made_ms: int) -> int:
    """How long the audio of a piece of so many characters will be, of which so much was made when it was cut off."""
    if made_ms * FASTEST_CHARS_PER_S >= chars * 1000:
        return made_ms
    return chars * 1000 // USUAL_CHARS_PER_S


def heard_text(text: str, alignment: Alignment, heard_ms: int) -> str:
    """The words of `text` that were said by `heard_ms`; a word half said is left out, and blanks at the end."""
    if heard_ms >= alignment[-1][0]:
        return text
    known, end = _chars_at(alignment, heard_ms)
    while end > known and not _parts_words(text, end):
        end -= 1
    return text[:end].rstrip()


def said_to(text: str, alignment: Alignment, heard_ms: int) -> int:
    """Where the word begins that was being said at `heard_ms`; the length of `text` if all was said."""
    if heard_ms >= alignment[-1][0]:
        return len(text)
    _, at = _chars_at(alignment, heard_ms)
    at = min(at, len(text))  # The store may hold words that count beyond their text.
    while at > 0 and not _ends_word(text[at - 1]):
        at -= 1
    return at


def said_at_ms(alignment: Alignment, chars: int) -> int:
    """When the text has been said up to a character."""
    for (from_ms, from_chars), (to_ms, to_chars) in pairwise(alignment):
        if chars < to_chars:
            return from_ms + (to_ms - from_ms) * (chars - from_chars) // (to_chars - from_chars)
    return alignment[-1][0]


def cut(alignment: Alignment, at_ms: int, at_chars: int) -> Alignment:
    """What is left of an alignment when text and audio are cut.

    A cut at the same place cuts nothing more, and one before it leaves what it would have left of the whole.
    """
    left = [entry for entry in alignment if entry[0] < at_ms and entry[1] <= at_chars]
    for (from_ms, from_chars), (to_ms, to_chars) in pairwise(alignment):
        if from_chars < at_chars < to_chars:
            # The text ends between two entries: a word was left out that had begun.
            ends_ms = from_ms - (from_ms - to_ms) * (at_chars - from_chars) // (to_chars - from_chars)
            left += [[ends_ms, at_chars]] if ends_ms < at_ms else []
    return [*left, [at_ms, at_chars]]


def _chars_at(alignment: Alignment, heard_ms: int) -> tuple[int, int]:
    """How many characters were said at a time before the end: up to the last entry, and by then."""
    (from_ms, from_chars), (to_ms, to_chars) = next(
        (before, after) for before, after in pairwise(alignment) if heard_ms < after[0]
    )
    return from_chars, from_chars + (to_chars - from_chars) * max(0, heard_ms - from_ms) // (to_ms - from_ms)


def _word_end(text: str, at: int) -> int:
    """Where the word ends that begins at a character, or behind the blanks there."""
    while at < len(text) and text[at].isspace():
        at += 1
    at += 1
    while not _parts_words(text, at):
        at += 1
    return min(at, len(text))


def _parts_words(text: str, at: int) -> bool:
    return at >= len(text) or _ends_word(text[at]) or _ends_word(text[at - 1])


def _ends_word(one: str) -> bool:
    return one.isspace() or one >= FIRST_WIDE
