"""A caller who speaks into an answer, or only shows that they listen: what was heard of it decides what that means.

The server stops speaking when the caller starts, for it cannot know yet what will be said. ::

    "mhm", a cough, "okay" into an answer ──> it goes on, from the beginning of the sentence that was cut
    "yes" before the question was asked ────> the same: nothing was agreed to
    "no" before the question was asked ─────> the question
    "mhm" where it answers no question ─────> silence: it is the caller's turn
    anything else ──────────────────────────> is answered (`dialog`)
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

from voice_agent.agents.frontdesk.answers import Answer, open_question
from voice_agent.agents.frontdesk.desk import DeskContext
from voice_agent.agents.frontdesk.doubts import CallersWords
from voice_agent.agents.frontdesk.memory import LastAnswer, Memory
from voice_agent.agents.frontdesk.understanding import is_bare, understand
from voice_agent.speech.sentence_end import is_backchannel

ASKED_FROM = 0.75
"""A question is asked once so much of it was heard: its end can be told from that, and what is heard is an estimate."""
HANG_UP, TRANSFER = "hang_up", "transfer"
"""What was to follow the last answer (`LastAnswer.then`)."""
_SENTENCE_END = re.compile(r"(?<=[.?!:]) +")


def sentences(text: str) -> list[str]:
    """`text` cut after its sentences, each with the blank that follows it, so that all joined are `text`."""
    starts = [0, *(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]
    return [text[start:end] for start, end in pairwise(starts) if start < end]


def answer_to(said: CallersWords, memory: Memory, desk: DeskContext) -> Answer | None:
    """The answer to a turn that has cut the last one before it was all heard; None: what was said is to be answered."""
    heard = said.heard
    if heard is None or not memory.said.text.startswith(heard) or heard.rstrip() == memory.said.text.rstrip():
        return None
    is_asked = _is_asked(heard, memory.said.text)
    wishes = understand(said.text or "", desk.language, desk.today, memory.asked)
    if is_bare("right", wishes):
        return None if is_asked else _gone_on(heard, memory, desk)
    if says_nothing(said, desk):
        return _gone_on(heard, memory, desk)
    if is_bare("wrong", wishes) and not is_asked:
        return Answer("", _question(memory, desk), memory)
    return None


def says_nothing(said: CallersWords, desk: DeskContext) -> bool:
    """Whether it is what one says who only listens, or may be, or a short sound of which nothing was understood."""
    if not said.text:
        return said.is_short
    texts = (said.text, *said.alternatives) if said.uncertain else (said.text,)
    return any(is_backchannel(text, desk.language.tag) for text in texts)


def remembered(answer: Answer) -> Answer:
    """`answer`, with what is to be known of it if it is cut. Silence is none, and changes nothing of what was."""
    if not answer.text:
        return answer
    then = HANG_UP if answer.hang_up else TRANSFER if answer.transfer else ""
    return replace(answer, memory=replace(answer.memory, said=LastAnswer(answer.text, then)))


def _gone_on(heard: str, memory: Memory, desk: DeskContext) -> Answer:
    """What is left of the last answer, with what was to follow it."""
    begin = 0
    for sentence in sentences(memory.said.text):
        if begin + len(sentence) > len(heard):
            break
        begin += len(sentence)
    transfer = desk.person if memory.said.then == TRANSFER else ""
    return Answer("", memory.said.text[begin:], memory, hang_up=memory.said.then == HANG_UP, transfer=transfer)


def _is_asked(heard: str, said: str) -> bool:
    """Whether enough was heard of the last sentence, which the question is."""
    last = sentences(said)[-1]
    return len(heard) - (len(said) - len(last)) >= ASKED_FROM * len(last)


def _question(memory: Memory, desk: DeskContext) -> str:
    last = sentences(memory.said.text)[-1]
    return last if memory.doubt or not memory.asked else open_question(memory, desk)
