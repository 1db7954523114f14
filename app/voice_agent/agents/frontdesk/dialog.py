"""The talk at the front desk, as a pure function: what was said, what is remembered and the time give the answer.

::

    decide(heard, memory, now) -> answer, memory, hang up?

What a task still lacks is asked for (`Memory.asked`), and the next answer fills it in:

    book:    day -> time -> free and open? -> done, "anything else?"
    move:    which appointment -> day or time -> open? -> done
    cancel:  which appointment -> "shall I?" -> yes -> done
    order:   number -> status

A slot that cannot be had is refused with the reason and an offer; "yes" takes the offer.
"No, make it four" after something was done changes what was done. What was not understood
is said to be so and asked again, in other words each time; nothing is guessed.
All days and times are UTC, as is the clock.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from voice_agent.agents.frontdesk import saying
from voice_agent.agents.frontdesk.desk import APPOINTMENT_MINUTES, DAYS_AHEAD, OPENING_HOURS, ORDERS, hours
from voice_agent.agents.frontdesk.memory import Memory, Slot
from voice_agent.agents.frontdesk.understanding import Understood, understand

GREETING = "Hello, this is the front desk. How can I help you?"
ANYTHING_ELSE = "Is there anything else I can do for you?"
GOODBYE = "Thank you for calling. Goodbye."
ABILITIES = "I can book, move or cancel an appointment, tell you our opening hours, or look up an order."
EXAMPLES = {
    "day": "For example: next Tuesday, or the fifth of December.",
    "time": "For example: at three, or half past ten.",
    "when": "For example: next Tuesday at three.",
    "confirm": "Please say yes or no.",
    "offer": "Please say yes, or name another day and time.",
    "which": "Please name its day.",
    "order": "For example: four seven one one.",
}
QUESTIONS = {
    "help": "How can I help you?",
    "day": "Which day would suit you?",
    "time": "What time would suit you?",
    "when": "Which day and time would suit you?",
    "order": "What is the order number? It has four digits.",
    "more": ANYTHING_ELSE,
}


class Answer(NamedTuple):
    """What to say, what to remember, and whether to hang up after it."""

    text: str
    memory: Memory
    hang_up: bool = False


def greet(memory: Memory) -> Answer:
    """The caller has said nothing yet, or nothing new."""
    if not memory.last:
        return _say(GREETING, replace(memory, asked="help"))
    return _say(f"I am still here. {_question(memory)}", memory)


def decide(text: str | None, memory: Memory, now_ms: int) -> Answer:
    """The answer to a turn. `text` None: it was not understood; "": nothing was said."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    heard = understand(text or "", now.date())
    if not heard.anything:
        return _not_understood(memory, silent=text == "")
    answer = _decide(heard, memory, now)
    return answer if answer is not None else _not_understood(memory, silent=False)


def _decide(heard: Understood, memory: Memory, now: datetime) -> Answer | None:
    asks = heard.intents
    has_slot = heard.day is not None or heard.time is not None
    fresh = replace(memory, unclear=0)
    if heard.no_such_day:
        return _say(f"That day is not in the calendar. {QUESTIONS['day']}", replace(fresh, asked="day"))
    if "repeat" in asks and not has_slot:
        return _say(memory.last or GREETING, fresh)
    if "mine" in asks:
        return _tell_appointments(fresh)
    if "hours" in asks:
        return _tell_hours(heard, fresh)
    for task in ("cancel", "move", "book"):
        if task in asks and not (task == "book" and fresh.task == "move"):
            return _go_on(heard, _begin(fresh, task), now)
    if "order" in asks or heard.digits:
        return _tell_order(heard, fresh)
    if "bye" in asks:
        return _say(GOODBYE, Memory(appointments=memory.appointments), hang_up=True)
    if "other" in asks:
        return _say(QUESTIONS["when"], replace(fresh, asked="when", offer=None)) if fresh.task else None
    if has_slot:
        return _go_on(heard, fresh, now)
    return _small_answer(heard, fresh, now)


