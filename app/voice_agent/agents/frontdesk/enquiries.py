"""What callers ask and nothing is changed by: opening hours, orders, their appointments."""

from __future__ import annotations

from dataclasses import replace

from voice_agent.agents.frontdesk import saying
from voice_agent.agents.frontdesk.answers import Answer, asking, begun, done, idle, open_question
from voice_agent.agents.frontdesk.desk import OPENING_HOURS, DeskContext, hours
from voice_agent.agents.frontdesk.memory import Memory
from voice_agent.agents.frontdesk.plain import NUMBER_DIGITS
from voice_agent.agents.frontdesk.understanding import Understood

ENQUIRIES = frozenset({"hours", "mine", "order"})


def tell(heard: Understood, memory: Memory, desk: DeskContext) -> Answer:
    """The answer to an enquiry; a task under way stays so."""
    match heard.task:
        case "hours":
            return _beside(_hours(heard, desk), memory, desk, "hours" + (f" {heard.day}" if heard.day else ""))
        case "mine":
            return _appointments(memory, desk)
        case _:
            return _order(heard, memory, desk)


def _beside(told: str, memory: Memory, desk: DeskContext, act: str) -> Answer:
    """Something was told; the question that is open is asked again."""
    memory = memory if memory.task else replace(memory, asked="more")
    return Answer(told, open_question(memory, desk), memory, (act,))


def _hours(heard: Understood, desk: DeskContext) -> str:
    language = desk.language
    if heard.day is not None:
        day, open_hours = saying.day(heard.day, language), hours(heard.day)
        if open_hours is None:
            return language.say("hours_closed", day=day)
        opens, closes = (saying.time(each, language) for each in open_hours)
        return language.say("hours_day", day=day, opens=opens, closes=closes)
    week, saturday = OPENING_HOURS[0], OPENING_HOURS[5]
    return language.say(
        "hours_week",
        opens=saying.time(week.opens, language),
        closes=saying.time(week.closes, language),
        saturday_opens=saying.time(saturday.opens, language),
        saturday_closes=saying.time(saturday.closes, language),
    )


def _appointments(memory: Memory, desk: DeskContext) -> Answer:
    language = desk.language
    if not memory.appointments:
        return replace(asking("confirm", idle(memory), desk, language.say("none")), acts=("mine",))
    slots = saying.listed([slot.spoken(language) for slot in memory.appointments], language, "and")
    return _beside(
        language.say("mine" if len(memory.appointments) == 1 else "mine_many", slots=slots), memory, desk, "mine"
    )


def _order(heard: Understood, memory: Memory, desk: DeskContext) -> Answer:
    language, digits = desk.language, heard.digits
    if not digits:
        return asking("order", begun(memory, "order"), desk)
    if len(digits) != NUMBER_DIGITS:
        return _wrong_length(digits, memory, desk)
    spoken = saying.digits(digits, language)
    status = language.orders.get(digits)
    if status is None:
        told = language.say("order_unknown", digits=spoken)
        return Answer(told, "", replace(begun(memory, "order"), asked="order"), (f"order {digits}",))
    told = language.say("order", digits=spoken, status=status)
    if memory.task not in ("", "order"):
        return _beside(told, memory, desk, f"order {digits}")
    return done(told, memory, desk, f"order {digits}")


def _wrong_length(digits: str, memory: Memory, desk: DeskContext) -> Answer:
    """An ear adds a zero to a number that sounds long; which order is meant is asked back if only one can be."""
    memory = replace(begun(memory, "order"), asked="order")
    near = [order for order in desk.language.orders if order in _shortened(digits)]
    question = desk.language.say("doubt_order", digits=saying.digits(near[0], desk.language)) if near else ""
    if len(near) == 1 and question not in memory.readings.denied:
        return Answer("", question, replace(memory, doubt=near[0]), asks_back=True)
    told = desk.language.say("order_length", digits=saying.digits(digits[:12], desk.language))
    return Answer(told, "", memory, asks_back=True)


def _shortened(digits: str) -> set[str]:
    """What is left of digits that are one too many."""
    if len(digits) != NUMBER_DIGITS + 1:
        return set()
    return {digits[:at] + digits[at + 1 :] for at in range(len(digits))}
