"""What an ear is told beside the audio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.call.calls import new_call
from voice_agent.agents.frontdesk import FrontDesk
from voice_agent.kit.agent import Agent
from voice_agent.runtime.calls.caller_clip import caller_clip


class Asking(Agent):
    """Has asked what its state says, or fails at that."""

    language = "de"

    def asks_yes_or_no(self, state: Mapping[str, Any]) -> bool:
        return bool(state["asked"])


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