def _small_answer(heard: Understood, memory: Memory, now: datetime) -> Answer | None:
    """Yes, no, thanks, hello."""
    asks = heard.intents
    if "wrong" in asks:
        return _no(memory)
    if "right" in asks:
        return _yes(memory, now)
    if "thanks" in asks:
        return _say(f"You are welcome. {_question(memory)}", memory)
    if "hello" in asks:
        return _say(
            GREETING if memory.asked in ("", "help") else f"Hello. {_question(memory)}", _asking(memory, "help")
        )
    return None


def _yes(memory: Memory, now: datetime) -> Answer | None:
    if memory.asked == "offer" and memory.offer is not None:
        return _settle(replace(memory, slot=memory.offer, offer=None), now)
    if memory.asked == "confirm" and memory.task == "cancel" and memory.chosen is not None:
        gone = memory.appointments[memory.chosen]
        kept = tuple(slot for slot in memory.appointments if slot is not gone)
        text = f"Your appointment on {gone.spoken} is cancelled. {ANYTHING_ELSE}"
        return _say(text, Memory(asked="more", appointments=kept))
    if memory.asked == "confirm" and not memory.task:
        return _ask_when(_begin(memory, "book"))
    if memory.asked in ("more", "help", ""):
        return _say("What can I do for you?", _asking(memory, "help"))
    return None


def _no(memory: Memory) -> Answer | None:
    if memory.asked == "more":
        return _say(GOODBYE, Memory(appointments=memory.appointments), hang_up=True)
    if memory.asked == "confirm":
        kept = "Then it stays as it is. " if memory.task == "cancel" else ""
        return _say(kept + ANYTHING_ELSE, _idle(memory))
    if memory.asked == "offer":
        return _say(QUESTIONS["when"], replace(memory, asked="when", offer=None))
    return None


def _begin(memory: Memory, task: str) -> Memory:
    if task == memory.task:
        return memory
    return replace(memory, task=task, slot=Slot(), offer=None, chosen=None, done=None, asked="")


def _go_on(heard: Understood, memory: Memory, now: datetime) -> Answer | None:
    """A task was asked for, or a day or time was named."""
    if not memory.task:
        if memory.done is None:
            # A day or time out of nowhere: a caller who names one to a front desk wants an appointment.
            memory = _begin(memory, "book")
        else:
            memory = replace(memory, task="move", chosen=memory.done, slot=memory.appointments[memory.done])
            if "correct" not in heard.intents:
                offer = memory.slot.with_(heard)
                text = f"Shall I move your appointment to {offer.spoken.removeprefix('at ')}?"
                return _say(text, replace(memory, asked="offer", offer=offer))
    if memory.task in ("move", "cancel") and memory.chosen is None:
        return _choose(heard, memory, now)
    if memory.task == "cancel":
        return None
    if memory.task == "order":
        memory = _begin(memory, "book")
    base = memory.offer if memory.offer is not None and memory.asked == "offer" else memory.slot
    if heard.day is not None and heard.time is None and memory.asked == "offer":
        base = memory.slot
    return _settle(replace(memory, slot=base.with_(heard), offer=None), now, heard)


def _choose(heard: Understood, memory: Memory, now: datetime) -> Answer:
    """Find out which appointment is meant to be moved or cancelled."""
    held = memory.appointments
    if not held:
        return _say(
            "I have no appointment of yours from this call. Shall I book one?",
            replace(_idle(memory), asked="confirm"),
        )
    named = [index for index, slot in enumerate(held) if heard.day and slot.day == heard.day.isoformat()]
    by_day = memory.asked == "which" or memory.task == "cancel"
    if len(held) == 1:
        chosen = 0
    elif by_day and len(named) == 1:
        chosen, heard = named[0], Understood()
    else:
        choices = saying.one_of([slot.spoken for slot in held])
        return _say(f"Which one do you mean: {choices}?", replace(memory, asked="which"))
    memory = replace(memory, chosen=chosen, slot=held[chosen])
    if memory.task == "cancel":
        return _say(f"Shall I cancel your appointment on {held[chosen].spoken}?", replace(memory, asked="confirm"))
    if heard.day is None and heard.time is None:
        text = f"To which day and time shall I move your appointment on {held[chosen].spoken}?"
        return _say(text, replace(memory, asked="when"))
    return _settle(replace(memory, slot=memory.slot.with_(heard)), now)


