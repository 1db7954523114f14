"""The agent `frontdesk`: the talk of `dialog`, in sentences."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import date
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from voice_agent.agents.frontdesk import desk, dialog, zones
from voice_agent.agents.frontdesk.answers import Answer
from voice_agent.agents.frontdesk.doubts import YES_OR_NO, CallersWords
from voice_agent.agents.frontdesk.interruptions import sentences
from voice_agent.agents.frontdesk.language import DEFAULT, known_languages, language_of
from voice_agent.agents.frontdesk.memory import Memory
from voice_agent.agents.frontdesk.plain import NUMBER_DIGITS
from voice_agent.agents.frontdesk.understanding import understand
from voice_agent.agents.scripted import Scripted, ScriptedTurn
from voice_agent.call.said_by_caller import MAX_ITEMS_READ, said_since_last_reply
from voice_agent.kit.agent import Kit
from voice_agent.kit.clip import Clip
from voice_agent.kit.events import Asked
from voice_agent.speech import sentence_end
from voice_agent.speech.sentence_end import MAX_CHARS

_ANY_DAY = date(2026, 1, 1)
"""What is said of an order does not depend on it."""
SHORT_CLIP_MS = 1_900
"""Of a turn with the silence around it: 300 ms before, and 800 after what was not understood."""


class FrontDeskSettings(BaseModel):
    """Where and in which language the demonstration takes place."""

    model_config = ConfigDict(extra="forbid")

    language: str = DEFAULT
    """What is spoken where the client's session names none: the name of a folder in ``frontdesk/languages``."""
    time_zone: str = "UTC"
    """Of the opening hours, an IANA name such as ``Europe/Berlin``."""
    callers_time_zone: str = ""
    """Of the days and times that callers name; "" is the desk's."""
    person: str = ""
    """Where a caller who wants a person is transferred to, such as ``tel:+49301234``; "": a call back is offered."""

    @field_validator("language")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if language_of(value).tag != value.partition("-")[0].lower():
            raise ValueError(f"there is no language {value!r}, only {', '.join(sorted(known_languages()))}")
        return value

    @field_validator("time_zone", "callers_time_zone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        if value:
            zones.zone(value)
        return value


class FrontDesk(Scripted):
    """Answers a demonstration company's telephone. Uses no tools: it passes over what tools said."""

    name = "frontdesk"
    turn_detection = "semantic_vad"
    Settings = FrontDeskSettings

    def __init__(self) -> None:
        self._settings = FrontDeskSettings()

    async def open(self, kit: Kit) -> None:
        """The languages are read once."""
        if isinstance(kit.settings, FrontDeskSettings):
            self._settings = kit.settings
        self.language = self._settings.language
        for tag in known_languages():
            language_of(tag)

    def asks_yes_or_no(self, state: Mapping[str, Any]) -> bool:
        """See `Agent.asks_yes_or_no`."""
        return bool(state.get("doubt")) or state.get("asked") in YES_OR_NO

    def transcription_prompt(self, language: str) -> str:
        """See `Agent.transcription_prompt`."""
        return language_of(language).prompt

    def is_finished(self, text: str, language: str) -> float | None:
        """See `Agent.is_finished`: an order number goes on until it has all its digits."""
        wishes = understand(text[-MAX_CHARS:], language_of(language), _ANY_DAY)
        if not wishes or not wishes[-1].digits or not wishes[-1].text.rstrip(" |")[-1:].isdecimal():
            return None
        if len(wishes[-1].digits) >= NUMBER_DIGITS:
            return sentence_end.FINISHED
        return sentence_end.UNFINISHED if wishes[-1].task == "order" else None

    async def answer(self, turn: ScriptedTurn) -> AsyncGenerator[str, None]:
        """The decision, once, whatever becomes of the pod; then sentence by sentence, so that the first is early."""

        async def decide(_: str) -> dict[str, Any]:
            answer = answer_to(turn, self._settings)
            return {
                "text": answer.text,
                "hang_up": answer.hang_up,
                "transfer": answer.transfer,
                "memory": answer.memory.as_json(),
            }

        decision = await turn.call.once("decision", decide)
        turn.call.state.update(decision["memory"])
        for sentence in sentences(decision["text"]):
            yield sentence
        if decision.get("transfer"):  # The release before decides without it.
            await turn.call.transfer(decision["transfer"])
        elif decision["hang_up"]:
            await turn.call.hang_up()


def answer_to(turn: ScriptedTurn, settings: FrontDeskSettings) -> Answer:
    """What the front desk decides to say; the same turn gives the same answer."""
    memory = Memory.from_json(turn.call.state)
    context = desk.context(
        turn.event.at_ms,
        language=turn.language or settings.language,
        time_zone=settings.time_zone,
        callers_zone=settings.callers_time_zone,
        person=settings.person,
    )
    if not said_since_last_reply(turn.items).items:
        return dialog.greet(memory, context)
    said = CallersWords(
        None if turn.unclear and not turn.text else turn.text,
        uncertain=turn.uncertain,
        alternatives=turn.alternatives,
        was_cut=isinstance(turn.event, Asked) and turn.event.was_cut,
        heard=_heard(turn.items),
        is_short=_is_short(turn.clip),
    )
    return dialog.decide(said, memory, context)


def _heard(items: Sequence[Mapping[str, Any]]) -> str | None:
    """What the caller heard of the last answer; None: there is none."""
    for item in reversed(items[-MAX_ITEMS_READ:]):
        if item.get("type") == "message" and item.get("role") == "assistant":
            part = (item.get("content") or [{}])[0]
            return str(part.get("transcript") or part.get("text") or "")
    return None


def _is_short(clip: Clip | None) -> bool:
    return clip is not None and clip.format.ms(len(clip.audio)) <= SHORT_CLIP_MS
