"""Booking, moving and cancelling: what is still missing is asked for, and nothing is changed before a yes.

::

    book:    day -> time -> free and open? -> read back -> yes -> done
    move:    which appointment -> day or time -> open? -> read back -> yes -> done
    cancel:  which appointment -> "shall I?" -> yes -> done

A slot that cannot be had is refused with the reason and an offer; "yes" takes the offer.
Days and times are by the caller's clock, opening hours by the desk's.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

from voice_agent.agents.frontdesk import saying, zones
from voice_agent.agents.frontdesk.answers import Answer, asking, begun, done, idle
from voice_agent.agents.frontdesk.desk import APPOINTMENT_MINUTES, DAYS_AHEAD, DeskContext, hours, next_open
from voice_agent.agents.frontdesk.memory import MAX_APPOINTMENTS, Memory, Slot
from voice_agent.agents.frontdesk.understanding import Understood
from voice_agent.agents.frontdesk.zones import LocalTime


def go_on(heard: Understood, memory: Memory, desk: DeskContext) -> Answer | None:
    """A task was asked for, or a day or time was named."""
    if not memory.task and memory.done is not None:
        memory = replace(memory, task="move", chosen=memory.done, slot=memory.appointments[memory.done])
    elif memory.task not in ("book", "move", "cancel"):
        # A day or time out of nowhere: a caller who names one to a front desk wants an appointment.
        memory = begun(memory, "book")
    if memory.task in ("move", "cancel") and memory.chosen is None:
        return _choose(heard, memory, desk)
    if memory.task == "cancel":
        return asking("confirm", memory, desk)
    base = memory.offer if memory.offer is not None and memory.asked == "offer" else memory.slot
    if heard.day is not None and heard.time is None and memory.asked == "offer":
        base = memory.slot
    if not heard.has_slot and "soonest" in heard.intents:
        return _offer("", _soonest(desk), memory, desk)
    zone = heard.zone or memory.zone
    return settle(replace(memory, slot=base.with_(heard), offer=None, zone=zone), desk)


def _choose(heard: Understood, memory: Memory, desk: DeskContext) -> Answer:
    """Find out which appointment is meant to be moved or cancelled."""
    held, language = memory.appointments, desk.language
    if not held:
        return asking("confirm", idle(memory), desk, language.say("none"))
    wanted = heard.from_day or (heard.day if memory.asked == "which" or memory.task == "cancel" else None)
    named = [index for index, slot in enumerate(held) if wanted and slot.day == wanted.isoformat()]
    if len(held) == 1:
        chosen = 0
        if named and wanted == heard.day:
            heard = replace(heard, day=None)
    elif len(named) == 1:
        chosen = named[0]
        heard = replace(heard, day=None) if wanted == heard.day else heard
    else:
        slots = saying.listed([slot.spoken(language) for slot in held], language)
        return Answer("", language.say("ask_which", slots=slots), replace(memory, asked="which"))
    memory = replace(memory, chosen=chosen, slot=held[chosen])
    if memory.task == "cancel":
        return asking("confirm", memory, desk)
    if not heard.has_slot:
        return asking("when", memory, desk)
    return settle(replace(memory, slot=memory.slot.with_(heard), zone=heard.zone or ""), desk)


def settle(memory: Memory, desk: DeskContext) -> Answer:
    """Ask what is missing of the slot, say why it cannot be had, or read it back. Changes nothing."""
    memory = _in_callers_zone(memory, desk)
    slot = memory.slot
    refusal = _refusal(memory, desk)
    if refusal is not None:
        return _offer(*refusal, memory, desk)
    if slot.day is None:
        return asking("day", memory, desk)
    if slot.time is None:
        return asking("time", memory, desk)
    if memory.chosen is not None and memory.appointments[memory.chosen] == slot:
        told = desk.language.say("same_slot", slot=slot.spoken(desk.language))
        return Answer(told, desk.language.say("anything_else"), replace(idle(memory), done=memory.chosen))
    return asking("offer", replace(memory, offer=slot), desk, _remarks(slot, desk))


def carry_out(memory: Memory, desk: DeskContext) -> Answer:
    """A yes to what was read back or offered."""
    assert memory.offer is not None
    memory = replace(memory, slot=memory.offer, offer=None)
    if not memory.slot.is_complete or _refusal(memory, desk) is not None:
        return settle(memory, desk)
    slot, held, language = memory.slot, memory.appointments, desk.language
    moment = f"{slot.day} {_clock(slot.time or 0)}"
    if memory.chosen is None:
        kept = (*held, slot)[-MAX_APPOINTMENTS:]
        booked = replace(memory, appointments=kept, done=len(kept) - 1)
        return done(language.say("booked", slot=slot.spoken(language)), booked, desk, f"book {moment}")
    index = memory.chosen
    moved = replace(memory, appointments=(*held[:index], slot, *held[index + 1 :]), done=index)
    return done(language.say("moved", slot=slot.spoken(language)), moved, desk, f"move {moment}")


def refused(heard: Understood, memory: Memory, desk: DeskContext) -> Answer:
    """A no to what was read back or offered; to only the day, or the time, where that was said."""
    offer = memory.offer or memory.slot
    weekday = date.fromisoformat(offer.day).weekday() if offer.day else None
    not_day = heard.not_day is not None and heard.not_day.weekday() == weekday
    not_time = heard.not_time is not None and offer.time == heard.not_time
    memory = replace(memory, offer=None)
    if not_day == not_time or (memory.slot != offer):
        return asking("when", memory, desk)
    return settle(replace(memory, slot=Slot(None, offer.time) if not_day else Slot(offer.day, None)), desk)


def cancel(memory: Memory, desk: DeskContext) -> Answer:
    """A yes to that."""
    assert memory.chosen is not None
    gone = memory.appointments[memory.chosen]
    kept = tuple(slot for slot in memory.appointments if slot is not gone)
    told = desk.language.say("cancelled", slot=gone.spoken(desk.language))
    act = f"cancel {gone.day} {_clock(gone.time or 0)}"
    return done(told, replace(memory, appointments=kept, done=None), desk, act)


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _in_callers_zone(memory: Memory, desk: DeskContext) -> Memory:
    """What was said in another zone's time, once day and time of it are known."""
    slot = memory.slot
    if not memory.zone or slot.day is None or slot.time is None:
        return memory
    try:
        moment = zones.local(slot.day, slot.time, zones.zone(memory.zone))
        day, minutes = zones.elsewhere_at(moment, desk.callers_zone)
    except (ValueError, OverflowError):
        return replace(memory, zone="")
    return replace(memory, zone="", slot=Slot(day, minutes))