def _settle(memory: Memory, now: datetime, heard: Understood | None = None) -> Answer:
    """Book or move to the slot of `memory` if that can be, else say what is missing or why not."""
    slot = memory.slot
    if slot.day is None or slot.time is None:
        refusal = _refuse_day(slot, now)
        return _offer(memory, *refusal) if refusal else _ask_when(memory, heard)
    refusal = _refuse_day(slot, now) or _refuse_time(memory, slot, now)
    if refusal:
        return _offer(memory, *refusal)
    if memory.chosen is None:
        held, index, said = (*memory.appointments, slot), len(memory.appointments), "Done"
    else:
        index = memory.chosen
        held, said = (*memory.appointments[:index], slot, *memory.appointments[index + 1 :]), "Changed"
    settled = Memory(asked="more", appointments=held, done=index)
    return _say(f"{said}: {slot.spoken}. {ANYTHING_ELSE}", settled)


def _ask_when(memory: Memory, heard: Understood | None = None) -> Answer:
    slot = memory.slot
    if slot.day is None:
        if slot.time is None:
            return _say(QUESTIONS["day"], replace(memory, asked="day"))
        return _say(f"Which day at {saying.time(slot.time)} would suit you?", replace(memory, asked="day"))
    named = date.fromisoformat(slot.day)
    text = f"What time on {saying.day(named)} would suit you?"
    return _say(text, replace(memory, asked="time"))


def _offer(memory: Memory, reason: str, offer: Slot) -> Answer:
    text = f"{reason} Would {offer.spoken.removeprefix('at ')} suit you?"
    return _say(text, replace(memory, asked="offer", offer=offer))


def _refuse_day(slot: Slot, now: datetime) -> tuple[str, Slot] | None:
    """Why no appointment can be on this day, and another day."""
    if slot.day is None:
        return None
    day = date.fromisoformat(slot.day)
    if day < now.date():
        return "That day is past.", Slot(_next_open(now.date() + timedelta(days=1)), slot.time)
    if day > now.date() + timedelta(days=DAYS_AHEAD):
        return "We book no more than a year ahead.", Slot(_next_open(now.date() + timedelta(days=1)), slot.time)
    if hours(day) is None:
        return f"We are closed on {day:%A}s.", Slot(_next_open(day), slot.time)
    return None


def _refuse_time(memory: Memory, slot: Slot, now: datetime) -> tuple[str, Slot] | None:
    """Why no appointment can be at this time of an open day, and another time."""
    assert slot.day is not None
    assert slot.time is not None
    day = date.fromisoformat(slot.day)
    open_hours = hours(day)
    assert open_hours is not None
    last = open_hours.closes - APPOINTMENT_MINUTES
    if day == now.date() and slot.time <= now.hour * 60 + now.minute:
        soonest = (now.hour * 60 + now.minute) // 30 * 30 + 60
        if open_hours.opens <= soonest <= last:
            return "That time is past.", Slot(slot.day, soonest)
        return "That time is past.", Slot(_next_open(day + timedelta(days=1)), None)
    if not open_hours.opens <= slot.time <= last:
        said = f"On {day:%A}s we are open from {saying.time(open_hours.opens)} to {saying.time(open_hours.closes)}"
        nearest = open_hours.opens if slot.time < open_hours.opens else last
        return f"{said}, and an appointment takes half an hour.", Slot(slot.day, nearest)
    if any(held == slot for index, held in enumerate(memory.appointments) if index != memory.chosen):
        return "You have an appointment at that time already.", Slot(_next_open(day + timedelta(days=1)), None)
    return None


