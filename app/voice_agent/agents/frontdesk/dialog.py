"""The talk at the front desk, as a pure function: what was said, what is remembered and the moment give the answer.

::

    decide(said, memory, desk) -> told, question, memory, acts

What a task still lacks is asked for (`Memory.asked`), and the next answer fills it in. Nothing is changed before what
is going to be done was read back and a yes came (`booking`). What is uncertain is asked back (`doubts`). Of several
wishes in one breath what only is to be told is told at once, and tasks come one after the other (`Memory.later`). What
was not understood is said to be so and asked again, in other words each time; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date

from voice_agent.agents.frontdesk import booking, doubts, enquiries, interruptions, person
from voice_agent.agents.frontdesk.answers import Answer, asking, begun, idle, open_question
from voice_agent.agents.frontdesk.desk import DeskContext
from voice_agent.agents.frontdesk.doubts import CallersWords, Weighed
from voice_agent.agents.frontdesk.memory import Memory, Slot
from voice_agent.agents.frontdesk.plain import NUMBER_DIGITS
from voice_agent.agents.frontdesk.understanding import Understood, is_bare, understand, understand_plain

MAX_LATER = 3
MAX_LATER_CHARS = 300
MOST_WORDS_OF_A_NO = 7
"""To "anything else?", without a thank you or a goodbye."""
_CHANGES = ("cancel", "move")
_YES_OR_NO = ("confirm", "offer")
"""Questions to which a yes is due."""
_READ_BACK = frozenset({"offer", "confirm", "callback", "name_right"})
"""Questions that read back what is going to be done."""
_ANSWERS = frozenset({"right", "wrong", "bye", "thanks", "repeat", "drop"})


def greet(memory: Memory, desk: DeskContext) -> Answer:
    """The caller has said nothing yet, or nothing new."""
    if memory.last:
        answer = Answer(desk.language.say("still_here"), open_question(memory, desk), memory)
    else:
        answer = Answer(desk.language.say("greeting"), "", replace(memory, asked="help"))
    return interruptions.remembered(_remembered(answer))


def decide(said: CallersWords, memory: Memory, desk: DeskContext) -> Answer:
    """The answer to a turn."""
    answer = interruptions.answer_to(said, memory, desk) or _answer_to(said, memory, desk)
    return interruptions.remembered(answer)


def _answer_to(said: CallersWords, memory: Memory, desk: DeskContext) -> Answer:
    heard = doubts.weighed(said, memory, desk)
    answer = None
    if memory.asked == "name" and not memory.doubt and said.text:
        answer = _name_or_wish(said, heard, memory, desk)
    if answer is None and heard.wishes:
        answer = _doubt_answered(heard, memory, desk) if memory.doubt else _turn_answered(heard, memory, desk)
    if answer is None and said.text and memory.said.text and interruptions.says_nothing(said, desk):
        return Answer("", "", memory)
    if answer is None:
        return _not_understood(said, memory, desk)
    if answer.acts or (_names_something(heard) and not (heard.uncertain or answer.asks_back)):
        answer = replace(answer, memory=answer.memory.reading(denied=()))
    return _remembered(answer)


def _remembered(answer: Answer) -> Answer:
    return replace(answer, memory=replace(answer.memory, last=answer.text, unclear=0))


def _turn_answered(heard: Weighed, memory: Memory, desk: DeskContext) -> Answer | None:
    """No doubt is open."""
    if heard.uncertain:
        return _first_not_denied(doubts.readings(heard, memory, desk), memory, desk)
    answer = _answered(heard.wishes, replace(memory, unclear=0).reading(others=()), desk)
    if answer is not None and answer.text == memory.last:  # Said again.
        return replace(answer, memory=answer.memory.reading(others=memory.readings.others))
    return answer if answer is None else _with_denied(heard.wishes, answer, memory, desk)


def _with_denied(wishes: tuple[Understood, ...], answer: Answer, memory: Memory, desk: DeskContext) -> Answer:
    """`answer`; of a no to what was read back: that is remembered, and what else it may have been is asked about."""
    if memory.asked not in _READ_BACK or not is_bare("wrong", wishes):
        return answer
    after = answer.memory.reading(denied=doubts.denied(memory, desk))
    return _other(memory.readings.others, after, desk) or replace(answer, memory=after)


def _other(others: tuple[str, ...], memory: Memory, desk: DeskContext) -> Answer | None:
    """The question whether it was one of those, in place of what was denied; the last such question."""
    for text in others:
        wishes = understand(text, desk.language, desk.today, memory.asked)
        answer = _first_not_denied([Weighed(text, wishes, True)], memory, desk) if wishes else None
        if answer is not None and answer.asks_back:
            return answer
    return None


def _first_not_denied(readings: Iterable[Weighed], memory: Memory, desk: DeskContext) -> Answer | None:
    """What is asked about a turn that is uncertain; None: nothing that was not denied."""
    for heard in readings:
        answer = _answered(heard.wishes, replace(memory, unclear=0).reading(others=()), desk) if heard.wishes else None
        if answer is None or _is_harmless(heard, answer):
            return answer
        answer = doubts.asked_back(heard, answer, memory.reading(others=()), desk)
        if answer.question not in memory.readings.denied:
            return answer
    return None


def _is_harmless(heard: Weighed, answer: Answer) -> bool:
    """Whether it does not matter if it was said: a greeting, a "pardon?"."""
    return not (_names_something(heard) or answer.acts) and not (
        heard.wishes[0].intents & {"right", "wrong", "bye", "drop", "soonest", "other"}
    )


def _names_something(heard: Weighed) -> bool:
    return len(heard.wishes) > 1 or any(wish.task or wish.has_slot or wish.digits for wish in heard.wishes)


def _doubt_answered(heard: Weighed, memory: Memory, desk: DeskContext) -> Answer | None:
    """After "did you say …?": yes makes it so, no asks for it anew, and anything else is taken for itself."""
    doubt, without = memory.doubt, replace(memory, doubt="").reading(others=())
    confirmed = understand(doubt, desk.language, desk.today, memory.asked)
    if is_bare("repeat", heard.wishes):
        return Answer(memory.last, "", memory, asks_back=True)
    is_denied = "wrong" in heard.wishes[0].intents
    if is_denied and is_bare("right", confirmed):
        return _turn_answered(heard, without, desk)  # "Was that a yes?" "No.": it was one.
    if is_denied and not is_bare("wrong", confirmed):
        without = without.reading(denied=doubts.denied(memory, desk))
    if is_bare("wrong", heard.wishes):
        again = Answer("", desk.language.say("say_again"), without, asks_back=True)
        return _other(memory.readings.others, without, desk) or again
    if not is_bare("right", heard.wishes):
        return _turn_answered(heard, without, desk)
    answer = _answered(confirmed, replace(without, unclear=0), desk)
    if heard.uncertain and answer is not None and any(not _only_tells(act) for act in answer.acts):
        return Answer("", doubts.question(Weighed(doubt, confirmed, True), desk), memory, asks_back=True)
    return answer if answer is None else _with_denied(confirmed, answer, without, desk)


def _only_tells(act: str) -> bool:
    return act.partition(" ")[0] in enquiries.ENQUIRIES


def _name_or_wish(said: CallersWords, heard: Weighed, memory: Memory, desk: DeskContext) -> Answer | None:
    """A name, where one was asked for and no wish was said."""
    intents = frozenset().union(*(wish.intents for wish in heard.wishes)) if heard.wishes else frozenset()
    if intents & {"repeat", "drop", "bye"} or any(wish.task or wish.digits for wish in heard.wishes):
        return None
    for text in (said.text or "", *said.alternatives):
        answer = person.named(text, memory, desk)
        if answer is None or not said.uncertain or answer.question not in memory.readings.denied:
            return answer
    return None


def _answered(wishes: tuple[Understood, ...], memory: Memory, desk: DeskContext) -> Answer | None:
    """The answer to all of them: an answer to the open question, what is to be told, then one task after the other."""
    first, *others = wishes
    answers: list[Answer] = []
    if others and not first.task:
        answer = _one(first, memory, desk)
        if answer is not None and (answer.acts or first.has_slot):
            answers.append(answer)
            memory = answer.memory
        wishes = tuple(others)
    for wish in [wish for wish in wishes if _can_be_told(wish)]:
        answers.append(enquiries.tell(wish, memory, desk))
        memory = answers[-1].memory
    tasks = [wish for wish in wishes if not _can_be_told(wish)]
    if tasks:
        waiting = tuple(wish.text[:MAX_LATER_CHARS] for wish in tasks[1:])
        memory = replace(memory, later=(*waiting, *memory.later)[:MAX_LATER])
        answer = _one(tasks[0], memory, desk)
        if answer is None:
            return None if not answers else _joined(answers, desk)
        answers.append(answer)
    return _joined(_with_later(answers, desk), desk) if answers else None


def _can_be_told(wish: Understood) -> bool:
    if wish.task == "order":
        return wish.digits is not None and len(wish.digits) == NUMBER_DIGITS
    return wish.task in enquiries.ENQUIRIES


def _with_later(answers: list[Answer], desk: DeskContext) -> list[Answer]:
    """`answers`, and the next wish that has waited, if nothing else is open."""
    memory = answers[-1].memory
    while memory.later and memory.asked == "more" and not (answers[-1].hang_up or answers[-1].transfer):
        wish = understand_plain(memory.later[0], desk.language, desk.today)
        answer = _one(wish, replace(memory, later=memory.later[1:]), desk)
        memory = replace(memory, later=memory.later[1:]) if answer is None else answer.memory
        answers.append(Answer("", open_question(memory, desk), memory) if answer is None else answer)
    return answers


def _joined(answers: list[Answer], desk: DeskContext) -> Answer:
    """All of them in one: what is told in their order, and the last one's question."""
    if len(answers) == 1:
        return answers[0]
    told = " ".join(answer.told for answer in answers if answer.told)
    acts = tuple(act for answer in answers for act in answer.acts)
    return replace(answers[-1], told=told, acts=acts)


