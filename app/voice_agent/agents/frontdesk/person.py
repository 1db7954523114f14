"""A caller who wants a person: put through where the settings name one, and else called back by the name they spell."""

from __future__ import annotations

from dataclasses import replace

from voice_agent.agents.frontdesk.answers import Answer, asking, begun, done
from voice_agent.agents.frontdesk.desk import DeskContext
from voice_agent.agents.frontdesk.memory import Memory
from voice_agent.agents.frontdesk.names import name_in


def wanted(memory: Memory, desk: DeskContext) -> Answer:
    """A person was asked for."""
    if desk.person:
        return Answer(desk.language.say("transfer"), "", memory, ("person",), transfer=desk.person)
    return replace(asking("callback", begun(memory, "person"), desk), acts=("person",))


def named(text: str, memory: Memory, desk: DeskContext) -> Answer | None:
    """What was said when the name was asked for; None: no name is in it."""
    name = name_in(text, desk.language)
    if name is None:
        return None
    return asking("name_right", replace(memory, name=name), desk)


def confirmed(memory: Memory, desk: DeskContext) -> Answer | None:
    """A yes to a question of this; None: none of them is open."""
    if memory.asked == "callback":
        return asking("name", memory, desk)
    if memory.asked == "name_right":
        return done(desk.language.say("callback", name=memory.name), memory, desk, f"callback {memory.name}")
    return None


def denied(memory: Memory, desk: DeskContext) -> Answer | None:
    """A no to the name as it was understood."""
    if memory.asked == "name_right":
        return Answer("", desk.language.say("ask_name_again"), replace(memory, asked="name", name=""))
    return None
