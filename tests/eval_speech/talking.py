"""A talk of a caller with the front desk: the request, what it leads to when typed, and what came of it when spoken.

The caller knows what it wants, and answers a question back as people do: with yes, if that leads there; with no and the
request again; or with the request again, more slowly; or in the words that the desk asks for. ::

    typed:   request -> goal 1 [-> "yes" -> goal 2, where something is changed]
    spoken:  request -> goal 1? -> yes -> goal 2?  success
                     -> another answer that tells or does something: acted on wrongly
                     -> a question back, the first: answered; the second: failed
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from tests.eval_speech.desk import Desk, DeskReply
from tests.eval_speech.requests import TODAY, Request
from tests.eval_speech.words import words
from voice_agent.kit.ear import Transcript

YES, NO = "yes", "no"
YES_PLEASE = "yes, please"
"""What the desk asks for who was not understood."""
_QUESTIONS_BACK = 1


@dataclass(frozen=True, slots=True)
class Said:
    """What a caller says in one turn."""

    text: str
    slowly: bool = False
    yes_or_no: bool = False
    """It was asked for."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a request leads to when it is typed: the answers, "yes" being said to what has to be confirmed."""

    replies: tuple[DeskReply, ...]

    @property
    def understood(self) -> bool:
        """Whether the desk has an answer to it at all."""
        return self.replies[0].understood

    def answers(self, request: Request) -> bool:
        """Whether it is what the request wants."""
        told = set(words(self.end.text))
        return self.understood and all(told & set(words(wanted.replace("|", " "))) for wanted in request.wants.split())

    @property
    def end(self) -> DeskReply:
        """The last answer."""
        return self.replies[-1]


@dataclass(slots=True)
class Outcome:
    """What came of a spoken request."""

    success: bool = False
    acted_wrongly: bool = False
    asked_back: int = 0
    turns: list[tuple[str, str | None, str]] = field(default_factory=list)
    """What was said, what was understood, what was answered."""


Hear = Callable[[Said], Awaitable[Transcript]]
"""Lets the ear under test hear something of this caller."""


def goal(request: Request, now: datetime = TODAY) -> Goal:
    """What the typed request leads to."""
    desk = _given(request, now)
    asked = desk.type(request.text)
    if not asked.asks_yes_or_no or asked.told:
        return Goal((asked,))
    confirmed = desk.type(YES)
    return Goal((asked, confirmed) if confirmed.appointments != asked.appointments else (asked,))


async def talk(request: Request, hear: Hear) -> Outcome:
    """The talk, with what is spoken as `hear` has it."""
    wanted, desk, outcome = goal(request), _given(request, TODAY), Outcome()
    known = desk.appointments
    said, reached = Said(request.text), 0
    while True:
        heard = await hear(replace(said, yes_or_no=desk.asks_yes_or_no))
        reply = desk.hear(heard)
        outcome.turns.append((said.text, heard.text, reply.text))
        if reply.same_as(wanted.end):
            outcome.success = wanted.answers(request)
            return outcome
        if reached < len(wanted.replies) - 1 and reply.same_as(wanted.replies[reached]):
            reached, said = reached + 1, Said(YES)
            continue
        part = bool(reply.acts) and set(reply.acts) < set(
            wanted.end.acts
        )  # Of two wishes one is told, the other asked.
        if (reply.told and not part) or reply.hung_up or reply.appointments not in (known, wanted.end.appointments):
            outcome.acted_wrongly = True
            return outcome
        outcome.asked_back += 1
        if outcome.asked_back > _QUESTIONS_BACK:
            return outcome
        said = _answer(desk, reply, request, wanted, said.text)


def _answer(desk: Desk, reply: DeskReply, request: Request, wanted: Goal, last: str) -> Said:
    """What the caller says to a question back."""
    confirmed = desk.copy().type(YES)
    if any(confirmed.same_as(each) for each in wanted.replies):
        return Said(YES_PLEASE) if YES_PLEASE in reply.text.lower() else Said(YES, slowly=last == YES)
    if reply.asks_yes_or_no and not request.text.startswith(NO):
        return Said(f"{NO}, {request.text}")
    return Said(request.text, slowly=True)


def _given(request: Request, now: datetime) -> Desk:
    desk = Desk(now, language=request.language)
    for text in request.given:
        desk.type(text)
    return desk