def _one(heard: Understood, memory: Memory, desk: DeskContext) -> Answer | None:
    """The answer to one wish; None: it means nothing here."""
    asks = heard.intents
    if heard.no_such_day:
        task = memory if memory.task in ("book", "move") else begun(memory, heard.task or "book")
        return asking(
            "day", replace(task, slot=replace(task.slot, day=None), offer=None), desk, desk.language.say("no_such_day")
        )
    if _is_agreement(heard, memory):
        return _yes(memory, desk)
    if "repeat" in asks and not (heard.has_slot or heard.task):
        return Answer(memory.last or desk.language.say("greeting"), "", memory)
    if (
        "drop" in asks
        and memory.task
        and heard.task in ("", "cancel")
        and not heard.has_slot
        and memory.asked != "more"
    ):
        return _dropped(memory, desk)
    if heard.task == "person":
        return person.wanted(memory, desk)
    if heard.task in ("cancel", "move", "book") and not (heard.task == "book" and memory.task == "move"):
        return booking.go_on(heard, begun(memory, heard.task), desk)
    if heard.task in enquiries.ENQUIRIES or heard.digits:
        return enquiries.tell(heard, memory, desk)
    if "bye" in asks and not heard.has_slot:
        return _goodbye(memory, desk)
    if "other" in asks and not heard.has_slot:
        return asking("when", replace(memory, offer=None), desk) if memory.task else None
    if heard.has_slot or "soonest" in asks:
        return booking.go_on(heard, memory, desk)
    return _small_answer(heard, memory, desk)


