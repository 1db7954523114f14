"""What callers ask the front desk: a list in the grammar of the light ear, and one that is said freely.

A request may stand in the middle of a talk: `given` is typed before it. Numbers are written as words, as they are said.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

TODAY = datetime(2026, 11, 26, 10, 0, tzinfo=UTC)
"""A Thursday, an hour after opening. Every talk takes place then, so that "tomorrow" is the same day for ever."""

BOOKED = ("book an appointment on tuesday at three", "yes")
CANCELLING = (*BOOKED, "cancel my appointment")
WHICH_DAY = ("i'd like to book an appointment",)
WHICH_TIME = (*WHICH_DAY, "on tuesday")
WHICH_ORDER = ("where is my order",)
HOURS = ("what are your opening hours",)


@dataclass(frozen=True, slots=True)
class Request:
    """One turn of a caller who wants something."""

    id: str
    text: str
    kind: str
    """in_grammar, free, held_out or people."""
    given: tuple[str, ...] = ()
    """What was typed before it."""
    wants: str = ""
    """Words that the answer has if it is right, figures as words; | parts synonyms."""
    language: str = "en"


_Told = tuple[tuple[str, tuple[str, ...], str], ...]
"""Texts, what was typed before, and words that an answer has if it is right: all of them, | parts synonyms."""

_IN_GRAMMAR: _Told = (
    ("i'd like to book an appointment for next tuesday at three", (), "tuesday three"),
    ("can i make an appointment for tomorrow at half past ten?", (), "friday ten"),
    ("i need an appointment on friday at two in the afternoon", (), "friday two"),
    ("book an appointment the day after tomorrow at noon", (), "saturday noon"),
    ("i'd like another appointment on monday at nine fifteen", (), "monday nine"),
    ("could i have an appointment on the fifth of december at eleven?", (), "saturday eleven"),
    ("i want to schedule an appointment", (), "day"),
    ("hello, i'd like to make an appointment, please", (), "day"),
    ("tuesday at four", WHICH_DAY, "tuesday four"),
    ("the second of december", WHICH_DAY, "wednesday time"),
    ("half past two", WHICH_TIME, "tuesday two"),
    ("a quarter to ten, please", WHICH_TIME, "tuesday nine"),
    ("at eleven twenty five", WHICH_TIME, "tuesday eleven"),
    ("no, make it four", BOOKED, "tuesday four"),
    ("sorry, i meant wednesday", BOOKED, "wednesday three"),
    ("how about friday at ten?", WHICH_DAY, "friday ten"),
    ("i need to move my appointment to friday", BOOKED, "friday three"),
    ("can i reschedule my appointment to thursday at eleven thirty?", BOOKED, "thursday eleven"),
    ("cancel my appointment", BOOKED, "cancelled"),
    ("i'd like to cancel the appointment, please", BOOKED, "cancelled"),
    ("when is my appointment?", BOOKED, "tuesday three"),
    ("do i have an appointment?", (), "no appointment"),
    ("what are your opening hours?", (), "monday saturday"),
    ("what are your opening hours on saturday?", (), "saturday ten one"),
    ("are you open tomorrow?", (), "friday nine five"),
    ("when do you close today?", (), "thursday five"),
    ("where is my order four seven one one?", (), "shipped"),
    ("what's the status of my order number five oh two nine?", (), "packed"),
    ("i'm calling about my order", (), "number"),
    ("my order number is eight zero eight zero", (), "part"),
    ("order one two three four, please", (), "delivered"),
    ("four seven one one", WHICH_ORDER, "shipped"),
    ("yes, that's right", CANCELLING, "cancelled"),
    ("no, thank you", HOURS, "bye"),
    ("could you repeat that?", HOURS, "monday saturday"),
    ("that's all, thank you, goodbye", HOURS, "bye"),
    ("can i talk to a real person, please?", (), "person|colleague|somebody|someone|human"),
)
_FREE: _Told = (
    ("hi there, could you squeeze me in on tuesday afternoon around three?", (), "tuesday three"),
    ("is there a slot left tomorrow at eleven?", (), "friday eleven"),
    ("i want to come by on monday at a quarter past nine", (), "monday nine"),
    ("can i see someone today at four?", (), "thursday four"),
    ("put me down for december third at two thirty", (), "thursday two"),
    ("would wednesday at ten work for you?", (), "wednesday ten"),
    ("do you have anything free on friday morning?", (), "friday"),
    ("i was hoping to get in some time next week", (), "day"),
    ("let's do the fourth at one o'clock", WHICH_DAY, "friday one"),
    ("any chance of seeing you on wednesday at half past nine?", WHICH_DAY, "wednesday nine"),
    ("three in the afternoon would be great", WHICH_TIME, "tuesday three"),
    ("let's say ten to eleven", WHICH_TIME, "tuesday ten fifty"),
    ("could you make it half past four instead?", BOOKED, "tuesday four"),
    ("actually, wednesday suits me better", BOOKED, "wednesday three"),
    ("oh wait, no, i said thursday, not tuesday", BOOKED, "thursday three"),
    ("something came up, could we push it back to friday", BOOKED, "friday three"),
    ("i won't be able to come, please take me off the list", BOOKED, "cancelled"),
    ("please get rid of my booking", BOOKED, "cancelled"),
    ("remind me when i'm supposed to come in", BOOKED, "tuesday three"),
    ("what time was i booked for again?", BOOKED, "tuesday three"),
    ("are you guys around on sunday?", (), "closed"),
    ("what time do you shut on friday?", (), "friday five"),
    ("good morning, do you happen to know whether the shop is open tomorrow?", (), "friday nine five"),
    ("until when can i drop by on saturday?", (), "saturday one"),
    ("any idea where my parcel is? the number's four seven one one?", (), "shipped"),
    ("i ordered something last week and it still hasn't come, it's number five zero two nine", (), "packed"),
    ("can you check order forty seven eleven for me?", (), "shipped"),
    ("has order one two three four gone out yet?", (), "delivered"),
    ("my package eight oh eight oh is late", (), "part"),
    ("can you track a delivery for me?", (), "number"),
    ("sure, it's five zero two nine", WHICH_ORDER, "packed"),
    ("yep, go for it", CANCELLING, "cancelled"),
    ("no, don't do that", CANCELLING, "stays"),
    ("sorry, i didn't catch that", HOURS, "monday saturday"),
    ("nope, that's everything, thanks a lot", HOURS, "bye"),
    ("is there a real person i could talk to?", (), "person|colleague|somebody|someone|human"),
    ("i'd rather speak to somebody in charge", (), "person|colleague|somebody|someone|human"),
    ("are you open on monday, and can i come in at ten?", (), "monday nine five ten"),
    ("where is order four seven one one, and what are your hours on saturday?", (), "shipped saturday ten"),
    ("i'd like to come on tuesday at three, no, wednesday at three", (), "wednesday three"),
)
_GERMAN: _Told = (
    ("ich hätte gern einen termin am dienstag um drei", (), "dienstag"),
    ("kann ich morgen um halb elf vorbeikommen?", (), "freitag"),
    ("wo ist meine bestellung vier sieben eins eins?", (), ""),
    ("wann haben sie am samstag geöffnet?", (), "samstag"),
    ("ich möchte meinen termin absagen", (), "termin"),
    ("könnte ich bitte mit einem menschen sprechen?", (), ""),
    ("haben sie am freitag nachmittag etwas frei?", (), "freitag"),
    ("können sie das bitte wiederholen?", (), ""),
)


def _numbered(letter: str, kind: str, told: _Told, language: str) -> list[Request]:
    return [
        Request(f"{letter}{number:02}", text, kind, given, wants, language)
        for number, (text, given, wants) in enumerate(told, 1)
    ]


IN_GRAMMAR = _numbered("g", "in_grammar", _IN_GRAMMAR, "en")
FREE = _numbered("f", "free", _FREE, "en")
GERMAN = _numbered("d", "free", _GERMAN, "de")
"""Typed only: no ear that comes with the server understands German."""
