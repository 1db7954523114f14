"""Requests that nobody has tuned anything for: generated from a seed, half of them in the grammar, half said freely.

The free ones are put together from openings, wishes, days and times. To look at them while improving the front desk
would make them worthless: choose another seed instead.
"""

from __future__ import annotations

from random import Random

from tests.eval_speech.grammar import frontdesk
from tests.eval_speech.requests import BOOKED, CANCELLING, HOURS, WHICH_DAY, WHICH_ORDER, WHICH_TIME, Request
from tests.eval_speech.talking import goal

SEED = 19
COUNT = 40

_SLOTS: dict[str, tuple[str, ...]] = {
    "well": ("", "", "hello, ", "hi, ", "good morning, ", "well, ", "um, ", "yeah, so, ", "right, ", "listen, "),
    "thanks": ("", "", ", please", ", thanks", ", if that's alright", ", would you", ", if possible"),
    "weekday": ("monday", "tuesday", "wednesday", "thursday", "friday"),
    "day": (
        *("tomorrow", "on {weekday}", "next {weekday}", "this coming {weekday}", "on the {nth} of december"),
        *("on december the {nth}", "the day after tomorrow", "{weekday} next week"),
    ),
    "nth": ("first", "third", "fourth", "eighth", "eleventh", "fifteenth", "twenty second"),
    "time": (
        *("at {hour}", "at half past {hour}", "around {hour}", "at {hour} fifteen", "at a quarter to {hour}"),
        *("at {hour} thirty", "at {hour} o'clock", "at ten past {hour}"),
    ),
    "hour": ("ten", "eleven", "two", "three", "four"),
    "want": (
        *("i'd love to come in", "i want to come over", "could i pop in", "can you fit me in", "i need to see someone"),
        *("is it possible to get an appointment", "please reserve me a slot", "i'm hoping for an appointment"),
    ),
    "move": (
        *("i have to change my appointment to", "can we move it to", "could you shift my appointment to"),
        *("i'd prefer", "would it be possible to have it"),
    ),
    "off": (
        "i have to call off my appointment",
        "please delete my appointment",
        "i don't need my appointment any more",
    ),
    "where": ("where has my order got to", "what's happening with my order", "i'm waiting for my order"),
    "number": (
        "four seven one one",
        "five zero two nine",
        "five oh two nine",
        "one two three four",
        "eight zero eight zero",
    ),
    "open": (
        *("when can i come {day}", "are you there {day}", "is anybody in {day}", "what are your hours {day}"),
        *("how long are you open {day}", "what time do you open {day}"),
    ),
}
_FREE: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("{well}{want} {day} {time}{thanks}", ()),
    ("{well}{want} {day}{thanks}", ()),
    ("{well}{day} {time} would be good", WHICH_DAY),
    ("{well}i could do {time}", WHICH_TIME),
    ("{well}{time} works best for me", WHICH_TIME),
    ("{well}{move} {day}{thanks}", BOOKED),
    ("{well}{off}{thanks}", BOOKED),
    ("{well}{where}, it's {number}", ()),
    ("{well}{where}{thanks}", ()),
    ("{well}that would be {number}", WHICH_ORDER),
    ("{well}{open}{thanks}", ()),
    ("yes, do that{thanks}", CANCELLING),
    ("no, leave it as it is", CANCELLING),
    ("one more time{thanks}", HOURS),
    ("that was all i wanted, bye", HOURS),
    ("{well}i want to talk to a human being{thanks}", ()),
)


def held_out(seed: int = SEED, count: int = COUNT) -> list[Request]:
    """So many, the same for the same seed. One in the grammar is taken only if something comes of it typed."""
    chance = Random(seed)
    grammar = frontdesk()
    found: list[Request] = []
    while len(found) < count // 2:
        request = Request(f"h{seed}-{len(found):02}", grammar.sentence(chance), "held_out_grammar")
        if goal(request).end.told and request.text not in {other.text for other in found}:
            found.append(request)
    while len(found) < count:
        text, given = chance.choice(_FREE)
        request = Request(f"h{seed}-{len(found):02}", _filled(text, chance), "held_out_free", given)
        if request.text not in {other.text for other in found}:
            found.append(request)
    return found


def _filled(text: str, chance: Random) -> str:
    while "{" in text:
        before, _, rest = text.partition("{")
        name, _, after = rest.partition("}")
        text = before + chance.choice(_SLOTS[name]) + after
    return text.replace(" to on ", " to ").replace(" it on the day", " it the day")