def _is_agreement(heard: Understood, memory: Memory) -> bool:
    """Whether it is a yes to what is open, in whatever words: "yes, book it", "cancel it please", "yes, at three"."""
    if memory.asked not in ("offer", "confirm") or "wrong" in heard.intents or heard.digits:
        return False
    same_task = heard.task in ("", memory.task) and bool(memory.task)
    changed = heard.has_slot if memory.offer is None else not _is_of(memory.offer, heard)
    return same_task and not changed and "right" in heard.intents


def _is_of(offer: Slot, heard: Understood) -> bool:
    """Whether what was said names nothing but that: "Tuesday is fine", of a Tuesday in two weeks."""
    if heard.day is not None and offer.day and heard.day.weekday() == date.fromisoformat(offer.day).weekday():
        heard = replace(heard, day=None)
    return offer.with_(heard) == offer


def _small_answer(heard: Understood, memory: Memory, desk: DeskContext) -> Answer | None:
    """Yes, no, thanks, hello, help."""
    asks, language = heard.intents, desk.language
    if memory.asked in _READ_BACK and {"right", "wrong"} <= asks and _begins_with_yes(heard, desk):
        return None  # "Yes, not right": one of the two was misheard.
    if "wrong" in asks:
        stays = not memory.task and any(language.patterns.tasks[task].search(heard.text) for task in _CHANGES)
        return _dropped(replace(memory, task="cancel"), desk) if stays else _no(heard, memory, desk)
    if "right" in asks and memory.asked in ("offer", "confirm", "callback", "name_right"):
        return _yes(memory, desk)
    if "help" in asks:
        return Answer(language.say("abilities"), open_question(memory, desk), _asking(memory))
    if "wait" in asks:
        return Answer(language.say("take_your_time"), "", _asking(memory))
    if "thanks" in asks:
        return Answer(language.say("welcome"), open_question(memory, desk), memory)
    if "hello" in asks:
        opening = language.say("greeting") if memory.asked in ("", "help") else language.say("hello")
        question = "" if memory.asked in ("", "help") else open_question(memory, desk)
        return Answer(opening, question, _asking(memory))
    return _yes(memory, desk) if "right" in asks else None


