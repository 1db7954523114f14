"""What an answer of the front desk is, and the questions that are open after it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

from voice_agent.agents.frontdesk import saying
from voice_agent.agents.frontdesk.desk import DeskContext
from voice_agent.agents.frontdesk.memory import Memory


@dataclass(frozen=True, slots=True)
class Answer:
    """What to say, what to remember, and what to do after it."""

    told: str
    question: str
    memory: Memory
    acts: tuple[str, ...] = ()
    """What was done or told on it: "order 4711", "book 2026-12-01 15:00", "hours"."""
    asks_back: bool = False
    """Nothing was acted on: the question is whether, or what, the caller said."""
    hang_up: bool = False
    transfer: str = ""

    @property
    def text(self) -> str:
        """All that is said."""
        return f"{self.told} {self.question}".strip()


def idle(memory: Memory) -> Memory:
    """No task under way; what was booked is kept, and so is what waits for its turn."""
    return Memory(asked="more", appointments=memory.appointments, later=memory.later, readings=memory.readings)


def begun(memory: Memory, task: str) -> Memory:
    """`memory` with that task under way, from its beginning unless it is already."""
    if task == memory.task:
        return memory
    return Memory(
        task=task,
        appointments=memory.appointments,
        later=memory.later,
        last=memory.last,
        readings=memory.readings,
    )


def done(told: str, memory: Memory, desk: DeskContext, act: str) -> Answer:
    """Something was done or told, and nothing is open."""
    return Answer(told, desk.language.say("anything_else"), replace(idle(memory), done=memory.done), (act,))


def asking(asked: str, memory: Memory, desk: DeskContext, told: str = "") -> Answer:
    """A question whose words are those of what is remembered."""
    memory = replace(memory, asked=asked)
    return Answer(told, open_question(memory, desk), memory)


def open_question(memory: Memory, desk: DeskContext) -> str:
    """The question that is open, also to be asked again."""
    language = desk.language
    slot = memory.slot
    match memory.asked:
        case "more":
            return language.say("anything_else")
        case "day" if slot.time is not None:
            return language.say("ask_day_at", time=saying.time(slot.time, language))
        case "time" if slot.day:
            return language.say("ask_time_on", day=saying.day(date.fromisoformat(slot.day), language))
        case "when" if memory.task == "move" and memory.chosen is not None:
            return language.say("ask_move_to", slot=memory.appointments[memory.chosen].spoken(language))
        case "offer" if memory.offer is not None:
            return _offered(memory, desk)
        case "confirm":
            if memory.task == "cancel" and memory.chosen is not None:
                return language.say("ask_cancel", slot=memory.appointments[memory.chosen].spoken(language))
            return language.say("ask_book_any")
        case "which":
            return language.say("ask_which_again")
        case "name_right":
            return language.say("ask_name_right", name=memory.name, spelt=" ".join(memory.name.upper()))
    return language.answers.get(f"ask_{memory.asked}", language.answers["ask_help"])


def _offered(memory: Memory, desk: DeskContext) -> str:
    """What was asked for is read back, and another is offered."""
    language, offer = desk.language, memory.offer
    assert offer is not None
    if offer != memory.slot or not offer.is_complete:
        return language.say("ask_offer", slot=offer.spoken(language))
    if memory.task == "move" and memory.chosen is not None:
        held = memory.appointments[memory.chosen]
        return language.say("ask_move", slot=held.spoken(language), new=offer.spoken(language))
    return language.say("ask_book", slot=offer.spoken(language))
