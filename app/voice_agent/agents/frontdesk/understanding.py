"""From what a caller said or typed to what it means, in any language that has a folder. Tolerant, but never guessing.

Rules where languages leave room:

- "Tuesday", "this Tuesday", "on Tuesday": the first one after today.
- "next Tuesday", "Tuesday next week": the one in the week after this; weeks begin on Monday.
- "the fifth": the next fifth that is not past. "the fifth of May": this year, or else the next.
- A bare hour: 9 to 12 before noon, 1 to 7 after it, since those are the hours of business; 8 is in the morning.
- "Tuesday, no, Wednesday": what comes after the correction holds. "Not Tuesday": no day was named.
- "… and …": a sentence with several wishes is several, and a day named in one holds for a booking after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

from voice_agent.agents.frontdesk import days, times
from voice_agent.agents.frontdesk.language import Language
from voice_agent.agents.frontdesk.plain import order_number, plain, time_heard

MAX_WISHES = 4
"""In one breath; what else was said with the last one counts as part of it."""

_OF_APPOINTMENTS = frozenset({"absent", "book", "cancel", "move"})
_TASKS_WITH_DAYS = frozenset({"book", "move"})


@dataclass(frozen=True, slots=True)
class Understood:
    """One wish, as it was understood; all of it empty when nothing was."""

    task: str = ""
    """A key of `Patterns.tasks`, or "": nothing was asked for, and it may be an answer."""
    intents: frozenset[str] = frozenset()
    day: date | None = None
    from_day: date | None = None
    """The day that an appointment is to be moved away from."""
    not_day: date | None = None
    not_time: int | None = None
    """What was named to say that it is not that: "not Tuesday", "not at three"."""
    no_such_day: bool = False
    """A day was named that the calendar does not have, such as 31 April."""
    time: int | None = None
    """Minutes since midnight."""
    digits: str | None = None
    """Of an order."""
    zone: str | None = None
    """In whose time it was said, if that was said."""
    text: str = ""
    """The plain words of it, from which it can be understood again."""

    @property
    def anything(self) -> bool:
        """Whether anything was understood."""
        return bool(self.task or self.intents or self.has_slot or self.no_such_day or self.digits)

    @property
    def has_slot(self) -> bool:
        """Whether a day or a time was named."""
        return self.day is not None or self.time is not None

    @property
    def meaning(self) -> Understood:
        """Without the words: two texts with one meaning are one."""
        polite = frozenset({"thanks", "hello", "correct"})
        return replace(self, text="", intents=self.intents - polite)


def understand(text: str, language: Language, today: date, due: str = "") -> tuple[Understood, ...]:
    """What `text` means on the day `today`, wish by wish; none for nothing. `due`: what was asked (`Memory.asked`)."""
    return tuple(_wishes(plain(text, language), language, today, due))


def is_bare(intent: str, wishes: Sequence[Understood]) -> bool:
    """Whether they are that, and nothing beside it."""
    if len(wishes) != 1:
        return False
    (only,) = wishes
    return intent in only.intents and not (only.task or only.has_slot or only.digits)


def understand_plain(words: str, language: Language, today: date) -> Understood:
    """One wish, of the text that it had before."""
    return _one_clause(words, language, today, "")


def _wishes(words: str, language: Language, today: date, due: str) -> Iterator[Understood]:
    named: date | None = None
    for clause in clauses(words, language):
        wish = _one_clause(clause, language, today, due)
        if wish.task in _TASKS_WITH_DAYS and wish.time is not None and wish.day is None and not wish.no_such_day:
            wish = replace(wish, day=named)
        named = wish.day or named
        if wish.anything:
            yield wish


def clauses(words: str, language: Language) -> list[str]:
    """Plain words cut where another wish begins; all in one where there is one."""
    found: list[tuple[str, str]] = []
    for piece in _pieces(words, language):
        own, before = found[-1] if found else ("", "")
        is_next = own == "order" and _is_next_order(piece, before, language)
        task = task_of(piece, language) or ("order" if is_next else "")
        joins = not found or not task or not own or (task == own and not is_next) or len(found) == MAX_WISHES
        joins = joins or ("absent" in (task, own) and {task, own} <= _OF_APPOINTMENTS)
        if joins and found and not (task and not own and _is_verdict(found[-1][1], language)):
            found[-1] = (own or task, f"{found[-1][1]} {piece}")
        else:
            found.append((task, piece))
    return [text for _, text in found]


def _is_next_order(piece: str, before: str, language: Language) -> bool:
    """Whether it has the number of another order than what stands before it: "order 4711 and 5029"."""
    numbers = {order_number(text, language, is_due=False) for text in (before, piece)}
    return len(numbers) == 2 and None not in numbers


def _is_verdict(text: str, language: Language) -> bool:
    """Whether it is a plain yes, with nothing beside it: "yes, and where is my order"."""
    intents = _intents(text, language)
    return "right" in intents and "wrong" not in intents and len(text.split()) <= 5


def _pieces(words: str, language: Language) -> list[str]:
    """Parts between joining words and punctuation, each with what joined it."""
    joiners = language.words.roles["joiners"]
    pieces: list[list[str]] = [[]]
    for word in words.split():
        if (word in joiners or word == "|") and pieces[-1] and set(pieces[-1]) - joiners - {"|"}:
            pieces.append([])
        pieces[-1].append(word)
    return [" ".join(piece) for piece in pieces if piece]


def task_of(text: str, language: Language) -> str:
    """What a piece of plain text asks for; "" for nothing."""
    for task, pattern in language.patterns.tasks.items():
        for match in pattern.finditer(text):
            if not _is_negated(text[: match.start()], language):
                return task
    return ""


def _is_negated(before: str, language: Language) -> bool:
    """Whether the words in front of a wish deny it: "I do not want to cancel"."""
    _, _, near = before.rpartition("|")
    return bool(language.words.roles["negations"].intersection(near.split()[-4:]))


def _intents(text: str, language: Language) -> frozenset[str]:
    return frozenset(name for name, pattern in language.patterns.intents.items() if pattern.search(text))


def _one_clause(text: str, language: Language, today: date, due: str) -> Understood:
    task = task_of(text, language)
    whole = Understood(task=task, intents=_intents(text, language), zone=_zone(text, language), text=text)
    # Before it is cut where it corrects itself: "make it" is such a place, and tells that "for" is a time.
    is_of_order = task == "order" or due == "order" or language.patterns.order_words.search(text)
    for part in language.patterns.corrections.split(text if is_of_order else time_heard(text, language)):
        whole = _with(whole, part, language, today, due)
    if whole.task == "absent":
        # Who cannot come then, and says when, wants to come another time.
        another = whole.time is not None or whole.from_day is not None
        beside = language.patterns.tasks["absent"].sub(" ", text)
        moves = whole.has_slot and (another or language.patterns.tasks["book"].search(beside) is not None)
        source = whole.from_day or (None if moves else whole.day)
        whole = replace(whole, task="move" if moves else "cancel", from_day=source)
    return whole


def _with(whole: Understood, part: str, language: Language, today: date, due: str) -> Understood:
    """`whole` with what a later part of the sentence says in place of its own."""
    part = f" {part.strip()} " if part.strip() else ""
    if not part:
        return whole
    part = language.patterns.intents["hello"].sub("|", part).strip()
    named = days.named(part, language, today)
    of_order = whole.task == "order" or due == "order" or bool(language.patterns.order_words.search(part))
    digits = order_number(named.rest, language, is_due=of_order)
    time, not_time = None, None
    if digits is None or len(digits) < 3:
        heard = time_heard(named.rest, language)
        time, not_time = times.named(heard, language, is_due=due in ("time", "when", "offer"))
        if time is not None and whole.task != "order":
            digits = None
    day, from_day = named.day, named.from_day
    return replace(
        whole,
        day=whole.day if day is None else day,
        from_day=whole.from_day if from_day is None else from_day,
        not_day=whole.not_day if named.not_day is None else named.not_day,
        not_time=whole.not_time if not_time is None else not_time,
        no_such_day=named.no_such_day or (whole.no_such_day and day is None),
        time=whole.time if time is None else time,
        digits=whole.digits if digits is None else digits,
    )


def _zone(text: str, language: Language) -> str | None:
    """The zone of "three o'clock London time"."""
    for name, zone in language.words.zones.items():
        if re.search(rf"\b{name} (time|zeit)\b|\b{name}$", text) and name in text:
            return zone
    return None