def _next_open(day: date) -> str:
    while hours(day) is None:
        day += timedelta(days=1)
    return day.isoformat()


def _tell_appointments(memory: Memory) -> Answer:
    if not memory.appointments:
        return _say(
            "I have no appointment of yours from this call. Shall I book one?", replace(_idle(memory), asked="confirm")
        )
    listed = " and ".join(slot.spoken for slot in memory.appointments)
    plural = "appointments are" if len(memory.appointments) > 1 else "appointment is"
    return _say(f"Your {plural} on {listed}. {_question(memory)}", memory)


def _tell_hours(heard: Understood, memory: Memory) -> Answer:
    if heard.day is None:
        week, saturday = OPENING_HOURS[0], OPENING_HOURS[5]
        text = (
            f"We are open from Monday to Friday from {saying.time(week.opens)} to {saying.time(week.closes)}, "
            f"and on Saturday from {saying.time(saturday.opens)} to {saying.time(saturday.closes)}."
        )
    else:
        open_hours = hours(heard.day)
        text = (
            f"On {saying.day(heard.day)} we are open from {saying.time(open_hours.opens)} "
            f"to {saying.time(open_hours.closes)}."
            if open_hours
            else f"On {saying.day(heard.day)} we are closed."
        )
    return _say(f"{text} {_question(memory)}", _asking(memory, "more"))


def _tell_order(heard: Understood, memory: Memory) -> Answer:
    if not heard.digits:
        return _say(QUESTIONS["order"], replace(_begin(memory, "order"), asked="order"))
    status = ORDERS.get(heard.digits)
    spoken = saying.digits(heard.digits)
    if status is None:
        text = f"I cannot find an order number {spoken}. Please say the four digits again."
        return _say(text, replace(_begin(memory, "order"), asked="order"))
    return _say(f"Order number {spoken} {status}. {ANYTHING_ELSE}", _idle(memory))


def _not_understood(memory: Memory, *, silent: bool) -> Answer:
    """Say so and ask again; other words each time in a row."""
    question = _question(memory)
    if memory.unclear == 0:
        sorry = "I did not hear anything." if silent else "I am sorry, I did not understand that."
        text = f"{sorry} {question}"
    elif memory.unclear % 2:
        text = f"I still did not get that. {EXAMPLES.get(memory.asked, ABILITIES)} {question}"
    else:
        text = f"Sorry, once more in other words, please. {ABILITIES}"
    said = replace(memory, unclear=memory.unclear + 1, asked=memory.asked or "help")
    return Answer(text, said)


def _question(memory: Memory) -> str:
    """The question that is open, asked again."""
    if memory.asked == "time" and memory.slot.day:
        return f"What time on {saying.day(date.fromisoformat(memory.slot.day))} would suit you?"
    if memory.asked == "offer" and memory.offer is not None:
        return f"Would {memory.offer.spoken.removeprefix('at ')} suit you?"
    if memory.asked == "confirm":
        if memory.task == "cancel" and memory.chosen is not None:
            return f"Shall I cancel your appointment on {memory.appointments[memory.chosen].spoken}?"
        return "Shall I book an appointment?"
    if memory.asked == "which":
        return "Which appointment do you mean?"
    return QUESTIONS.get(memory.asked, QUESTIONS["help"])


def _idle(memory: Memory) -> Memory:
    """No task under way; what was booked is kept."""
    return Memory(asked="more", appointments=memory.appointments)


def _asking(memory: Memory, asked: str) -> Memory:
    """`asked` is the open question if no task has one."""
    return memory if memory.task else replace(memory, asked=asked)


def _say(text: str, memory: Memory, *, hang_up: bool = False) -> Answer:
    return Answer(text, replace(memory, last=text, unclear=0), hang_up)
