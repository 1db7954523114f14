"""What is uncertain is asked back, once, and nothing is done on it before a yes.

A transcript is uncertain when its ear says so: little probability, noise, two ears that disagree. Where the texts that
it may have been mean the same, it is certain after all. What is certain and may have been more ("December third add to
thirty", perhaps "at two thirty") is asked about, too. Where the answer reads back all that was understood anyway
("Shall I book Tuesday at three?"), that is the question; else it is `question`.

::

    heard A, perhaps B ──> "did you say A?" ── yes ──> A is answered
                                            ── no ───> "did you say B?" ── no ──> "then please say it again"

A question that got a no is not asked again (`Readings.denied`) until something is certain: who is heard to say A once
more, and that uncertainly, has said something else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from voice_agent.agents.frontdesk import saying
from voice_agent.agents.frontdesk.answers import Answer, open_question
from voice_agent.agents.frontdesk.desk import DeskContext
from voice_agent.agents.frontdesk.memory import Memory, Slot
from voice_agent.agents.frontdesk.plain import plain
from voice_agent.agents.frontdesk.understanding import Understood, is_bare, understand

MAX_ALTERNATIVES = 3
MAX_DOUBT_CHARS = 500
MAX_DENIED = 8
_NAMED = ("task", "day", "from_day", "not_day", "time", "not_time", "digits", "zone")
"""What a wish may name, of `Understood`."""
YES_OR_NO = frozenset({"confirm", "offer", "callback", "name_right", "more"})
"""Questions that a yes or a no answers."""


@dataclass(frozen=True, slots=True)
class CallersWords:
    """A turn of the caller, as it was heard or typed."""

    text: str | None
    """None: it was not understood; "": nothing was said."""
    uncertain: bool = False
    alternatives: Sequence[str] = ()
    """What else it may have been, the likeliest first."""
    was_cut: bool = False
    """The turn went on for so long that it was ended: music on hold, a television."""
    heard: str | None = None
    """Of the last answer, before this was said; None: that is not known, and all of it counts as heard."""
    is_short: bool = False
    """It was a sound of less than a second."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """What a turn means, and whether that is certain."""

    text: str
    wishes: tuple[Understood, ...]
    uncertain: bool
    others: tuple[str, ...] = ()
    """What else it may have been and would mean something else, the likeliest first."""


def weighed(said: CallersWords, memory: Memory, desk: DeskContext) -> Weighed:
    """The likeliest meaning there is; of what is uncertain, that which fits the question and names most.

    It is asked back as a whole.
    """
    texts = [said.text or "", *said.alternatives[:MAX_ALTERNATIVES]]
    meant = [(text, _meant(text, memory, desk)) for text in texts]
    if not (said.uncertain or said.was_cut):
        text, wishes = _fullest(meant)
        return Weighed(text, wishes, text != texts[0], (texts[0],) if text != texts[0] and meant[0][1] else ())
    text, wishes = max(meant, key=lambda each: (_fits(each[1], memory), _named(each[1])))
    readings = {_meaning(wishes): text}
    for other, others_wishes in meant:
        readings.setdefault(_meaning(others_wishes), other)
    agree = len(meant) > 1 and len(readings) == 1 and not said.was_cut
    others = tuple(other for meaning, other in readings.items() if meaning)[1:]
    return Weighed(text, wishes, not agree, others)


def _fullest(meant: Sequence[tuple[str, tuple[Understood, ...]]]) -> tuple[str, tuple[Understood, ...]]:
    """Of what was said with certainty and what else it may have been: that which means all of the former, and most."""
    first = meant[0]
    fuller = [each for each in meant if each[1] != first[1] and _holds(each[1], first[1])]
    return max([first, *fuller], key=lambda each: _named(each[1]))


def _holds(wishes: tuple[Understood, ...], others: tuple[Understood, ...]) -> bool:
    """Whether they mean all that others do."""
    if not others:
        return bool(wishes)
    return len(wishes) == len(others) and all(map(_holds_wish, wishes, others))


def _holds_wish(wish: Understood, other: Understood) -> bool:
    mine, its = wish.meaning, other.meaning
    kept = (getattr(its, one) in (getattr(mine, one), None, "") for one in _NAMED)
    return all(kept) and mine.intents >= its.intents and mine.no_such_day == its.no_such_day


def readings(heard: Weighed, memory: Memory, desk: DeskContext) -> Iterator[Weighed]:
    """What a turn may have been, the likeliest first, each with what would be left of it after a no."""
    yield heard
    for at, text in enumerate(heard.others, 1):
        yield Weighed(text, _meant(text, memory, desk), True, heard.others[at:])


def _meant(text: str, memory: Memory, desk: DeskContext) -> tuple[Understood, ...]:
    return understand(text, desk.language, desk.today, memory.asked)


def _meaning(wishes: tuple[Understood, ...]) -> tuple[Understood, ...]:
    return tuple(wish.meaning for wish in wishes)


def _fits(wishes: tuple[Understood, ...], memory: Memory) -> bool:
    """Whether they are what mostly answers the open question: a yes to one, to "what time?" no other day."""
    if memory.asked in YES_OR_NO:
        return is_bare("right", wishes)
    days = {wish.day.isoformat() for wish in wishes if wish.day is not None}
    return memory.asked != "time" or days <= {memory.slot.day}


def _named(wishes: Sequence[Understood]) -> tuple[int, bool]:
    """How much they name of what is wanted, of which day and time, or order."""
    named = sum(
        bool(wish.task) + (wish.day is not None) + (wish.time is not None) + bool(wish.digits) for wish in wishes
    )
    return named, bool(wishes)


def asked_back(heard: Weighed, answer: Answer, memory: Memory, desk: DeskContext) -> Answer:
    """In place of `answer`, the question whether this was said; or `answer`, if it only reads back what was heard."""
    others = tuple(text[-MAX_DOUBT_CHARS:] for text in heard.others)
    read_back = answer.memory.asked in ("offer", "confirm", "name_right") and not answer.acts and not answer.told
    was_open = answer.memory.offer == memory.offer and answer.memory.asked == memory.asked
    if (read_back and not was_open) or answer.asks_back:
        return replace(answer, memory=answer.memory.reading(others=others), asks_back=True)
    doubted = replace(memory, doubt=heard.text[-MAX_DOUBT_CHARS:]).reading(others=others)
    return Answer("", question(heard, desk), doubted, asks_back=True)


def denied(memory: Memory, desk: DeskContext) -> tuple[str, ...]:
    """The questions that got a no, with the one that is open: it gets one."""
    if not memory.doubt:
        return (*memory.readings.denied, open_question(memory, desk))[-MAX_DENIED:]
    wishes = _meant(memory.doubt, memory, desk)
    return (*memory.readings.denied, question(Weighed(memory.doubt, wishes, True), desk))[-MAX_DENIED:]


def question(heard: Weighed, desk: DeskContext) -> str:
    """Whether that was said, in the desk's words."""
    language = desk.language
    if len(heard.wishes) > 1:
        return _literally(heard.text, desk)
    wish = heard.wishes[0]
    if wish.task in ("order", "") and wish.digits:
        return language.say("doubt_order", digits=saying.digits(wish.digits[:12], language))
    if wish.task == "order":
        return language.say("doubt_order_any")
    if wish.task == "hours":
        day = saying.day(wish.day, language) if wish.day else ""
        return language.say("doubt_hours_on", day=day) if day else language.say("doubt_hours")
    if wish.has_slot:
        slot = Slot().with_(wish).spoken(language)
        return language.say("doubt_slot", slot=slot.removeprefix(language.answers["slot_time"].partition("{")[0]))
    if wish.task:
        return language.say(f"doubt_{wish.task}")
    for intent in ("bye", "wrong", "right"):
        if intent in wish.intents:
            return language.say(f"doubt_{intent}")
    return _literally(heard.text, desk)


def _literally(text: str, desk: DeskContext) -> str:
    words = plain(text, desk.language).replace(" |", ",").strip(" ,|")
    return desk.language.say(
        "doubt", text=words if not any(mark in words for mark in ("wd", "mo1")) else text.strip(" .?!")
    )