def _remarks(slot: Slot, desk: DeskContext) -> str:
    """What is to be said of a slot beside its day and time."""
    assert slot.day is not None
    assert slot.time is not None
    moment = zones.local(slot.day, slot.time, desk.callers_zone)
    remarks = [desk.language.say("twice")] if zones.how_often(moment) is LocalTime.TWICE else []
    _, minutes = zones.elsewhere_at(moment, desk.desk_zone)
    if minutes != slot.time:
        remarks.append(desk.language.say("here", time=saying.time(minutes, desk.language)))
    return " ".join(remarks)


def _offer(reason: str, offer: Slot, memory: Memory, desk: DeskContext) -> Answer:
    return asking("offer", replace(memory, offer=offer), desk, reason)


def _refusal(memory: Memory, desk: DeskContext) -> tuple[str, Slot] | None:
    """Why the slot cannot be had as far as it is known, and another; None: it can, or it is not known yet."""
    slot = memory.slot
    if slot.day is None:
        return None
    day, language = date.fromisoformat(slot.day), desk.language
    tomorrow = next_open(desk.today + timedelta(days=1)).isoformat()
    if day < desk.today:
        return language.say("past_day"), Slot(tomorrow, slot.time)
    if day > desk.today + timedelta(days=DAYS_AHEAD):
        return language.say("too_far"), Slot(tomorrow, slot.time)
    if slot.time is None:
        if desk.is_elsewhere:
            return None  # Which day it is at the desk depends on the time.
        return _closed(day, slot.time, desk)
    moment = zones.local(slot.day, slot.time, desk.callers_zone)
    if zones.how_often(moment) is LocalTime.SKIPPED:
        opening = next_open(day)
        open_hours = hours(opening)
        assert open_hours is not None  # `next_open` finds days that have some
        return language.say("skipped"), _callers(opening, open_hours.opens, desk)
    return _refused_at(moment, memory, desk)


def _refused_at(moment: datetime, memory: Memory, desk: DeskContext) -> tuple[str, Slot] | None:
    """Why not at this moment, by the desk's clock and its hours."""
    language = desk.language
    named, minutes = zones.elsewhere_at(moment, desk.desk_zone)
    day = date.fromisoformat(named)
    closed = _closed(day, minutes, desk)
    if closed is not None:
        return closed
    if moment <= desk.now:
        return language.say("past_time"), _soonest(desk, day)
    open_hours = hours(day)
    assert open_hours is not None
    last = open_hours.closes - APPOINTMENT_MINUTES
    if not open_hours.opens <= minutes <= last:
        opens, closes = (saying.time(each, language) for each in open_hours)
        said = language.say("hours_on", weekday=language.weekdays[day.weekday()], opens=opens, closes=closes)
        return said, _callers(day, open_hours.opens if minutes < open_hours.opens else last, desk)
    if any(held == memory.slot for index, held in enumerate(memory.appointments) if index != memory.chosen):
        return language.say("taken"), Slot(next_open(day + timedelta(days=1)).isoformat())
    return None


def _closed(day: date, minutes: int | None, desk: DeskContext) -> tuple[str, Slot] | None:
    if hours(day) is not None:
        return None
    said = desk.language.say("closed_on", weekday=desk.language.weekdays[day.weekday()])
    opening = next_open(day)
    return said, Slot(opening.isoformat()) if minutes is None else _callers(opening, minutes, desk)


def _soonest(desk: DeskContext, day: date | None = None) -> Slot:
    """The first half hour that can be had from now on; not on `day`: only its date, of the next one that is open."""
    there = desk.now.astimezone(desk.desk_zone)
    soonest = (there.hour * 60 + there.minute) // 30 * 30 + 60
    open_hours = hours(there.date())
    if open_hours is not None and soonest <= open_hours.closes - APPOINTMENT_MINUTES:
        return _callers(there.date(), max(soonest, open_hours.opens), desk)
    opening = next_open(there.date() + timedelta(days=1))
    if day is not None:
        return Slot(next_open(day + timedelta(days=1)).isoformat())
    first = hours(opening)
    assert first is not None
    return _callers(opening, first.opens, desk)


def _callers(day: date, minutes: int, desk: DeskContext) -> Slot:
    """A day and a time of the desk's clock, by the caller's."""
    return Slot(*zones.elsewhere_at(zones.local(day.isoformat(), minutes, desk.desk_zone), desk.callers_zone))