def _begins_with_yes(heard: Understood, desk: DeskContext) -> bool:
    return desk.language.patterns.intents["right"].match(heard.text) is not None


def _asking(memory: Memory) -> Memory:
    """How can I help you? is the open question if there is no other."""
    return memory if memory.task or memory.asked else replace(memory, asked="help")


def _yes(memory: Memory, desk: DeskContext) -> Answer | None:
    if memory.asked == "offer" and memory.offer is not None:
        return booking.carry_out(memory, desk)
    if memory.asked == "confirm" and memory.task == "cancel" and memory.chosen is not None:
        return booking.cancel(memory, desk)
    if memory.asked == "confirm" and not memory.task:
        return asking("day", begun(memory, "book"), desk)
    if memory.asked in ("more", "help", ""):
        return Answer("", desk.language.say("what_can_i_do"), replace(memory, asked="help"))
    return person.confirmed(memory, desk)


def _no(heard: Understood, memory: Memory, desk: DeskContext) -> Answer | None:
    match memory.asked:
        case "more":
            return None if _corrects(heard, desk) else _goodbye(memory, desk)
        case "confirm" if memory.task == "cancel":
            return Answer(desk.language.say("kept"), desk.language.say("anything_else"), idle(memory))
        case "confirm" | "callback":
            return asking("more", idle(memory), desk)
        case "offer":
            return booking.refused(heard, memory, desk)
        case "when" | "day" | "time" | "which" | "order" | "name":
            return _dropped(memory, desk)
    return person.denied(memory, desk)


def _corrects(heard: Understood, desk: DeskContext) -> bool:
    """Whether a no goes on, with what was not understood: "no, make it four" is no goodbye, however it was heard."""
    if heard.intents & {"bye", "thanks"}:
        return False
    words = heard.text.replace("|", " ")
    found = desk.language.patterns.after_no.search(words)
    return len(words.split()) > MOST_WORDS_OF_A_NO or (found is not None and bool(words[found.end() :].strip()))


def _dropped(memory: Memory, desk: DeskContext) -> Answer:
    """What was under way is left."""
    told = desk.language.say("kept" if memory.task in ("cancel", "move") else "left")
    return Answer(told, desk.language.say("anything_else"), idle(memory))


def _goodbye(memory: Memory, desk: DeskContext) -> Answer:
    over = Memory(appointments=memory.appointments)
    return Answer(desk.language.say("goodbye"), "", over, ("bye",), hang_up=True)


def _not_understood(said: CallersWords, memory: Memory, desk: DeskContext) -> Answer:
    """Say so and ask again; other words each time in a row, and from the second time on with what can be said.

    Of a yes or a no at once: a longer one is heard in noise where a word alone is not.
    """
    language, question = desk.language, open_question(memory, desk)
    memory = replace(memory, unclear=memory.unclear + 1, asked=memory.asked or "help", doubt="").reading(others=())
    example = language.answers.get(f"example_{memory.asked}", language.say("abilities"))
    if memory.unclear == 1:
        sorry = "playing" if said.was_cut else "silent" if said.text == "" else "unclear"
        longer = f" {example}" if sorry == "unclear" and memory.asked in _YES_OR_NO else ""
        return Answer(f"{language.say(sorry)}{longer}", question, memory, asks_back=True)
    if memory.unclear % 2 == 0:
        return Answer(f"{language.say('unclear_again')} {example}", question, memory, asks_back=True)
    told = f"{language.say('unclear_at_last')} {language.say('abilities')}"
    return Answer(told, "", memory, asks_back=True)
