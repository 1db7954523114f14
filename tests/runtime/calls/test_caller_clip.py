"""What an ear is told beside the audio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.call.calls import new_call
from voice_agent.agents.frontdesk import FrontDesk
from voice_agent.agents.frontdesk.language import known_languages
from voice_agent.kit.agent import Agent
from voice_agent.runtime.calls.caller_clip import MAX_PROMPT_CHARS, caller_clip
from voice_agent.speech.yes_or_no import class_of


class Asking(Agent):
    """Has asked what its state says, or fails at that."""

    language = "de"

    def asks_yes_or_no(self, state: Mapping[str, Any]) -> bool:
        return bool(state["asked"])

    def transcription_prompt(self, language: str) -> str:
        return {"de": "Wann?", "fr": "x" * 2 * MAX_PROMPT_CHARS + "!", "es": None}[language]  # type: ignore[return-value]


def test_what_the_caller_may_say_is_told_by_the_client_or_else_by_the_agent() -> None:
    """In the language of the call, and of a long text the end; an agent that fails at it leaves the turn as it is."""
    call = new_call()
    said = call.session.fields["audio"]["input"]
    for transcription, prompt in (
        (None, "Wann?"),
        ({"language": "de"}, "Wann?"),
        ({"language": "it"}, ""),
        ({"language": "es"}, ""),
        ({"language": "fr"}, "x" * (MAX_PROMPT_CHARS - 1) + "!"),
        ({"prompt": "Zuse's Z3."}, "Zuse's Z3."),
        ({"keywords": ["Zuse", "Z3"], "language": "it"}, "Zuse, Z3"),
        ({"prompt": "Ask.", "keywords": ["Zuse", "Z3"]}, "Ask. Zuse, Z3"),
    ):
        said["transcription"] = transcription
        assert caller_clip(call, Asking(), b"").prompt == prompt
    said["transcription"] = None
    assert caller_clip(call, Agent(), b"").prompt == ""


def test_the_front_desk_expects_no_yes() -> None:
    """Which its ear might then find in noise; it expects something in each language."""
    for tag in known_languages():
        prompt = FrontDesk().transcription_prompt(tag)
        assert prompt.count("?") == 3
        assert not class_of(prompt, tag)
        assert not {"yes", "no", "ja", "nein", "ok"} & set(prompt.lower().replace(",", " ").replace(".", " ").split())


def test_a_yes_or_no_is_due_if_the_agent_says_so_by_what_it_remembers() -> None:
    """So another pod knows it, too; an agent that fails at it leaves the turn as it is."""
    call = new_call()
    assert not caller_clip(call, Asking(), b"").yes_or_no
    call.dialogue.agent_state = {"asked": True}
    clip = caller_clip(call, Asking(), b"\1\2")
    assert (clip.yes_or_no, clip.language, clip.audio) == (True, "de", b"\1\2")
    assert not caller_clip(call, Agent(), b"").yes_or_no


def test_the_front_desk_says_so_after_a_read_back_and_a_did_you_say() -> None:
    """And not where anything may be answered."""
    asks = FrontDesk().asks_yes_or_no
    assert all(asks({"asked": asked}) for asked in ("offer", "confirm", "callback", "name_right", "more"))
    assert asks({"asked": "help", "doubt": "order 4711"})
    assert not any(
        asks({"asked": asked, "doubt": ""}) for asked in ("when", "day", "time", "which", "order", "name", "help")
    )
    assert not asks({})
